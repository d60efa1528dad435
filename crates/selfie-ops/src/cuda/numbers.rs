//! The number types of a device: `SUM` and `STORED` of the kernels.

use super::{Array, Cuda, Grid, View};
use crate::Real;
use crate::kernels::numbers::{Bf16, Exact, Numbers};
use candle_core::Result;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::cublas::sys::cudaDataType;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use half::bf16;

/// A number as it lies in memory, by cuBLAS's name, which multiplies those of floating point.
pub(crate) trait Element: DeviceRepr + ValidAsZeroBits + CudaDType + Send + Sync + 'static {
    const TYPE: cudaDataType;
}

impl Element for f32 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_32F;
}

impl Element for f64 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_64F;
}

impl Element for bf16 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_16BF;
}

impl Element for u8 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_8U;
}

impl Element for u32 {
    const TYPE: cudaDataType = cudaDataType::CUDA_R_32U;
}

/// A number that is added up.
pub(crate) trait CudaReal: Real + Element {
    /// Its name in the kernels' language.
    const NAME: &'static str;
}

impl CudaReal for f32 {
    const NAME: &'static str = "float";
}

impl CudaReal for f64 {
    const NAME: &'static str = "double";
}

/// The numbers of a unit on a device.
pub(crate) trait CudaNumbers: Numbers<Sum: CudaReal, Stored: Element> {
    /// Whether `STORED` is bf16.
    const BF16: bool;

    /// Numbers as products multiply them.
    fn factors<'a>(cuda: &Cuda, sums: View<'a, Self::Sum>) -> Result<Held<'a, Self::Stored>>;
}

impl<T: CudaReal> CudaNumbers for Exact<T> {
    const BF16: bool = false;

    fn factors<'a>(_: &Cuda, sums: View<'a, T>) -> Result<Held<'a, T>> {
        Ok(Held::Borrowed(sums))
    }
}

impl<T: CudaReal> CudaNumbers for Bf16<T> {
    const BF16: bool = true;

    fn factors<'a>(cuda: &Cuda, sums: View<'a, T>) -> Result<Held<'a, bf16>> {
        let n = sums.len();
        let mut rounded = cuda.alloc(n)?;
        let grid = Grid::over(n.div_ceil(4));
        cuda.launch::<Self>("round_all", grid, &[sums.into(), rounded.view_mut().into(), n.into()])?;
        Ok(Held::Owned(rounded))
    }
}

/// Numbers that lie in another's memory or in memory of their own.
#[derive(Debug)]
pub(crate) enum Held<'a, T> {
    Borrowed(View<'a, T>),
    Owned(Array<T>),
}

impl<T> Held<'_, T> {
    /// The memory, where it is its own.
    pub(super) fn owned(self) -> Option<Array<T>> {
        match self {
            Self::Borrowed(_) => None,
            Self::Owned(array) => Some(array),
        }
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        match self {
            Self::Borrowed(view) => *view,
            Self::Owned(array) => array.view(),
        }
    }
}
