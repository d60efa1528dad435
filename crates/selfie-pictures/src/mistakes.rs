//! The mistakes that the decoder was surest of.

use crate::masked::MaskedImage;
use crate::page::{SMALL, TEXT, percent};
use crate::{Area, Canvas, Colour, Heading};

const IMAGE: i32 = 132;
const PATCH: i32 = 60;
const GAP: i32 = 14;
const BETWEEN: i32 = 30;
const COLUMNS: usize = 3;
const CAPTION: i32 = 24;

/// A hidden place and the wrong patch that was chosen for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The image.
    pub image: MaskedImage,
    /// Which of its hidden places.
    pub place: usize,
}

/// Draws each mistake: the image with the place marked, the patch that belongs there and the one that was chosen.
#[must_use]
pub fn mistakes_sheet(heading: &Heading, mistakes: &[Mistake]) -> Canvas {
    let (wide, high) = (IMAGE + GAP + PATCH + 60, IMAGE + CAPTION);
    let rows = mistakes.len().div_ceil(COLUMNS) as i32;
    let columns = mistakes.len().clamp(1, COLUMNS) as i32;
    let (mut canvas, content) = heading.page(columns * (wide + BETWEEN) - BETWEEN, rows * (high + BETWEEN) - BETWEEN);
    for (i, mistake) in mistakes.iter().enumerate() {
        let (column, row) = ((i % COLUMNS) as i32, (i / COLUMNS) as i32);
        draw(&mut canvas, content.x + column * (wide + BETWEEN), content.y + row * (high + BETWEEN), mistake);
    }
    canvas
}

fn draw(canvas: &mut Canvas, x: i32, y: i32, mistake: &Mistake) {
    let Mistake { image, place } = mistake;
    let side = IMAGE / image.grid as i32 * image.grid as i32;
    let area = Area::square(x, y, side);
    image.draw_hidden(canvas, area);
    canvas.frame(image.patch_area(area, image.places[*place]), 3, Colour::WRONG);
    canvas.text_centred(Area { y: y + side + 5, ..area }, &crate::fitted(&image.caption, side, SMALL), SMALL);

    let chosen = image.chosen(*place);
    let parts = [(*place, "right", Colour::RIGHT), (chosen, "chosen", Colour::WRONG)];
    for (line, (candidate, word, colour)) in parts.into_iter().enumerate() {
        let patch = Area::square(x + IMAGE + GAP, y + line as i32 * (PATCH + 10), PATCH);
        image.draw_patch(canvas, patch, image.places[candidate]);
        canvas.frame(patch, 3, colour);
        let beside = patch.x + PATCH + 9;
        canvas.text(beside, patch.y + 12, word, SMALL);
        canvas.text(beside, patch.y + 30, &percent(image.probs_of(*place)[candidate]), TEXT);
    }
}
