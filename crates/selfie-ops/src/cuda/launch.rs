//! Kernels: compiled, loaded and launched.

#![expect(unsafe_code, reason = "kernels take addresses")]

use super::{Cuda, CudaNumbers, CudaReal, View, ViewMut};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr};
use candle_core::{Result, bail};
use selfie_random::Purpose;
use std::collections::{BTreeMap, HashMap};
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

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KernelArgument {
    Address(u64),
    Count(u32),
    Flag(i32),
    Single(f32),
    Double(f64),
    /// More than a kernel counts to.
    TooMany(usize),
}

impl KernelArgument {
    /// A number of the type `SUM`.
    pub(crate) fn sum<T: CudaReal>(value: f64) -> Self {
        if size_of::<T>() == size_of::<f32>() { Self::Single(value as f32) } else { Self::Double(value) }
    }

    /// An address, or null.
    pub(crate) fn optional<T>(view: Option<View<'_, T>>) -> Self {
        Self::Address(view.map_or(0, |view| view.address))
    }
}

impl<T> From<View<'_, T>> for KernelArgument {
    fn from(view: View<'_, T>) -> Self {
        Self::Address(view.address)
    }
}

impl<T> From<ViewMut<'_, T>> for KernelArgument {
    fn from(view: ViewMut<'_, T>) -> Self {
        Self::Address(view.address)
    }
}

impl From<usize> for KernelArgument {
    fn from(count: usize) -> Self {
        u32::try_from(count).map_or(Self::TooMany(count), Self::Count)
    }
}

impl From<bool> for KernelArgument {
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

impl Cuda {
    /// Launches the kernel `name` of the number types `M`.
    pub(crate) fn launch<M: CudaNumbers>(&self, name: &str, grid: Grid, arguments: &[KernelArgument]) -> Result<()> {
        if let Some(KernelArgument::TooMany(count)) =
            arguments.iter().find(|argument| matches!(argument, KernelArgument::TooMany(_)))
        {
            bail!("{name}: {count} numbers are more than the kernel counts to; make the batch smaller")
        }
        if grid.blocks.0 * grid.blocks.1 == 0 {
            return Ok(());
        }
        let function = self.function::<M>(name)?;
        let stream = self.device.cuda_stream();
        let mut launch = stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                KernelArgument::Address(address) => launch.arg(address),
                KernelArgument::Count(count) => launch.arg(count),
                KernelArgument::Flag(flag) => launch.arg(flag),
                KernelArgument::Single(value) => launch.arg(value),
                KernelArgument::Double(value) => launch.arg(value),
                KernelArgument::TooMany(_) => continue,
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.blocks.0 as u32, grid.blocks.1 as u32, 1),
            block_dim: (grid.threads.0 as u32, grid.threads.1 as u32, 1),
            shared_mem_bytes: grid.shared as u32,
        };
        // SAFETY: who launches a kernel gives what its parameters say, in their order.
        unsafe { launch.launch(config) }.w()?;
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

/// For `architecture`, or where NVRTC is older than that, for what it thinks of by itself, which newer GPUs run too.
fn compile(sum: &str, bf16: bool, architecture: &str) -> Result<Ptx> {
    let mut options = vec![
        "--std=c++17".to_owned(),
        format!("-DSUM={sum}"),
        format!("-DPURPOSE_DROPOUT={}u", Purpose::Dropout as u32),
    ];
    if bf16 {
        options.push("-DSTORED_BF16".to_owned());
    }
    let for_any = CompileOptions { options: options.clone(), ..CompileOptions::default() };
    options.push(format!("--gpu-architecture={architecture}"));
    let exact = CompileOptions { options, ..CompileOptions::default() };
    compile_ptx_with_opts(SOURCE, exact).or_else(|_| compile_ptx_with_opts(SOURCE, for_any)).w()
}
