//! Cutting an image into patches and putting it together again.

use crate::{DataError, N_CHANNELS};

#[cfg(test)]
mod tests;

/// The G × G arrangement of square patches on a square image; patches are numbered row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchGrid {
    image_side: usize,
    patch_side: usize,
}

impl PatchGrid {
    /// Patches of `patch_side` pixels on images of `image_side` pixels.
    ///
    /// # Errors
    ///
    /// If the patches do not fill the image exactly.
    pub fn new(image_side: usize, patch_side: usize) -> Result<Self, DataError> {
        if patch_side == 0 || image_side == 0 || !image_side.is_multiple_of(patch_side) {
            let expected = format!("a divisor of the image's side {image_side}");
            return Err(DataError::setting("patch side", expected, patch_side));
        }
        Ok(Self { image_side, patch_side })
    }

    /// Side of the image in pixels.
    #[must_use]
    pub fn image_side(&self) -> usize {
        self.image_side
    }

    /// Side of a patch in pixels, P.
    #[must_use]
    pub fn patch_side(&self) -> usize {
        self.patch_side
    }

    /// Patches in a row, G.
    #[must_use]
    pub fn side(&self) -> usize {
        self.image_side / self.patch_side
    }

    /// Patches in an image, N = G².
    #[must_use]
    pub fn n_patches(&self) -> usize {
        self.side() * self.side()
    }

    /// Bytes of an image, which are also the bytes of its patches.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.image_side * self.image_side * N_CHANNELS
    }

    /// Cuts an image into its patches.
    ///
    /// # Shapes
    ///
    /// - `image`: `[H, W, C]`
    /// - `patches`: `[N, P, P, C]`
    ///
    /// # Panics
    ///
    /// If either slice has not [`PatchGrid::image_bytes`] bytes.
    pub fn cut(&self, image: &[u8], patches: &mut [u8]) {
        self.check(image.len(), patches.len());
        for (line_idx, line) in patches.chunks_exact_mut(self.line_bytes()).enumerate() {
            line.copy_from_slice(&image[self.line_start(line_idx)..][..self.line_bytes()]);
        }
    }

    /// Puts the patches of an image together: the inverse of [`PatchGrid::cut`], with its shapes.
    ///
    /// # Panics
    ///
    /// If either slice has not [`PatchGrid::image_bytes`] bytes.
    pub fn join(&self, patches: &[u8], image: &mut [u8]) {
        self.check(image.len(), patches.len());
        for (line_idx, line) in patches.chunks_exact(self.line_bytes()).enumerate() {
            image[self.line_start(line_idx)..][..self.line_bytes()].copy_from_slice(line);
        }
    }

    fn check(&self, image_bytes: usize, patch_bytes: usize) {
        let expected = self.image_bytes();
        assert!(
            image_bytes == expected && patch_bytes == expected,
            "an image and its patches: expected {expected} bytes each, got {image_bytes} and {patch_bytes}"
        );
    }

    /// Bytes of one row of one patch.
    fn line_bytes(&self) -> usize {
        self.patch_side * N_CHANNELS
    }

    /// Where the `line_idx`-th row of the patches, counted through all of them, begins in the image.
    fn line_start(&self, line_idx: usize) -> usize {
        let (patch_idx, y) = (line_idx / self.patch_side, line_idx % self.patch_side);
        let (row, column) = (patch_idx / self.side(), patch_idx % self.side());
        ((row * self.patch_side + y) * self.image_side + column * self.patch_side) * N_CHANNELS
    }
}
