//! The operations on CUDA: what `kernels` is on the CPU, with kernels of its own and cuBLAS for the products.
//!
//! Everything runs on the device's one stream, in the order of the launches, so that memory can be given context while it is still
//! being read. Sums have a fixed order here too: how work is cut depends on shapes alone.
//!
//! `kernels/*.cu` is compiled by NVRTC at the first use, once for each pair of number types ([`CudaNumbers`]).

mod attention;
mod conv;
mod device;
mod launch;
mod layer_norm;
mod loss;
mod memory;
mod norm;
mod numbers;
mod optimizer;
mod order;
mod pieces;
mod pool;
mod product;
mod rows;
mod stage;
mod transformer;
mod unit;

pub use device::new_cuda;
pub(crate) use device::{Cuda, most_memory};
pub(crate) use launch::{Grid, KernelArgument};
pub(crate) use memory::{Array, View, ViewMut};
pub(crate) use numbers::{CudaNumbers, CudaReal, Element};
pub(crate) use optimizer::{CudaRule, sums_of_squares};
pub(crate) use product::Factor;
pub(crate) use stage::run as run_stage;
pub(crate) use unit::{Argument, Context, CudaUnit, Forward, Gradients, apply};
