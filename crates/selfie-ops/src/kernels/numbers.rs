//! How a unit keeps its maps and what its products multiply: exactly, or rounded to bf16.

use super::memory::{Unwritten, unwritten};
use super::pieces::{ELEMENTS_PER_PIECE, Loop, vectorised};
use crate::Real;
use half::bf16;
use rayon::prelude::*;
use std::borrow::Cow;
use std::marker::PhantomData;

/// The numbers of a unit. Sums, statistics and gradients of parameters are always [`Numbers::Sum`].
pub(crate) trait Numbers: Copy + Send + Sync + 'static {
    /// What is added up.
    type Sum: Real;
    /// What maps are kept as.
    type Stored: Unwritten;

    fn load(stored: Self::Stored) -> Self::Sum;
    fn store(sum: Self::Sum) -> Self::Stored;

    /// The number as a product multiplies it.
    #[inline(always)]
    fn factor(sum: Self::Sum) -> Self::Sum {
        Self::load(Self::store(sum))
    }

    /// Numbers as maps are kept.
    fn stored(sums: &[Self::Sum]) -> Cow<'_, [Self::Stored]>;
    /// As [`Self::stored`], of numbers that are needed no longer.
    fn keep(sums: Vec<Self::Sum>) -> Vec<Self::Stored>;
    /// The reverse of [`Self::keep`].
    fn sums(stored: Vec<Self::Stored>) -> Vec<Self::Sum>;
    /// Numbers as products multiply them.
    fn factors(sums: &[Self::Sum]) -> Cow<'_, [Self::Sum]>;
    /// What is kept, where it is what is multiplied.
    fn as_factors(stored: &[Self::Stored]) -> Option<&[Self::Sum]>;
    /// Where to add up, where that is how it is kept.
    fn as_sums(stored: &mut [Self::Stored]) -> Option<&mut [Self::Sum]>;
}

/// Everything in the type of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact<T>(PhantomData<T>);

/// Maps kept in bf16 and factors rounded to it.
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
    fn stored(sums: &[T]) -> Cow<'_, [T]> {
        Cow::Borrowed(sums)
    }
    fn keep(sums: Vec<T>) -> Vec<T> {
        sums
    }
    fn sums(stored: Vec<T>) -> Vec<T> {
        stored
    }
    fn factors(sums: &[T]) -> Cow<'_, [T]> {
        Cow::Borrowed(sums)
    }
    fn as_factors(stored: &[T]) -> Option<&[T]> {
        Some(stored)
    }
    fn as_sums(stored: &mut [T]) -> Option<&mut [T]> {
        Some(stored)
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
    fn stored(sums: &[T]) -> Cow<'_, [bf16]> {
        Cow::Owned(convert_on_all_cores(sums, T::to_bf16))
    }
    fn keep(sums: Vec<T>) -> Vec<bf16> {
        convert_on_all_cores(&sums, T::to_bf16)
    }
    fn sums(stored: Vec<bf16>) -> Vec<T> {
        convert_on_all_cores(&stored, T::from_bf16)
    }
    fn factors(sums: &[T]) -> Cow<'_, [T]> {
        Cow::Owned(convert_on_all_cores(sums, Self::factor))
    }
    fn as_factors(_: &[bf16]) -> Option<&[T]> {
        None
    }
    fn as_sums(_: &mut [bf16]) -> Option<&mut [T]> {
        None
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
