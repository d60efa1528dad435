//! Products, by cuBLAS.

#![expect(unsafe_code, reason = "cuBLAS takes addresses")]

use super::{Array, Cuda, CudaNumbers, CudaReal, Element, Grid, KernelArgument, View, ViewMut};
use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys as cublas_sys};
use candle_core::cuda_backend::{WrapErr, gemm_reduced_precision_f32};
use candle_core::{Result, bail};
use std::ffi::c_int;

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

impl Cuda {
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
            vec![y.view().into(), len.into(), KernelArgument::Address(address), len.into(), len.into(), len.into()];
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

    /// `a · b` as maps are kept, added to a map that nobody else reads, where there is one.
    pub(crate) fn product_onto<M: CudaNumbers>(
        &self,
        (m, k, n): (usize, usize, usize),
        factors: (Factor<'_, M::Stored>, Factor<'_, M::Stored>),
        added: Option<Array<M::Stored>>,
    ) -> Result<Array<M::Stored>> {
        let onto = added.is_some();
        let mut c = match added {
            Some(added) => added,
            None => self.alloc(m * n)?,
        };
        self.product::<M, _>((m, k, n), factors, c.view_mut(), onto)?;
        Ok(c)
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
}
