//! Images and those nearest to each, a row an image.

use crate::{Area, Canvas, Colour, Heading, Style, fitted};

const GAP: i32 = 10;
/// Between the image of a row and its neighbours.
const APART: i32 = 30;
const CAPTION: Style = Style { size: 13.0, bold: false, colour: Colour::INK };
const CAPTION_HEIGHT: i32 = 20;

/// An image with a line of text below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Side of the image in pixels.
    pub side: usize,
    /// `[side, side, 3]`; empty where there is no image to show.
    pub pixels: Vec<u8>,
    /// Below the image.
    pub caption: String,
    /// Of a frame around it; none without.
    pub frame: Option<Colour>,
}

/// An image and its neighbours, the nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourRow {
    /// The image.
    pub query: Tile,
    /// Its neighbours.
    pub neighbours: Vec<Tile>,
}

/// Draws the rows below each other, each image `tile` pixels wide.
#[must_use]
pub fn neighbour_sheet(heading: &Heading, rows: &[NeighbourRow], tile: i32) -> Canvas {
    let columns = rows.iter().map(|row| row.neighbours.len()).max().unwrap_or(0) as i32;
    let row_height = tile + CAPTION_HEIGHT + GAP;
    let width = tile + APART + columns * (tile + GAP) - GAP;
    let (mut canvas, content) = heading.page(width, rows.len() as i32 * row_height - GAP);
    for (row_idx, row) in rows.iter().enumerate() {
        let y = content.y + row_idx as i32 * row_height;
        draw(&mut canvas, Area::square(content.x, y, tile), &row.query);
        let line = Area { x: content.x + tile + APART / 2, y, width: 1, height: tile };
        canvas.fill(line, Colour::LINE);
        for (column, neighbour) in row.neighbours.iter().enumerate() {
            let x = content.x + tile + APART + column as i32 * (tile + GAP);
            draw(&mut canvas, Area::square(x, y, tile), neighbour);
        }
    }
    canvas
}

fn draw(canvas: &mut Canvas, area: Area, tile: &Tile) {
    match tile.pixels.is_empty() {
        true => canvas.fill(area, Colour::HIDDEN),
        false => canvas.image(area, tile.side, &tile.pixels),
    }
    if let Some(colour) = tile.frame {
        canvas.frame(area, 3, colour);
    }
    let below = Area { y: area.y + area.height + 4, ..area };
    canvas.text_centred(below, &fitted(&tile.caption, area.width, CAPTION), CAPTION);
}
