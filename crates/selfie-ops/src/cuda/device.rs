//! A device and its memory.

#![expect(unsafe_code, reason = "memory is not zeroed before it is written")]

use super::{Array, Element, View};
use crate::profile::{self, OpClass, Span, Work};
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, sys as driver_sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Device, Result, bail};
use std::ffi::c_int;

/// A CUDA device with one stream for all threads, which keeps the memory that is given back to it.
///
/// With candle's own `Device::new_cuda` every thread has a stream, and each use of memory costs two events.
///
/// # Errors
///
/// If there is no such device.
pub fn new_cuda(index: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: there is one stream, and it orders every use of memory.
        unsafe { cuda.disable_event_tracking() };
        keep_memory(index)?;
    }
    Ok(device)
}

/// Lets the device's pool keep all memory, instead of giving it back whenever the host waits for the device.
fn keep_memory(index: usize) -> Result<()> {
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    let attribute = driver_sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both addresses are of local variables of the types that these functions want.
    unsafe {
        driver_sys::cuDeviceGetDefaultMemPool(&mut pool, index as c_int).result().w()?;
        driver_sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().w()?;
    }
    Ok(())
}

/// A device as the operations use it.
#[derive(Clone, Debug)]
pub(crate) struct Cuda {
    pub(super) device: CudaDevice,
}

impl Cuda {
    pub(crate) fn of(device: &Device) -> Result<Self> {
        match device {
            Device::Cuda(device) => Ok(Self { device: device.clone() }),
            _ => bail!("expected a CUDA device, got {:?}", device.location()),
        }
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

    /// A copy of `x`.
    pub(crate) fn copy<T: Element>(&self, x: View<'_, T>) -> Result<Array<T>> {
        let mut y = self.alloc::<T>(x.len())?;
        let (to, bytes) = (y.view_mut().address, x.len() * size_of::<T>());
        self.bind()?;
        // SAFETY: both hold that many bytes, and what is copied on the stream is ordered with everything else.
        unsafe {
            driver_sys::cuMemcpyDtoDAsync_v2(to, x.address, bytes, self.device.cuda_stream().cu_stream())
                .result()
                .w()?
        };
        Ok(y)
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
