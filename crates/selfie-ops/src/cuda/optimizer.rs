//! In-place updates, and the norm of gradients.

use super::memory::view_mut;
use super::{Array, Cuda, CudaReal, Grid, KernelArgument};
use crate::kernels::numbers::Exact;
use crate::profile::{OpClass, Work};
use candle_core::cuda_backend::CudaStorage;
use candle_core::{DType, Layout, Result, Tensor, bail};
use std::ops::Range;

/// Blocks that a sum of squares is cut into.
const BLOCKS: usize = 256;

/// A rule that updates a target from two other tensors, by the kernel of its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CudaRule {
    pub(crate) kernel: &'static str,
    /// What the kernel calls p0 to p3.
    pub(crate) constants: [f64; 4],
}

impl CudaRule {
    /// Updates `target`; weight decay applies to the ranges `decayed`.
    pub(crate) fn update(
        self,
        target: (&mut CudaStorage, &Layout),
        a: (&CudaStorage, &Layout),
        b: (&CudaStorage, &Layout),
        decayed: &[Range<usize>],
    ) -> Result<()> {
        match candle_core::backend::BackendStorage::dtype(target.0) {
            DType::F32 => self.update_typed::<f32>(target, a, b, decayed),
            DType::F64 => self.update_typed::<f64>(target, a, b, decayed),
            other => bail!("{}: expected f32 or f64, got {other:?}", self.kernel),
        }
    }

    fn update_typed<T: CudaReal>(
        self,
        target: (&mut CudaStorage, &Layout),
        a: (&CudaStorage, &Layout),
        b: (&CudaStorage, &Layout),
        decayed: &[Range<usize>],
    ) -> Result<()> {
        let cuda = Cuda::new(&target.0.device)?;
        let target = view_mut::<T>(target.0, target.1)?;
        let n = target.len();
        let _span = cuda.span(OpClass::Optimizer, Work::elementwise::<T>(n, 4, 4))?;
        let mut bounds = Vec::with_capacity(2 * decayed.len());
        for range in decayed {
            let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
                bail!("{}: {range:?} is more than the kernel counts to", self.kernel)
            };
            bounds.extend([start, end]);
        }
        let held: Option<Array<u32>> = if bounds.is_empty() { None } else { Some(cuda.upload(&bounds)?) };
        let mut arguments = vec![
            target.into(),
            cuda.view_of::<T>(a.0, a.1)?.into(),
            cuda.view_of::<T>(b.0, b.1)?.into(),
            KernelArgument::optional(held.as_ref().map(Array::view)),
            decayed.len().into(),
            n.into(),
        ];
        arguments.extend(self.constants.map(KernelArgument::sum::<T>));
        cuda.launch::<Exact<T>>(self.kernel, Grid::over(n), &arguments)
    }
}

/// The sum of squares of each tensor, all on one device.
pub(crate) fn sums_of_squares(tensors: &[Tensor]) -> Result<Vec<f64>> {
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let cuda = Cuda::of(first.device())?;
    let mut partial = cuda.alloc::<f64>(tensors.len() * BLOCKS)?;
    for (i, tensor) in tensors.iter().enumerate() {
        let _span = cuda.span(OpClass::Optimizer, Work::elementwise::<f32>(tensor.elem_count(), 2, 1))?;
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let into = KernelArgument::from(partial.view_mut().slice(i * BLOCKS..(i + 1) * BLOCKS));
        let grid = Grid { blocks: (BLOCKS, 1), threads: (256, 1), shared: 0 };
        let n = tensor.elem_count().into();
        match tensor.dtype() {
            DType::F32 => {
                let x = cuda.view::<f32>(&storage, layout)?.into();
                cuda.launch::<Exact<f32>>("sums_of_squares", grid, &[x, into, n])?;
            }
            DType::F64 => {
                let x = cuda.view::<f64>(&storage, layout)?.into();
                cuda.launch::<Exact<f64>>("sums_of_squares", grid, &[x, into, n])?;
            }
            other => bail!("global_norm: expected f32 or f64, got {other:?}"),
        }
    }
    let partial = cuda.download(&partial)?;
    Ok(partial.chunks_exact(BLOCKS).map(|sums| sums.iter().sum()).collect())
}
