//! What every picture has: a margin, a title and some lines that say how to read it.

use crate::{Area, Canvas, Colour, Style, fitted, text_width};

/// Around everything.
pub(crate) const MARGIN: i32 = 24;
/// Of a content with its explanation.
const MIN_WIDTH: i32 = 460;
const TITLE_HEIGHT: i32 = 32;
const LINE: i32 = 20;
/// Between the explanation and the content.
const GAP: i32 = 18;
pub(crate) const TITLE: Style = Style { size: 22.0, bold: true, colour: Colour::INK };
pub(crate) const TEXT: Style = Style { size: 15.0, bold: false, colour: Colour::INK };
const EXPLANATION: Style = Style { size: 15.0, ..SMALL };
pub(crate) const SMALL: Style = Style { size: 13.0, bold: false, colour: Colour::FAINT };

/// What stands above a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// In large letters.
    pub title: String,
    /// How to read it.
    pub explanation: String,
}

impl Heading {
    /// A title and how to read what is below.
    #[must_use]
    pub fn new(title: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { title: title.into(), explanation: explanation.into() }
    }

    /// A canvas for a content of this size below the heading, which is drawn; returns where the content begins.
    pub(crate) fn page(&self, width: i32, height: i32) -> (Canvas, Area) {
        // Narrow contents still have room for their explanation.
        let wide = width.max(MIN_WIDTH);
        let lines = wrapped(&self.explanation, wide, EXPLANATION);
        let head = TITLE_HEIGHT + lines.len() as i32 * LINE + GAP;
        let mut canvas = Canvas::new(wide + 2 * MARGIN, height + head + 2 * MARGIN, Colour::PAPER);
        canvas.text(MARGIN, MARGIN, &fitted(&self.title, wide, TITLE), TITLE);
        for (i, line) in lines.iter().enumerate() {
            canvas.text(MARGIN, MARGIN + TITLE_HEIGHT + i as i32 * LINE, line, EXPLANATION);
        }
        (canvas, Area { x: MARGIN, y: MARGIN + head, width, height })
    }
}

/// The text in lines that fit into a width, broken between words.
pub(crate) fn wrapped(text: &str, width: i32, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), style) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A share as whole percent.
pub(crate) fn percent(share: f32) -> String {
    format!("{:.0} %", 100.0 * share)
}
