//! Kernels: compiled, loaded and launched.

#![expect(unsafe_code, reason = "kernels take addresses")]

use super::{Cuda, CudaNumbers, CudaReal, View, ViewMut};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{Result, bail};
use selfie_random::Purpose;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

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
        static LOADED: LazyLock<Mutex<HashMap<Key, Loaded>>> = LazyLock::new(Mutex::default);
        let sum = <M::Sum as CudaReal>::NAME;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let Loaded { module, functions } = match loaded.entry((self.device.id(), sum, M::BF16)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let stream = self.device.cuda_stream();
                let (major, minor) = stream.context().compute_capability().w()?;
                let compiled = compile(sum, M::BF16, &format!("compute_{major}{minor}"))?;
                place.insert(Loaded { module: stream.context().load_module(compiled).w()?, functions: HashMap::new() })
            }
        };
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let function = module.load_function(name).w()?;
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }
}

/// The kernels of a device for one pair of number types, and those of them that were used.
struct Loaded {
    module: Arc<CudaModule>,
    functions: HashMap<String, CudaFunction>,
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
