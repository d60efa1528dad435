//! Numbers in a device's memory.

use super::{Cuda, Element};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{Layout, Result, Shape, Storage, Tensor, bail};
use std::marker::PhantomData;
use std::ops::Range;

/// Bytes that a thread reads at once.
pub(super) const PACK_BYTES: u64 = 16;

/// Memory of its own; given context, in the order of the stream, when dropped.
#[derive(Debug)]
pub(crate) struct Array<T>(pub(super) CudaSlice<T>);

/// Numbers that lie end to end.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    pub(super) address: u64,
    len: usize,
    memory: PhantomData<&'a T>,
}

/// Numbers to write.
#[derive(Debug)]
pub(crate) struct ViewMut<'a, T> {
    pub(super) address: u64,
    len: usize,
    memory: PhantomData<&'a mut T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T> Array<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        let (address, _) = self.0.device_ptr(self.0.stream());
        View { address, len: self.0.len(), memory: PhantomData }
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        let (stream, len) = (self.0.stream().clone(), self.0.len());
        let (address, _) = self.0.device_ptr_mut(&stream);
        ViewMut { address, len, memory: PhantomData }
    }
}

impl<T: CudaDType> Array<T> {
    pub(crate) fn into_storage(self, cuda: &Cuda) -> CudaStorage {
        CudaStorage::wrap_cuda_slice(self.0, cuda.device.clone())
    }

    /// A tensor of one axis, without history.
    pub(crate) fn into_vector(self, cuda: &Cuda) -> Tensor {
        let len = self.len();
        self.into_tensor(cuda, len)
    }

    /// A tensor without history.
    pub(crate) fn into_tensor(self, cuda: &Cuda, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.into_storage(cuda)), shape, BackpropOp::none(), false)
    }
}

impl<'a, T> View<'a, T> {
    /// `len` numbers at an address that the caller holds.
    pub(super) fn at(address: u64, len: usize) -> Self {
        Self { address, len, memory: PhantomData }
    }

    /// No numbers.
    pub(crate) fn none() -> Self {
        Self { address: 0, len: 0, memory: PhantomData }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// Whether packs of channels can be read from here at once.
    pub(super) fn is_aligned(self) -> bool {
        self.address.is_multiple_of(PACK_BYTES)
    }

    /// The numbers of `range`, which lies within these.
    pub(crate) fn slice(self, range: Range<usize>) -> View<'a, T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        View { address: self.address + (range.start * size_of::<T>()) as u64, len: range.len(), memory: PhantomData }
    }
}

impl<'a, T> ViewMut<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The numbers of `range`, which lies within these.
    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        let [part] = self.disjoint([range]);
        part
    }

    /// The numbers of each range; they lie within these and do not overlap.
    pub(crate) fn disjoint<const N: usize>(self, ranges: [Range<usize>; N]) -> [Self; N] {
        for (i, range) in ranges.iter().enumerate() {
            assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
            let apart = |other: &Range<usize>| other.end <= range.start || range.end <= other.start;
            assert!(ranges[..i].iter().all(apart), "{ranges:?} overlap");
        }
        ranges.map(|range| Self {
            address: self.address + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            memory: PhantomData,
        })
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, memory: PhantomData }
    }
}

/// A storage's numbers, of a device that was asked before.
pub(super) fn view<'a, T: Element>(storage: &'a CudaStorage, layout: &Layout) -> Result<View<'a, T>> {
    let slice = storage.as_cuda_slice::<T>()?;
    let (address, _) = slice.device_ptr(slice.stream());
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(View { address, len: slice.len(), memory: PhantomData }.slice(start..end)),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// As [`view`], to write.
pub(super) fn view_mut<'a, T: Element>(storage: &'a mut CudaStorage, layout: &Layout) -> Result<ViewMut<'a, T>> {
    let View { address, len, .. } = view::<T>(storage, layout)?;
    Ok(ViewMut { address, len, memory: PhantomData })
}
