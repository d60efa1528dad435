//! Images with hidden patches, and which patch the decoder chose for each hidden place.

use crate::page::{SMALL, TEXT, percent};
use crate::{Area, Canvas, Colour, Heading, Style};

/// Side of an image, px.
const IMAGE: i32 = 200;
/// Side of a candidate and of a cell of the table, px.
const CELL: i32 = 46;
/// Of many places.
const SMALL_CELL: i32 = 33;
const FEW_PLACES: usize = 6;
const GAP: i32 = 26;
/// Room for the number of a place before its line of the table.
const LABEL: i32 = 24;
const CAPTION: i32 = 24;
const NUMBER: Style = Style { size: 16.0, bold: true, colour: Colour::INK };

/// An image, its hidden patches and the decoder's probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedImage {
    /// Side of the image in pixels.
    pub side: usize,
    /// `[side, side, 3]`
    pub pixels: Vec<u8>,
    /// Patches along a side.
    pub grid: usize,
    /// The hidden places, by number in the grid.
    pub places: Vec<usize>,
    /// `[T, T]`: for each hidden place the probability of each candidate; candidate `i` is the patch of place `i`.
    pub probs: Vec<f32>,
    /// Below the image.
    pub caption: String,
}

impl MaskedImage {
    pub(crate) fn n_places(&self) -> usize {
        self.places.len()
    }

    /// The probabilities of a place.
    pub(crate) fn probs_of(&self, place: usize) -> &[f32] {
        &self.probs[place * self.n_places()..][..self.n_places()]
    }

    /// The candidate that was chosen for a place.
    pub(crate) fn chosen(&self, place: usize) -> usize {
        let probs = self.probs_of(place);
        (1..probs.len()).fold(0, |best, i| if probs[i] > probs[best] { i } else { best })
    }

    /// The area of a patch in an image drawn at `area`.
    pub(crate) fn patch_area(&self, area: Area, patch: usize) -> Area {
        let side = area.width / self.grid as i32;
        let (row, column) = ((patch / self.grid) as i32, (patch % self.grid) as i32);
        Area::square(area.x + column * side, area.y + row * side, side)
    }

    /// Draws one patch of the image.
    pub(crate) fn draw_patch(&self, canvas: &mut Canvas, area: Area, patch: usize) {
        let side = self.side / self.grid;
        let (row, column) = (patch / self.grid * side, patch % self.grid * side);
        let line = |y: usize| &self.pixels[((row + y) * self.side + column) * 3..][..side * 3];
        let pixels: Vec<u8> = (0..side).flat_map(|y| line(y).iter().copied()).collect();
        canvas.image(area, side, &pixels);
    }

    /// Draws the image with its hidden places grey and numbered.
    pub(crate) fn draw_hidden(&self, canvas: &mut Canvas, area: Area) {
        canvas.image(area, self.side, &self.pixels);
        for (i, &patch) in self.places.iter().enumerate() {
            let place = self.patch_area(area, patch);
            canvas.fill(place, Colour::HIDDEN);
            let size = (place.height as f32 * 0.6).min(NUMBER.size);
            let number = Style { size, ..NUMBER };
            let line = Area { y: place.y + (place.height - size as i32) / 2, ..place };
            canvas.text_centred(line, &(i + 1).to_string(), number);
        }
    }
}

/// Images that stand below each other; more stand in two columns.
const ONE_COLUMN: usize = 3;
/// Between two columns.
const COLUMN_GAP: i32 = 2 * GAP;

/// Where the parts of an image stand: side by side, or of many places the two pictures above each other, beside a table of
/// smaller cells; else the page would be so wide that nobody can read it.
#[derive(Clone, Copy)]
struct Layout {
    stacked: bool,
    cell: i32,
    n_places: i32,
}

impl Layout {
    fn of(images: &[MaskedImage]) -> Self {
        let n_places = images.iter().map(MaskedImage::n_places).max().unwrap_or(0);
        let stacked = n_places > FEW_PLACES;
        Self { stacked, cell: if stacked { SMALL_CELL } else { CELL }, n_places: n_places as i32 }
    }

    fn table_x(self) -> i32 {
        if self.stacked { IMAGE + GAP } else { 2 * (IMAGE + GAP) }
    }

    fn width(self) -> i32 {
        self.table_x() + LABEL + self.n_places * self.cell
    }

    fn height(self, image: &MaskedImage) -> i32 {
        let pictures = if self.stacked { 2 } else { 1 } * (IMAGE + CAPTION);
        pictures.max((image.n_places() as i32 + 1) * self.cell) + GAP
    }
}

/// Draws each image three times: with its places hidden, with the chosen patches put there, and as a table of probabilities.
#[must_use]
pub fn masked_sheet(heading: &Heading, images: &[MaskedImage]) -> Canvas {
    let layout = Layout::of(images);
    let n_columns = if images.len() > ONE_COLUMN { 2 } else { 1 };
    let height_of_row = |row: &[MaskedImage]| row.iter().map(|image| layout.height(image)).max().unwrap_or(0);
    let height = images.chunks(n_columns).map(height_of_row).sum::<i32>() - GAP;
    let column_width = layout.width() + COLUMN_GAP;
    let (mut canvas, content) = heading.page(n_columns as i32 * column_width - COLUMN_GAP, height);
    let mut y = content.y;
    for row in images.chunks(n_columns) {
        for (column, image) in row.iter().enumerate() {
            draw_image(&mut canvas, (content.x + column as i32 * column_width, y), image, layout);
        }
        y += height_of_row(row);
    }
    canvas
}

fn draw_image(canvas: &mut Canvas, (x, y): (i32, i32), image: &MaskedImage, layout: Layout) {
    let side = IMAGE / image.grid as i32 * image.grid as i32;
    let hidden = Area::square(x, y, side);
    image.draw_hidden(canvas, hidden);
    let below = |area: Area| Area { y: area.y + side + 5, ..area };
    canvas.text_centred(below(hidden), &crate::fitted(&image.caption, side, SMALL), SMALL);

    let (filled_x, filled_y) = if layout.stacked { (x, y + IMAGE + CAPTION) } else { (x + IMAGE + GAP, y) };
    let filled = Area::square(filled_x, filled_y, side);
    canvas.image(filled, image.side, &image.pixels);
    let mut n_right = 0;
    for (i, &patch) in image.places.iter().enumerate() {
        let (chosen, area) = (image.chosen(i), image.patch_area(filled, patch));
        image.draw_patch(canvas, area, image.places[chosen]);
        n_right += usize::from(chosen == i);
        let inner = Area { x: area.x + 3, y: area.y + 3, width: area.width - 6, height: area.height - 6 };
        canvas.frame(inner, 3, if chosen == i { Colour::RIGHT } else { Colour::WRONG });
    }
    let text = format!("{n_right} of {} right", image.n_places());
    canvas.text_centred(below(filled), &text, SMALL);
    draw_table(canvas, (x + layout.table_x(), y), image, layout);
}

/// A column a candidate, a line a place; the right one is framed, the chosen one bold and green or red.
fn draw_table(canvas: &mut Canvas, (x, y): (i32, i32), image: &MaskedImage, layout: Layout) {
    let side = layout.cell;
    let cell =
        |column: usize, line: usize| Area::square(x + LABEL + column as i32 * side, y + line as i32 * side, side - 4);
    for (column, &patch) in image.places.iter().enumerate() {
        image.draw_patch(canvas, cell(column, 0), patch);
    }
    for place in 0..image.n_places() {
        let chosen = image.chosen(place);
        let middle = |area: Area| Area { y: area.y + (area.height - 16) / 2, ..area };
        let label = middle(cell(0, place + 1));
        canvas.text(x, label.y, &(place + 1).to_string(), NUMBER);
        for (candidate, &prob) in image.probs_of(place).iter().enumerate() {
            let area = cell(candidate, place + 1);
            let tint = match (candidate == chosen, chosen == place) {
                (true, true) => Colour::RIGHT,
                (true, false) => Colour::WRONG,
                (false, _) => Colour::BAR,
            };
            canvas.fill(area, Colour::PAPER.mixed(tint, 0.08 + 0.62 * prob));
            if candidate == place {
                canvas.frame(area, 2, Colour::INK);
            }
            let text = percent(prob);
            let text = if layout.stacked { text.trim_end_matches(" %") } else { &text };
            // Three digits are wider than a small cell.
            let size = match (layout.stacked, text.len()) {
                (false, _) => TEXT.size,
                (true, 0..=2) => 17.0,
                (true, _) => 12.0,
            };
            let style = Style { bold: candidate == chosen, size, ..TEXT };
            canvas.text_centred(middle(area), text, style);
        }
    }
}
