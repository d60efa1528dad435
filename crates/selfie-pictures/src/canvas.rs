//! A picture to draw on: rectangles, images, lines, discs and text.

use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use crate::text::{Font, glyphs};
use crate::{Colour, PictureError};

/// Pixels to draw on. What lies beyond the edges is left out.
#[derive(Clone, Debug)]
pub struct Canvas {
    image: RgbImage,
}

/// Where something is drawn, in pixels from the top left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
}

impl Area {
    /// A square.
    #[must_use]
    pub fn square(x: i32, y: i32, side: i32) -> Self {
        Self { x, y, width: side, height: side }
    }
}

/// A text's look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Height of a line, px.
    pub size: f32,
    /// Bold.
    pub bold: bool,
    /// Its colour.
    pub colour: Colour,
}

impl Canvas {
    /// A canvas of one colour.
    #[must_use]
    pub fn new(width: i32, height: i32, colour: Colour) -> Self {
        let side = |side: i32| side.clamp(1, 16_384) as u32;
        Self { image: RgbImage::from_pixel(side(width), side(height), Rgb(colour.0)) }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> i32 {
        self.image.width() as i32
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> i32 {
        self.image.height() as i32
    }

    /// The colour at a place; `None` beyond the edges.
    #[must_use]
    pub fn colour_at(&self, x: i32, y: i32) -> Option<Colour> {
        let (x, y) = (u32::try_from(x).ok()?, u32::try_from(y).ok()?);
        self.image.get_pixel_checked(x, y).map(|pixel| Colour(pixel.0))
    }

    /// Mixes a colour over what is there; `share` 1 covers it.
    pub fn blend(&mut self, x: i32, y: i32, colour: Colour, share: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(pixel) = self.image.get_pixel_mut_checked(x, y) {
            pixel.0 = Colour(pixel.0).mixed(colour, share).0;
        }
    }

    /// Fills an area.
    pub fn fill(&mut self, area: Area, colour: Colour) {
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    /// Draws a frame of `line` pixels just outside of an area.
    pub fn frame(&mut self, area: Area, line: i32, colour: Colour) {
        let Area { x, y, width, height } = area;
        let (left, top, wide) = (x - line, y - line, width + 2 * line);
        self.fill(Area { x: left, y: top, width: wide, height: line }, colour);
        self.fill(Area { x: left, y: y + height, width: wide, height: line }, colour);
        self.fill(Area { x: left, y, width: line, height }, colour);
        self.fill(Area { x: x + width, y, width: line, height }, colour);
    }

    /// Draws an image of `side × side` pixels, `[side, side, 3]`, into a square area: enlarged by whole pixels, so that
    /// small images stay what they are; reduced by the nearest pixel.
    pub fn image(&mut self, area: Area, side: usize, pixels: &[u8]) {
        for y in 0..area.height {
            for x in 0..area.width {
                let column = x as usize * side / area.width as usize;
                let row = y as usize * side / area.height as usize;
                if let Some(&[r, g, b]) = pixels.as_chunks::<3>().0.get(row * side + column) {
                    self.blend(area.x + x, area.y + y, Colour([r, g, b]), 1.0);
                }
            }
        }
    }

    /// A disc around a point.
    pub fn disc(&mut self, (x, y): (f32, f32), radius: f32, colour: Colour) {
        let reach = radius.ceil() as i32 + 1;
        for row in y as i32 - reach..=y as i32 + reach {
            for column in x as i32 - reach..=x as i32 + reach {
                let distance = (column as f32 - x).hypot(row as f32 - y);
                self.blend(column, row, colour, (radius + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    }

    /// Writes a line of text whose upper left corner is at a place.
    pub fn text(&mut self, x: i32, y: i32, text: &str, style: Style) {
        for glyph in glyphs(text, Font::of(style.bold), style.size) {
            let bounds = glyph.px_bounds();
            let (left, top) = (x + bounds.min.x as i32, y + bounds.min.y as i32);
            glyph.draw(|column, row, share| {
                self.blend(left + column as i32, top + row as i32, style.colour, share);
            });
        }
    }

    /// As [`Canvas::text`], centred between the left and right edge of an area.
    pub fn text_centred(&mut self, area: Area, text: &str, style: Style) {
        let x = area.x + (area.width - text_width(text, style)) / 2;
        self.text(x, area.y, text, style);
    }

    /// Writes the picture as a PNG file.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PictureError> {
        let failed = |source| PictureError::Write { path: path.to_owned(), source };
        let mut bytes = std::io::Cursor::new(Vec::new());
        self.image
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        std::fs::write(path, bytes.into_inner()).map_err(failed)
    }
}

/// Width of a line of text in pixels.
#[must_use]
pub fn text_width(text: &str, style: Style) -> i32 {
    Font::of(style.bold).width(text, style.size).ceil() as i32
}

/// The text, or as much of its beginning as fits into a width, with an ellipsis.
#[must_use]
pub fn fitted(text: &str, width: i32, style: Style) -> String {
    if text_width(text, style) <= width {
        return text.to_owned();
    }
    let mut shorter: String = text.to_owned();
    while shorter.pop().is_some() {
        let cut = format!("{}…", shorter.trim_end());
        if text_width(&cut, style) <= width {
            return cut;
        }
    }
    String::new()
}
