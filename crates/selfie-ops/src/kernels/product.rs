//! Matrix products, by the `gemm` crate: one thread each; the callers cut the rows.
#![expect(unsafe_code, reason = "the gemm crate takes raw pointers and strides; every extent is checked here first")]

use crate::Real;

/// A matrix read by strides, so that a transposed operand needs no copy.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    data: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Operand<'a, T> {
    /// Row-major, `row_stride` elements from a row to the next.
    pub(crate) fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride, column_stride: 1 }
    }

    /// The transpose of a row-major matrix whose rows are `row_stride` apart.
    pub(crate) fn transposed(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: row_stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// The size of a product: `[m, k] × [k, n] → [m, n]`.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

/// Where a product goes, and whether it adds to what is there.
pub(crate) struct Target<'a, T> {
    pub(crate) data: &'a mut [T],
    pub(crate) row_stride: usize,
    pub(crate) accumulate: bool,
}

impl<'a, T> Target<'a, T> {
    /// Overwrites a row-major `[m, n]`.
    pub(crate) fn write(data: &'a mut [T], row_stride: usize) -> Self {
        Self { data, row_stride, accumulate: false }
    }

    /// Adds to a row-major `[m, n]`.
    pub(crate) fn add(data: &'a mut [T], row_stride: usize) -> Self {
        Self { data, row_stride, accumulate: true }
    }
}

/// `target (+)= scale · a × b`, on the calling thread.
///
/// # Panics
///
/// If an operand is shorter than the size and its strides say.
pub(crate) fn product<T: Real>(target: Target<'_, T>, size: Size, scale: T, a: Operand<'_, T>, b: Operand<'_, T>) {
    let Size { m, n, k } = size;
    assert!(a.holds(m, k) && b.holds(k, n), "product operands are too short for {m}x{k}x{n}");
    assert!(
        m == 0 || n == 0 || (target.row_stride >= n && (m - 1) * target.row_stride + n <= target.data.len()),
        "product target is too short for {m}x{n}"
    );
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the assertions above bound every address that these sizes and strides reach; `target` is borrowed mutably, so
    // it aliases neither operand; T is f32 or f64, both of which gemm implements.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.data.as_mut_ptr(),
            1,
            target.row_stride as isize,
            target.accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
