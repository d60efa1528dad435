//! Images and those nearest to each, a row an image.

use crate::page::wrapped;
use crate::{Area, Canvas, Colour, Heading, Style, fitted};

const GAP: i32 = 10;
/// Between the image of a row and its neighbours.
const APART: i32 = 30;
const CAPTION: Style = Style { size: 13.0, bold: false, colour: Colour::INK };
/// Of a caption's line.
const LINE: i32 = 17;
/// Lines of a caption at most; the last is cut off.
const MAX_LINES: usize = 3;

/// An image with a line of text below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Side of the image in pixels.
    pub side: usize,
    /// `[side, side, 3]`; empty where there is no image to show.
    pub pixels: Vec<u8>,
    /// Below the image, in a few lines where one is too short.
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
    let tiles = rows.iter().flat_map(|row| row.neighbours.iter().chain([&row.query]));
    let n_lines = tiles.map(|shown| caption(shown, tile).len()).max().unwrap_or(1);
    let row_height = tile + 3 + LINE * n_lines as i32 + GAP;
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
    for (i, line) in caption(tile, area.width).iter().enumerate() {
        let below = Area { y: area.y + area.height + 4 + LINE * i as i32, ..area };
        canvas.text_centred(below, line, CAPTION);
    }
}

/// The lines below an image.
fn caption(tile: &Tile, width: i32) -> Vec<String> {
    let mut lines = wrapped(&tile.caption, width, CAPTION);
    if lines.len() > MAX_LINES {
        let rest = lines.split_off(MAX_LINES - 1).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| fitted(line, width, CAPTION)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_has_the_lines_it_needs_and_no_more_than_there_is_room_for() {
        let lines = |text: &str| {
            let tile = Tile { side: 0, pixels: Vec::new(), caption: text.to_owned(), frame: None };
            caption(&tile, 96)
        };
        assert_eq!(lines("map.png"), ["map.png"]);
        assert_eq!(lines("0.898 striped triangle"), ["0.898 striped", "triangle"]);
        let long = lines("0.898 one two three four five six seven eight nine ten eleven");
        assert!(long.len() == MAX_LINES && long[2].ends_with('…'), "{long:?}");
    }
}
