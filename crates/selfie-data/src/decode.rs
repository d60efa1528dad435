//! From the bytes of an image file to its pixels, with limits that no file can pass.
//!
//! JPEG, PNG, WebP and BMP, told apart by their content. Grey, CMYK, 16 bits and palettes become 8-bit RGB; alpha is
//! dropped; an image is turned as its camera notes. What becomes of pixels afterwards is not here.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::caught::caught;
use crate::{DataError, N_CHANNELS};

mod jpeg;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

/// The longest side that is decoded.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels that are decoded: the largest image of ImageNet has a little fewer.
pub const MAX_PIXELS: u64 = 1 << 26;
/// What a decoder may ask for beside the pixels, such as a colour profile that inflates.
const MAX_EXTRA_BYTES: u64 = 16 << 20;
/// What it may ask for a pixel: 16-bit RGBA, twice.
const MAX_PIXEL_BYTES: u64 = 16;

/// The pixels of an image of any size: `[H, W, C]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb<'a> {
    /// W.
    pub width: usize,
    /// H.
    pub height: usize,
    /// Row by row.
    pub pixels: Cow<'a, [u8]>,
}

/// Decodes the bytes of an image file; `path` is what errors call it.
///
/// # Errors
///
/// [`DataError::Image`] if it is no whole JPEG, PNG, WebP or BMP image, or one of a side above [`MAX_SIDE`] or of more
/// than [`MAX_PIXELS`] pixels, which is refused by its header.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Rgb<'static>, DataError> {
    read(path, || decode_limited(bytes))
}

/// Width and height by the header alone.
///
/// # Errors
///
/// As [`decode`], as far as the header tells.
pub fn dimensions(bytes: &[u8], path: &Path) -> Result<(usize, usize), DataError> {
    let (width, height) = read(path, || {
        let mut decoder = decoder(bytes)?.1;
        let (width, height) = checked_dimensions(&decoder)?;
        Ok(if lies_on_its_side(orientation(&mut decoder)) { (height, width) } else { (width, height) })
    })?;
    Ok((width as usize, height as usize))
}

/// The decoders are other people's: a defect of theirs costs one image, not the run.
fn read<T>(path: &Path, decode: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
    caught(decode)
        .unwrap_or_else(|| Err("one that its decoder fails on".to_owned()))
        // Decoders say some things in several lines.
        .map_err(|reason| DataError::image(path, reason.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn decode_limited(bytes: &[u8]) -> Result<Rgb<'static>, String> {
    let (format, mut decoder) = decoder(bytes)?;
    let (width, height) = checked_dimensions(&decoder)?;
    let n_pixels = u64::from(width) * u64::from(height);
    decoder.set_limits(limits(MAX_EXTRA_BYTES + n_pixels * MAX_PIXEL_BYTES)).map_err(|error| error.to_string())?;
    if format == ImageFormat::Jpeg {
        // The decoder fills what is missing with grey.
        jpeg::require_end(bytes)?;
    }
    let orientation = orientation(&mut decoder);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    decoded.apply_orientation(orientation);
    let decoded = decoded.into_rgb8();
    let (width, height) = decoded.dimensions();
    Ok(Rgb { width: width as usize, height: height as usize, pixels: decoded.into_raw().into() })
}

/// How the camera was held; as it lies where the note cannot be read.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn lies_on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// Limits of memory alone: [`checked_dimensions`] compares the sides, and says what they are.
fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_alloc);
    limits
}

fn decoder(bytes: &[u8]) -> Result<(ImageFormat, impl ImageDecoder), String> {
    if bytes.is_empty() {
        return Err("an empty file".to_owned());
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let format = match reader.format() {
        Some(known @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => known,
        Some(other) => return Err(format!("a file of the format {other:?}, none of JPEG, PNG, WebP and BMP")),
        None => return Err("neither JPEG, PNG, WebP nor BMP".to_owned()),
    };
    reader.limits(limits(MAX_EXTRA_BYTES));
    Ok((format, reader.into_decoder().map_err(|error| error.to_string())?))
}

fn checked_dimensions(decoder: &impl ImageDecoder) -> Result<(u32, u32), String> {
    let (width, height) = decoder.dimensions();
    let n_pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 {
        return Err(format!("one of {width} × {height} pixels"));
    }
    if width > MAX_SIDE || height > MAX_SIDE || n_pixels > MAX_PIXELS {
        return Err(format!(
            "one of {width} × {height} pixels, above {MAX_SIDE} a side or {MAX_PIXELS} in all: make it smaller"
        ));
    }
    Ok((width, height))
}

impl Rgb<'_> {
    /// The shorter side resized to `side` by an antialiasing bilinear filter, then the centre: `[side, side, C]`, as
    /// selfie-model takes an image for inference. An image of that size is left as it is.
    ///
    /// # Errors
    ///
    /// If the resizer refuses, or `out` has another size.
    pub fn square(&self, side: usize, out: &mut [u8]) -> Result<(), DataError> {
        let refused = |reason: String| DataError::setting("image side", "a size to resize to", reason);
        if out.len() != side * side * N_CHANNELS {
            return Err(refused(format!("{} bytes for {side} pixels a side", out.len())));
        }
        if (self.width, self.height) == (side, side) {
            out.copy_from_slice(&self.pixels);
            return Ok(());
        }
        let (width, height) = (self.width as u32, self.height as u32);
        let image = TypedImageRef::<U8x3>::from_buffer(width, height, &self.pixels);
        let image = image.map_err(|error| refused(error.to_string()))?;
        // Of the type that `augment::resized` has: another would compile the resizer again, which takes half a minute.
        let source = TypedCroppedImage::from_ref(&image, 0, 0, width, height);
        let source = source.map_err(|error| refused(error.to_string()))?;
        let target = TypedImage::<U8x3>::from_buffer(side as u32, side as u32, out);
        let mut target = target.map_err(|error| refused(error.to_string()))?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .fit_into_destination(Some((0.5, 0.5)));
        Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| refused(error.to_string()))
    }
}
