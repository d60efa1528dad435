//! How a unit keeps its maps and what its products multiply: exactly, or rounded to bf16.

use super::memory::{Unwritten, unwritten};
use super::pieces::{ELEMENTS_PER_PIECE, Loop, vectorised};
use super::product::{Kernels, RowsFn, Tiles};
use super::scratch::Pool;
use crate::Real;
use candle_core::WithDType;
use half::bf16;
use rayon::prelude::*;
use std::borrow::Cow;
use std::marker::PhantomData;

/// The numbers of a unit. Sums, statistics and gradients of parameters are always [`Numbers::Sum`].
pub(crate) trait Numbers: Copy + Send + Sync + 'static {
    /// What is added up.
    type Sum: Real + Kept<Self>;
    /// What maps are kept as, and what products multiply.
    type Stored: Unwritten + Kept<Self> + WithDType;

    fn load(stored: Self::Stored) -> Self::Sum;
    fn store(sum: Self::Sum) -> Self::Stored;

    /// The register tiles of this machine.
    fn kernels() -> &'static Kernels<Self>;
    /// Scratch memory of these numbers.
    fn scratch_pool() -> &'static Pool<Self>;

    /// Numbers as maps are kept.
    fn stored(sums: &[Self::Sum]) -> Cow<'_, [Self::Stored]>;
    /// As [`Self::stored`], of numbers that are needed no longer.
    fn keep(sums: Vec<Self::Sum>) -> Vec<Self::Stored>;
    /// The reverse of [`Self::stored`], in memory of its own.
    fn sums(stored: &[Self::Stored]) -> Vec<Self::Sum>;
}

/// What the result of a product may be kept as.
pub(crate) trait Kept<M: Numbers>: Unwritten {
    /// As it is added up.
    fn sum(self) -> M::Sum;
    fn keep(sum: M::Sum) -> Self;
    /// The tile that writes such numbers.
    fn rows_tile(tiles: &Tiles<M>) -> RowsFn<M, Self>;
}

impl<T: Real, M: Numbers<Sum = T>> Kept<M> for T {
    #[inline(always)]
    fn sum(self) -> T {
        self
    }
    #[inline(always)]
    fn keep(sum: T) -> T {
        sum
    }
    fn rows_tile(tiles: &Tiles<M>) -> RowsFn<M, T> {
        tiles.rows_to_sums
    }
}

impl<T: Real> Kept<Bf16<T>> for bf16 {
    #[inline(always)]
    fn sum(self) -> T {
        T::from_bf16(self)
    }
    #[inline(always)]
    fn keep(sum: T) -> Self {
        sum.to_bf16()
    }
    fn rows_tile(tiles: &Tiles<Bf16<T>>) -> RowsFn<Bf16<T>, Self> {
        tiles.rows_to_stored
    }
}

/// Everything in the type of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact<T>(PhantomData<T>);

/// Maps kept in bf16, which is also what products multiply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16<T>(PhantomData<T>);

impl<T: Real> Numbers for Exact<T> {
    type Sum = T;
    type Stored = T;

    #[inline(always)]
    fn load(stored: T) -> T {
        stored
    }
    #[inline(always)]
    fn store(sum: T) -> T {
        sum
    }
    fn kernels() -> &'static Kernels<Self> {
        T::exact_kernels()
    }
    fn scratch_pool() -> &'static Pool<Self> {
        T::exact_scratch()
    }
    fn stored(sums: &[T]) -> Cow<'_, [T]> {
        Cow::Borrowed(sums)
    }
    fn keep(sums: Vec<T>) -> Vec<T> {
        sums
    }
    fn sums(stored: &[T]) -> Vec<T> {
        stored.to_vec()
    }
}

impl<T: Real> Numbers for Bf16<T> {
    type Sum = T;
    type Stored = bf16;

    #[inline(always)]
    fn load(stored: bf16) -> T {
        T::from_bf16(stored)
    }
    #[inline(always)]
    fn store(sum: T) -> bf16 {
        sum.to_bf16()
    }
    fn kernels() -> &'static Kernels<Self> {
        T::bf16_kernels()
    }
    fn scratch_pool() -> &'static Pool<Self> {
        T::bf16_scratch()
    }
    fn stored(sums: &[T]) -> Cow<'_, [bf16]> {
        Cow::Owned(convert_on_all_cores(sums, T::to_bf16))
    }
    fn keep(sums: Vec<T>) -> Vec<bf16> {
        convert_on_all_cores(&sums, T::to_bf16)
    }
    fn sums(stored: &[bf16]) -> Vec<T> {
        convert_on_all_cores(stored, T::from_bf16)
    }
}

/// `to[i] = f(from[i])` of one piece.
struct Convert<'a, A, B, F> {
    from: &'a [A],
    to: &'a mut [B],
    f: F,
}

impl<A: Copy, B, F: Fn(A) -> B> Loop for Convert<'_, A, B, F> {
    #[inline(always)]
    fn run(self) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = (self.f)(from);
        }
    }
}

/// Converts one piece on the calling thread.
pub(crate) fn convert<A: Copy, B>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) {
    vectorised(Convert { from, to, f });
}

fn convert_on_all_cores<A: Unwritten, B: Unwritten>(from: &[A], f: impl Fn(A) -> B + Copy + Send + Sync) -> Vec<B> {
    let mut to = unwritten(from.len());
    to.par_chunks_mut(ELEMENTS_PER_PIECE)
        .zip(from.par_chunks(ELEMENTS_PER_PIECE))
        .for_each(|(to, from)| convert(from, to, f));
    to
}
