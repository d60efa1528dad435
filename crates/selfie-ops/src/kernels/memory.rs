//! Memory for results and scratch that is written before it is read, and so need not be zeroed first.
#![expect(unsafe_code, reason = "a vector is lengthened without writing it; in debug builds it is poisoned instead")]

use half::bf16;

/// A cache line, in bytes.
pub(crate) const LINE: usize = 64;

/// A number for which every pattern of bits is a value.
pub(crate) trait Unwritten: Copy + Default + Send + Sync + 'static {
    /// What shows that it was read before it was written.
    const POISON: Self;
}

impl Unwritten for f32 {
    const POISON: Self = f32::NAN;
}

impl Unwritten for f64 {
    const POISON: Self = f64::NAN;
}

impl Unwritten for bf16 {
    const POISON: Self = bf16::NAN;
}

/// A vector of `len` numbers that the caller must write before reading any.
///
/// In debug builds every one is NaN, so that a test sees one that was not written.
pub(crate) fn unwritten<T: Unwritten>(len: usize) -> Vec<T> {
    let mut values: Vec<T> = Vec::with_capacity(len);
    if cfg!(debug_assertions) {
        values.resize(len, T::POISON);
    } else {
        // SAFETY: the capacity is there; every pattern of bits is a value of T, and the caller writes each before reading it.
        unsafe {
            values.set_len(len);
        }
    }
    values
}

/// Reusable memory that begins on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Unwritten> Aligned<T> {
    /// Makes room for `len` numbers, which the caller must write before reading any.
    pub(crate) fn resize(&mut self, len: usize) {
        let room = len + LINE / size_of::<T>();
        if self.data.len() < room {
            self.data = unwritten(room);
            // Fewer than a line's elements, unless the answer is "never", which would only cost speed.
            self.start = self.data.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        }
        self.len = len;
        if cfg!(debug_assertions) {
            self.as_mut_slice().fill(T::POISON);
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}
