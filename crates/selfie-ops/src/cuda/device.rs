//! A device: its memory, launches of kernels, products by cuBLAS.

#![expect(unsafe_code, reason = "memory is not zeroed before it is written; kernels and cuBLAS take addresses")]

use super::{Array, CudaNumbers, CudaReal, Element, View, ViewMut};
use crate::profile::{self, OpClass, Span, Work};
use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys as cublas_sys};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg, sys as driver_sys};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr, gemm_reduced_precision_f32};
use candle_core::{Device, Result, bail};
use selfie_random::Purpose;
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The kernels, in the order in which they read each other.
const SOURCE: &str = concat!(
    include_str!("kernels/numbers.cu"),
    include_str!("kernels/norm.cu"),
    include_str!("kernels/conv.cu"),
    include_str!("kernels/pool.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/order.cu"),
    include_str!("kernels/attention.cu"),
    include_str!("kernels/optimizer.cu"),
);

/// Threads of a block.
pub(super) const THREADS: usize = 256;

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

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Address(u64),
    Count(u32),
    Flag(i32),
    Single(f32),
    Double(f64),
    /// More than a kernel counts to.
    TooMany(usize),
}

impl Argument {
    /// A number of the type `SUM`.
    pub(crate) fn sum<T: CudaReal>(value: f64) -> Self {
        if size_of::<T>() == size_of::<f32>() { Self::Single(value as f32) } else { Self::Double(value) }
    }

    /// An address, or null.
    pub(crate) fn optional<T>(view: Option<View<'_, T>>) -> Self {
        Self::Address(view.map_or(0, |view| view.address))
    }
}

impl<T> From<View<'_, T>> for Argument {
    fn from(view: View<'_, T>) -> Self {
        Self::Address(view.address)
    }
}

impl<T> From<ViewMut<'_, T>> for Argument {
    fn from(view: ViewMut<'_, T>) -> Self {
        Self::Address(view.address)
    }
}

impl From<usize> for Argument {
    fn from(count: usize) -> Self {
        u32::try_from(count).map_or(Self::TooMany(count), Self::Count)
    }
}

impl From<bool> for Argument {
    fn from(flag: bool) -> Self {
        Self::Flag(i32::from(flag))
    }
}

/// The blocks of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize),
    pub(crate) threads: (usize, usize),
    /// Bytes of shared memory of a block.
    pub(crate) shared: usize,
}

impl Grid {
    /// A thread for each of `n`.
    pub(crate) fn over(n: usize) -> Self {
        Self { blocks: (n.div_ceil(THREADS), 1), threads: (THREADS, 1), shared: 0 }
    }

    /// A warp for each of `rows`.
    pub(crate) fn warps(rows: usize) -> Self {
        const WARPS: usize = 8;
        Self { blocks: (rows.div_ceil(WARPS), 1), threads: (32, WARPS), shared: 0 }
    }
}

/// A factor of a product, row after row in memory, as it is or transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor<'a, T> {
    pub(crate) values: View<'a, T>,
    pub(crate) transposed: bool,
}

impl<'a, T> Factor<'a, T> {
    pub(crate) fn plain(values: View<'a, T>) -> Self {
        Self { values, transposed: false }
    }

    pub(crate) fn transposed(values: View<'a, T>) -> Self {
        Self { values, transposed: true }
    }
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

    pub(crate) fn upload<T: Copy + candle_core::cuda_backend::cudarc::driver::DeviceRepr + 'static>(
        &self,
        values: &[T],
    ) -> Result<Array<T>> {
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

    /// Launches the kernel `name` of the number types `M`.
    pub(crate) fn launch<M: CudaNumbers>(&self, name: &str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        if let Some(Argument::TooMany(count)) =
            arguments.iter().find(|argument| matches!(argument, Argument::TooMany(_)))
        {
            bail!("{name}: {count} numbers are more than the kernel counts to; make the batch smaller")
        }
        let function = self.function::<M>(name)?;
        let stream = self.device.cuda_stream();
        let mut launch = stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Address(address) => launch.arg(address),
                Argument::Count(count) => launch.arg(count),
                Argument::Flag(flag) => launch.arg(flag),
                Argument::Single(value) => launch.arg(value),
                Argument::Double(value) => launch.arg(value),
                Argument::TooMany(_) => continue,
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.blocks.0 as u32, grid.blocks.1 as u32, 1),
            block_dim: (grid.threads.0 as u32, grid.threads.1 as u32, 1),
            shared_mem_bytes: grid.shared as u32,
        };
        // SAFETY: each kernel has one caller, beside whose arguments its parameters and extents stand.
        unsafe { launch.launch(config) }.w()?;
        self.wait_if_profiled()
    }

    /// As [`Self::product`] of factors in bf16 that are added up in f64, which cuBLAS has not: for checks.
    fn product_by_sums<M: CudaNumbers, C: Element>(
        &self,
        sizes: (usize, usize, usize),
        (a, b): (Factor<'_, M::Stored>, Factor<'_, M::Stored>),
        c: ViewMut<'_, C>,
        onto: bool,
    ) -> Result<()> {
        let sums = |values: View<'_, M::Stored>| -> Result<Array<M::Sum>> {
            let mut sums = self.alloc(values.len())?;
            let arguments = [values.into(), sums.view_mut().into(), values.len().into()];
            self.launch::<M>("to_sums", Grid::over(values.len()), &arguments)?;
            Ok(sums)
        };
        let (left, right) = (sums(a.values)?, sums(b.values)?);
        let factors = (
            Factor { values: left.view(), transposed: a.transposed },
            Factor { values: right.view(), transposed: b.transposed },
        );
        let stored = C::TYPE == M::Stored::TYPE;
        let (address, len) = (c.address, c.len());
        if !stored {
            return self.gemm::<M::Sum, M::Sum, C>(sizes, factors, c, onto);
        }
        let mut y = if onto { sums(View::at(address, len))? } else { self.alloc(len)? };
        self.gemm::<M::Sum, M::Sum, M::Sum>(sizes, factors, y.view_mut(), onto)?;
        let mut arguments =
            vec![y.view().into(), len.into(), Argument::Address(address), len.into(), len.into(), len.into()];
        super::rows::push_dropout(&mut arguments, None);
        self.launch::<M>("to_stored", Grid::over(len), &arguments)
    }

    /// `c = a · b`, or `c += a · b` where `onto`: `[m, k] · [k, n]`, every matrix row after row.
    pub(crate) fn product<M: CudaNumbers, C: Element>(
        &self,
        sizes: (usize, usize, usize),
        factors: (Factor<'_, M::Stored>, Factor<'_, M::Stored>),
        c: ViewMut<'_, C>,
        onto: bool,
    ) -> Result<()> {
        if M::BF16 && M::Sum::TYPE == <f64 as Element>::TYPE {
            return self.product_by_sums::<M, C>(sizes, factors, c, onto);
        }
        self.gemm::<M::Sum, M::Stored, C>(sizes, factors, c, onto)
    }

    fn gemm<T: CudaReal, A: Element, C: Element>(
        &self,
        (m, k, n): (usize, usize, usize),
        (a, b): (Factor<'_, A>, Factor<'_, A>),
        c: ViewMut<'_, C>,
        onto: bool,
    ) -> Result<()> {
        assert!(a.values.len() == m * k && b.values.len() == k * n && c.len() == m * n, "a product of other sizes");
        let compute = match (T::TYPE, A::TYPE) {
            (cublas_sys::cudaDataType::CUDA_R_64F, cublas_sys::cudaDataType::CUDA_R_64F) => {
                cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_64F
            }
            (_, cublas_sys::cudaDataType::CUDA_R_32F) if gemm_reduced_precision_f32() => {
                cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
            }
            _ => cublas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let sides = [m, k, n].map(c_int::try_from);
        let [Ok(m), Ok(k), Ok(n)] = sides else { bail!("a product of {m} x {k} x {n} is too large") };
        // cuBLAS reads matrices column after column: it is asked for the transposed product.
        let operation = |transposed| match transposed {
            true => cublas_sys::cublasOperation_t::CUBLAS_OP_T,
            false => cublas_sys::cublasOperation_t::CUBLAS_OP_N,
        };
        let (lda, ldb) = (if a.transposed { m } else { k }, if b.transposed { k } else { n });
        self.bind()?;
        let (one, beta) = (T::one(), if onto { T::one() } else { T::zero() });
        // SAFETY: the sizes were checked above; factors and result live on this device.
        unsafe {
            cublas::gemm_ex(
                *self.device.cublas_handle().handle(),
                operation(b.transposed),
                operation(a.transposed),
                n,
                m,
                k,
                (&raw const one).cast(),
                b.values.address as *const _,
                A::TYPE,
                ldb,
                a.values.address as *const _,
                A::TYPE,
                lda,
                (&raw const beta).cast(),
                c.address as *mut _,
                C::TYPE,
                n,
                compute,
                cublas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()?;
        self.wait_if_profiled()
    }

    /// The kernel `name` of the number types `M`, compiled and loaded at its first use.
    fn function<M: CudaNumbers>(&self, name: &str) -> Result<CudaFunction> {
        type Key = (DeviceId, &'static str, bool);
        static LOADED: LazyLock<Mutex<HashMap<Key, HashMap<String, CudaFunction>>>> = LazyLock::new(Mutex::default);
        let key = (self.device.id(), <M::Sum as CudaReal>::NAME, M::BF16);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let functions = loaded.entry(key).or_default();
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let (module, source) = module::<M>(&self.device)?;
        let function = self.device.get_or_load_custom_func(name, &module, source)?.into_cuda_function();
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }

    /// Makes the device the calling thread's.
    fn bind(&self) -> Result<()> {
        self.device.cuda_stream().context().bind_to_thread().w()
    }

    /// Measures until the guard is dropped, where a profile is taken; the device is then done with what came before.
    pub(crate) fn span(&self, class: OpClass, work: Work) -> Result<Span<'static>> {
        self.wait_if_profiled()?;
        Ok(profile::span(class, work))
    }

    /// While a profile is taken, a span lasts until the device is done with what it launched.
    fn wait_if_profiled(&self) -> Result<()> {
        if profile::measures() { self.device.cuda_stream().synchronize().w() } else { Ok(()) }
    }
}

/// Name and compiled source of the kernels for the number types `M`.
fn module<M: CudaNumbers>(device: &CudaDevice) -> Result<(String, &'static str)> {
    static COMPILED: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let sum = <M::Sum as CudaReal>::NAME;
    let (major, minor) = device.cuda_stream().context().compute_capability().w()?;
    let name = format!("selfie_{sum}{}_{major}{minor}", if M::BF16 { "_bf16" } else { "" });
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(source) = compiled.get(&name) {
        return Ok((name, source));
    }
    let source = compile(sum, M::BF16, &format!("compute_{major}{minor}"))?;
    // A handful in a process's life, each as long as that.
    let source: &'static str = Box::leak(source.to_src().into_boxed_str());
    compiled.insert(name.clone(), source);
    Ok((name, source))
}

fn compile(sum: &str, bf16: bool, architecture: &str) -> Result<Ptx> {
    let mut options = vec![
        "--std=c++17".to_owned(),
        format!("--gpu-architecture={architecture}"),
        format!("-DSUM={sum}"),
        format!("-DPURPOSE_DROPOUT={}u", Purpose::Dropout as u32),
    ];
    if bf16 {
        options.push("-DSTORED_BF16".to_owned());
    }
    let options = CompileOptions { options, ..CompileOptions::default() };
    compile_ptx_with_opts(SOURCE, options).w()
}
