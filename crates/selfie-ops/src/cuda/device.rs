//! A device and its memory.

#![expect(unsafe_code, reason = "memory is not zeroed before it is written")]

use super::{Array, Element, View, memory};
use crate::profile::{self, OpClass, Span, Work};
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, sys as driver_sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::{Device, Layout, Result, Storage, bail};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The CUDA device `index`, with one stream for all threads, which keeps the memory that is given back to it. The same device at
/// every call: what two streams of one GPU do is not in order.
///
/// With candle's own `Device::new_cuda` every thread has a stream; the operations here refuse it.
///
/// # Errors
///
/// If there is no such device.
pub fn new_cuda(index: usize) -> Result<Device> {
    static OPENED: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = opened.get(&index) {
        return Ok(device.clone());
    }
    let device = Device::new_cuda_with_stream(index)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: there is one stream, and it orders every use of memory.
        unsafe { cuda.disable_event_tracking() };
        keep_memory(cuda)?;
    }
    opened.insert(index, device.clone());
    Ok(device)
}

/// Lets the device's pool, where it has one, keep all memory, instead of giving it back whenever the host waits for the device.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    let attribute = driver_sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both addresses are of local variables of the types that these functions want.
    unsafe {
        driver_sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()).result().w()?;
        driver_sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().w()?;
    }
    Ok(())
}

/// The most bytes that were allocated at once from the device's pool; none where it has no pool.
pub(crate) fn most_memory(device: &CudaDevice) -> Result<Option<u64>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    let mut pool = std::ptr::null_mut();
    let mut bytes = 0u64;
    let attribute = driver_sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: both addresses are of local variables of the types that these functions want.
    unsafe {
        driver_sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()).result().w()?;
        driver_sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result().w()?;
    }
    Ok(Some(bytes))
}

/// What CUDA calls the stream of whichever thread asks.
const STREAM_PER_THREAD: usize = 2;

/// A device as the operations use it.
#[derive(Clone, Debug)]
pub(crate) struct Cuda {
    pub(super) device: CudaDevice,
}

impl Cuda {
    pub(crate) fn of(device: &Device) -> Result<Self> {
        match device {
            Device::Cuda(device) => Self::new(device),
            _ => bail!("expected a CUDA device, got {:?}", device.location()),
        }
    }

    /// # Errors
    ///
    /// If the device has a stream for each thread: nothing would order what they do.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        if device.cuda_stream().cu_stream() as usize == STREAM_PER_THREAD {
            bail!(
                "expected a CUDA device of `selfie_ops::new_cuda` or `selfie_model::new_cuda`, got one with a stream for each thread"
            )
        }
        Ok(Self { device: device.clone() })
    }

    /// A tensor's numbers, while its storage is held.
    pub(crate) fn view<'a, T: Element>(&self, storage: &'a Storage, layout: &Layout) -> Result<View<'a, T>> {
        match storage {
            Storage::Cuda(storage) => self.view_of(storage, layout),
            _ => bail!("expected a tensor on a CUDA device"),
        }
    }

    /// A storage's numbers; the layouts that come here are contiguous, because whoever reads a tensor makes it so.
    pub(crate) fn view_of<'a, T: Element>(&self, storage: &'a CudaStorage, layout: &Layout) -> Result<View<'a, T>> {
        if storage.device.id() != self.device.id() {
            bail!("expected tensors of one CUDA device, got those of two; `new_cuda` gives the same one at every call")
        }
        memory::view(storage, layout)
    }

    /// Memory for `len` zeros.
    pub(crate) fn zeros<T: Element>(&self, len: usize) -> Result<Array<T>> {
        Ok(Array(self.device.alloc_zeros::<T>(len)?))
    }

    /// Memory for `len` numbers that somebody writes before anybody reads them.
    pub(crate) fn alloc<T: Element>(&self, len: usize) -> Result<Array<T>> {
        // SAFETY: every kernel and product writes all of its output.
        Ok(Array(unsafe { self.device.alloc::<T>(len)? }))
    }

    pub(crate) fn upload<T: Copy + DeviceRepr + 'static>(&self, values: &[T]) -> Result<Array<T>> {
        Ok(Array(self.device.clone_htod(values)?))
    }

    /// The numbers, once the device has computed them.
    pub(crate) fn download<T: Element + Clone>(&self, values: &Array<T>) -> Result<Vec<T>> {
        self.device.clone_dtoh(&values.0)
    }

    /// Makes the device the calling thread's.
    pub(super) fn bind(&self) -> Result<()> {
        self.device.cuda_stream().context().bind_to_thread().w()
    }

    /// Measures until the guard is dropped, where a profile is taken; the device is then done with what came before.
    pub(crate) fn span(&self, class: OpClass, work: Work) -> Result<Span<'static>> {
        self.wait_if_profiled()?;
        Ok(profile::span(class, work))
    }

    /// While a profile is taken, a span lasts until the device is done with what it launched.
    pub(super) fn wait_if_profiled(&self) -> Result<()> {
        if profile::measures() { self.device.cuda_stream().synchronize().w() } else { Ok(()) }
    }
}
