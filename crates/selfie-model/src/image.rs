//! Pictures as callers have them.

use crate::error::ModelError;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// The largest picture accepted, in pixels: a hostile header cannot ask for more memory.
const MAX_PIXELS: u64 = 1 << 28;

/// A decoded picture: 8-bit red, green, blue, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// A picture of `width × height` pixels of three bytes each.
    ///
    /// # Errors
    ///
    /// [`ModelError::Image`] if the pixels do not fill the sides, or a side is 0.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ModelError> {
        let n_pixels = u64::from(width) * u64::from(height);
        if n_pixels == 0 || n_pixels > MAX_PIXELS || pixels.len() as u64 != 3 * n_pixels {
            let got = pixels.len();
            let reason = format!("expected {width} × {height} × 3 bytes of 1 to {MAX_PIXELS} pixels, got {got} bytes");
            return Err(ModelError::Image { path: None, reason });
        }
        Ok(Self { width, height, pixels })
    }

    /// Decodes a file: JPEG, PNG, WebP or BMP.
    ///
    /// # Errors
    ///
    /// [`ModelError::Image`] if it cannot be read or is no picture of at most 2²⁸ pixels.
    #[cfg(feature = "image")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let error = |reason: String| ModelError::Image { path: Some(path.to_owned()), reason };
        let bytes = std::fs::read(path).map_err(|source| error(source.to_string()))?;
        Self::decode(&bytes).map_err(|source| match source {
            ModelError::Image { reason, .. } => error(reason),
            other => other,
        })
    }

    /// Decodes the bytes of a file, turned as its camera notes; alpha is dropped.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    #[cfg(feature = "image")]
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        use image::ImageDecoder as _;

        let error = |reason: String| ModelError::Image { path: None, reason };
        let mut limits = image::Limits::default();
        limits.max_alloc = Some(MAX_PIXELS * 4);
        let reader = image::ImageReader::new(std::io::Cursor::new(bytes));
        let mut reader = reader.with_guessed_format().map_err(|source| error(source.to_string()))?;
        reader.limits(limits);
        let failed = |source: image::ImageError| error(source.to_string());
        let mut decoder = reader.into_decoder().map_err(failed)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(error(format!("expected a picture of at most {MAX_PIXELS} pixels, got {width} × {height}")));
        }
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut decoded = image::DynamicImage::from_decoder(decoder).map_err(failed)?;
        decoded.apply_orientation(orientation);
        let decoded = decoded.into_rgb8();
        let (width, height) = decoded.dimensions();
        Self::new(width, height, decoded.into_raw())
    }

    /// The picture's sides in pixels: width, height.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels, three bytes each, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The largest centred square, resized to `side × side` with an antialiasing bilinear filter: `[side, side, 3]`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Image`] if the resizer refuses.
    pub fn square(&self, side: usize) -> Result<Vec<u8>, ModelError> {
        if self.width as usize == side && self.height as usize == side {
            return Ok(self.pixels.clone());
        }
        let error = |reason: String| ModelError::Image { path: None, reason };
        // Typed: an image of any type would compile the resizer for every type there is.
        let source = TypedImageRef::<U8x3>::from_buffer(self.width, self.height, &self.pixels);
        let source = source.map_err(|source| error(source.to_string()))?;
        let mut pixels = vec![0; side * side * 3];
        let target = TypedImage::<U8x3>::from_buffer(side as u32, side as u32, &mut pixels);
        let mut target = target.map_err(|source| error(source.to_string()))?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .fit_into_destination(Some((0.5, 0.5)));
        Resizer::new().resize_typed(&source, &mut target, &options).map_err(|source| error(source.to_string()))?;
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests;
