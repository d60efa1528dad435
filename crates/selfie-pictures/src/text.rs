//! The letters of pictures: DejaVu Sans, in the program.

use std::sync::OnceLock;

use ab_glyph::{Font as _, FontRef, OutlinedGlyph, PxScale, ScaleFont as _, point};

/// A font of the program.
#[derive(Clone, Copy)]
pub(crate) struct Font(Option<&'static FontRef<'static>>);

impl Font {
    pub(crate) fn of(bold: bool) -> Self {
        static REGULAR: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
        static BOLD: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
        let (font, bytes): (_, &'static [u8]) = match bold {
            false => (&REGULAR, include_bytes!("../assets/DejaVuSans.ttf")),
            true => (&BOLD, include_bytes!("../assets/DejaVuSans-Bold.ttf")),
        };
        // A test shows that both can be read; without one, pictures would have no text.
        Self(font.get_or_init(|| FontRef::try_from_slice(bytes).ok()).as_ref())
    }

    /// Width of a line of text in pixels.
    pub(crate) fn width(self, text: &str, size: f32) -> f32 {
        let Some(font) = self.0 else { return 0.0 };
        let scaled = font.as_scaled(PxScale::from(size));
        text.chars().map(|letter| scaled.h_advance(font.glyph_id(letter))).sum()
    }
}

/// The outlines of a line of text whose upper left corner is at 0, 0.
pub(crate) fn glyphs(text: &str, font: Font, size: f32) -> Vec<OutlinedGlyph> {
    let Some(font) = font.0 else { return Vec::new() };
    let scaled = font.as_scaled(PxScale::from(size));
    let mut x = 0.0;
    let mut outlines = Vec::new();
    for letter in text.chars() {
        let id = font.glyph_id(letter);
        let glyph = id.with_scale_and_position(size, point(x, scaled.ascent()));
        x += scaled.h_advance(id);
        outlines.extend(font.outline_glyph(glyph));
    }
    outlines
}
