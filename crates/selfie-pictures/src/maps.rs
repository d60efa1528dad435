//! Small maps of numbers in rows: filters of the first convolution, similarities of positions, attention.

use crate::page::{SMALL, TEXT};
use crate::{Area, Canvas, Colour, Heading};

/// The first convolution's filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Side of a filter.
    pub kernel: usize,
    /// `[n, kernel, kernel, 3]`
    pub weights: Vec<f32>,
}

/// Draws each filter as a small image whose grey is zero, scaled by its own largest weight.
#[must_use]
pub fn filters_sheet(heading: &Heading, filters: &Filters) -> Canvas {
    const SIDE: i32 = 63;
    const GAP: i32 = 9;
    let one = filters.kernel * filters.kernel * 3;
    let n = filters.weights.len() / one.max(1);
    let columns = (n as f64).sqrt().ceil().clamp(1.0, 12.0) as usize;
    let rows = n.div_ceil(columns);
    let size = |n: usize| n as i32 * (SIDE + GAP) - GAP;
    let (mut canvas, content) = heading.page(size(columns), size(rows));
    for (i, weights) in filters.weights.chunks_exact(one.max(1)).enumerate() {
        let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs())).max(f32::MIN_POSITIVE);
        let pixels: Vec<u8> = weights.iter().map(|weight| (127.5 + 127.5 * weight / largest).round() as u8).collect();
        let (column, row) = ((i % columns) as i32, (i / columns) as i32);
        let area = Area::square(content.x + column * (SIDE + GAP), content.y + row * (SIDE + GAP), SIDE);
        canvas.image(area, filters.kernel, &pixels);
        canvas.frame(area, 1, Colour::LINE);
    }
    canvas
}

/// Draws for each place of a `grid × grid` how like its position embedding is to every other's: `similarities` is
/// `[N, N]`, cosines.
#[must_use]
pub fn positions_sheet(heading: &Heading, grid: usize, similarities: &[f32]) -> Canvas {
    const GAP: i32 = 12;
    const BAR: i32 = 70;
    let cell = (360 / (grid * grid).max(1) as i32).clamp(6, 26);
    let side = cell * grid as i32;
    let all = grid as i32 * (side + GAP) - GAP;
    let (mut canvas, content) = heading.page(all + BAR, all);
    let n = grid * grid;
    // A place is always like itself: the others decide what the colours span.
    let others = |(i, &value): (usize, &f32)| (i / n != i % n).then_some(value.abs());
    let largest = similarities.iter().enumerate().filter_map(others).fold(1e-6, f32::max);
    for (place, similarity) in similarities.chunks_exact(n).enumerate() {
        let (row, column) = ((place / grid) as i32, (place % grid) as i32);
        let (x, y) = (content.x + column * (side + GAP), content.y + row * (side + GAP));
        for (other, &value) in similarity.iter().enumerate() {
            let (row, column) = ((other / grid) as i32, (other % grid) as i32);
            let area = Area::square(x + column * cell, y + row * cell, cell);
            canvas.fill(area, Colour::of_signed(value / largest));
            if other == place {
                let inner = Area::square(area.x + 2, area.y + 2, cell - 4);
                canvas.fill(area, Colour::INK);
                canvas.fill(inner, Colour::PAPER);
            }
        }
        canvas.frame(Area::square(x, y, side), 1, Colour::LINE);
    }
    let bar = Area { x: content.x + all + 20, y: content.y, width: 14, height: all.min(200) };
    let label = |share: f32| format!("{share:.2}");
    colour_bar(&mut canvas, bar, [label(largest), label(-largest)], |share| Colour::of_signed(2.0 * share - 1.0));
    canvas
}

/// A bar of all colours, the largest at its upper end.
fn colour_bar(canvas: &mut Canvas, bar: Area, [high, low]: [String; 2], colour: impl Fn(f32) -> Colour) {
    for y in 0..bar.height {
        let share = 1.0 - y as f32 / (bar.height - 1).max(1) as f32;
        canvas.fill(Area { y: bar.y + y, height: 1, ..bar }, colour(share));
    }
    canvas.frame(bar, 1, Colour::LINE);
    canvas.text(bar.x + bar.width + 6, bar.y - 2, &high, SMALL);
    canvas.text(bar.x + bar.width + 6, bar.y + bar.height - 12, &low, SMALL);
}

/// An image and what the pool token attended to in each layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AttendedImage {
    /// Side of the image in pixels.
    pub side: usize,
    /// `[side, side, 3]`
    pub pixels: Vec<u8>,
    /// Patches along a side.
    pub grid: usize,
    /// For each layer the attention to each place, 0–1; none where the patch is hidden.
    pub layers: Vec<Vec<Option<f32>>>,
    /// For each layer the token's attention to itself, 0–1.
    pub itself: Vec<f32>,
    /// Below the image.
    pub caption: String,
}

/// Draws each image as a row: itself, then for each layer its patches under the colour of the attention they got.
#[must_use]
pub fn attention_sheet(heading: &Heading, images: &[AttendedImage]) -> Canvas {
    const IMAGE: i32 = 144;
    const GAP: i32 = 22;
    const TOP: i32 = 26;
    const CAPTION: i32 = 24;
    const BAR: i32 = 76;
    let n_layers = images.iter().map(|image| image.layers.len()).max().unwrap_or(0) as i32;
    let row_height = IMAGE + CAPTION + GAP;
    let width = (n_layers + 1) * (IMAGE + GAP) + BAR;
    let (mut canvas, content) = heading.page(width, TOP + images.len() as i32 * row_height - GAP);
    let x_of = |column: i32| content.x + column * (IMAGE + GAP);
    for layer in 0..n_layers {
        let area = Area { x: x_of(layer + 1), y: content.y, width: IMAGE, height: TOP };
        canvas.text_centred(area, &format!("layer {}", layer + 1), TEXT);
    }
    // From the least to the largest share: attention that is nearly even would be one colour from 0 on.
    let shares = images.iter().flat_map(|image| image.layers.iter().flatten().flatten());
    let (least, largest) =
        shares.fold((f32::INFINITY, 0f32), |(least, largest), &share| (least.min(share), largest.max(share)));
    for (row, image) in images.iter().enumerate() {
        let y = content.y + TOP + row as i32 * row_height;
        let side = IMAGE / image.grid as i32 * image.grid as i32;
        let area = Area::square(x_of(0), y, side);
        canvas.image(area, image.side, &image.pixels);
        canvas.text_centred(Area { y: y + side + 5, ..area }, &crate::fitted(&image.caption, side, SMALL), SMALL);
        for (layer, (places, itself)) in image.layers.iter().zip(&image.itself).enumerate() {
            let area = Area::square(x_of(layer as i32 + 1), y, side);
            draw_attention(&mut canvas, area, (image, places), (least, largest));
            let text = format!("itself {:.0} %", 100.0 * itself);
            canvas.text_centred(Area { y: y + side + 5, ..area }, &text, SMALL);
        }
    }
    let bar = Area { x: x_of(n_layers + 1), y: content.y + TOP, width: 14, height: IMAGE };
    let labels = [largest, least].map(|share| format!("{:.1} %", 100.0 * share));
    colour_bar(&mut canvas, bar, labels, Colour::of_share);
    canvas
}

fn draw_attention(
    canvas: &mut Canvas,
    area: Area,
    (image, places): (&AttendedImage, &[Option<f32>]),
    (least, largest): (f32, f32),
) {
    let cell = area.width / image.grid as i32;
    for (place, share) in places.iter().enumerate() {
        let (row, column) = ((place / image.grid) as i32, (place % image.grid) as i32);
        let patch = Area::square(area.x + column * cell, area.y + row * cell, cell);
        let colour = share.map_or(Colour::HIDDEN, |share| Colour::of_share((share - least) / (largest - least)));
        canvas.fill(patch, colour);
        canvas.frame(Area::square(patch.x + 1, patch.y + 1, cell - 2), 1, Colour::PAPER);
    }
}
