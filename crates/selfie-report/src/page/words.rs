//! Where the words of a level stand: at a place of its line that no curve goes through, if there is one.

use super::axis::Axis;
use super::chart::{BOTTOM, LEFT, Level, Line, Piece, RIGHT, TOP, at_x, at_y, short};

/// Of a letter, in the units of the drawing, as wide as on a phone.
const LETTER: f64 = 8.0;
/// Of a line of text.
const HEIGHT: f64 = 16.0;
/// Between two places that are tried, and between two at which a curve is looked at.
const APART: f64 = 8.0;

/// The words of a level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    pub(super) text: String,
    /// Where they end.
    pub(super) right: f64,
    pub(super) baseline: f64,
}

/// The words of the levels. Of places as good as each other the rightmost is taken, where curves have left chance.
pub(super) fn place(levels: &[Level], lines: &[(&Line, Vec<Piece>)], x: Axis, y: Axis) -> Vec<Words> {
    let mut placed: Vec<Words> = Vec::new();
    for level in levels {
        let text = format!("{} {}", level.label, digits(level.value, y));
        let at = at_y(y, level.value);
        let width = width(&text);
        let n_places = ((RIGHT - LEFT - width) / APART).max(0.0) as usize;
        let rights = (0..=n_places).map(|place| RIGHT - APART * place as f64);
        let places = rights.flat_map(|right| [at - 5.0, at + 13.0].map(|baseline| (right, baseline)));
        let fits = |baseline: f64| baseline - HEIGHT >= TOP - 8.0 && baseline <= BOTTOM;
        let words = places
            .filter(|(_, baseline)| fits(*baseline))
            .map(|(right, baseline)| Words { text: text.clone(), right, baseline })
            .map(|words| (crossings(&words, lines, x, y) + 1000 * overlaps(&words, &placed), words))
            .reduce(|best, next| if next.0 < best.0 { next } else { best });
        placed.extend(words.map(|(_, words)| words));
    }
    placed
}

fn width(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// Three digits, and more where a tick of another value would read the same.
fn digits(value: f64, y: Axis) -> String {
    let ticks = y.ticks();
    let reads_as_another =
        |text: &String| ticks.iter().any(|(at, label)| label == text && (at - value).abs() > 1e-9 * value.abs());
    let mut text = short(value);
    let n_decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    for more in 1..=3 {
        if reads_as_another(&text) {
            text = format!("{value:.*}", n_decimals + more);
        }
    }
    text
}

/// How much of the curves lies under the words.
fn crossings(words: &Words, lines: &[(&Line, Vec<Piece>)], x: Axis, y: Axis) -> usize {
    let left = words.right - width(&words.text);
    let n = (width(&words.text) / APART) as usize;
    let under = |pieces: &[Piece]| {
        let columns = (0..=n).map(|column| left + APART * column as f64);
        let heights = columns.filter_map(|column| height_at(pieces, column, x, y));
        heights.filter(|height| (words.baseline - HEIGHT..words.baseline + 4.0).contains(height)).count()
    };
    lines.iter().map(|(_, pieces)| under(pieces)).sum()
}

/// Where a curve is at a column; nothing outside it.
fn height_at(pieces: &[Piece], column: f64, x: Axis, y: Axis) -> Option<f64> {
    let next = pieces.partition_point(|piece| at_x(x, piece.step) < column);
    let (right, left) = (pieces.get(next)?, pieces.get(next.saturating_sub(1))?);
    let (from, to) = (at_x(x, left.step), at_x(x, right.step));
    let share = if to > from { (column - from) / (to - from) } else { 0.0 };
    Some(at_y(y, left.mean + share * (right.mean - left.mean)))
}

fn overlaps(words: &Words, placed: &[Words]) -> usize {
    let meets = |other: &&Words| {
        (words.baseline - other.baseline).abs() < HEIGHT
            && words.right - width(&words.text) < other.right
            && other.right - width(&other.text) < words.right
    };
    placed.iter().filter(meets).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;
    use crate::page::chart::pieces;

    fn placed(values: &[f64], levels: &[f64]) -> (Vec<Words>, Axis) {
        let points = values.iter().enumerate().map(|(step, &value)| Point { step: step as u64, value }).collect();
        let line = Line { label: "a".into(), colour: 0, points };
        let levels: Vec<Level> = levels.iter().map(|&value| Level { label: "chance", value }).collect();
        let x = Axis::exactly(0.0, (values.len() - 1) as f64);
        let y = Axis::over(values.iter().chain(levels.iter().map(|level| &level.value)).copied());
        (place(&levels, &[(&line, pieces(&line.points))], x, y), y)
    }

    #[test]
    fn words_stand_where_no_curve_goes_through() {
        // At its end the curve comes back to chance, above it and below.
        let values: Vec<f64> =
            (0..=40).map(|step| if step < 20 { 2.0 } else { 0.95 + 0.1 * f64::from(step % 2) }).collect();
        let (words, _) = placed(&values, &[1.0]);
        assert!(words[0].right <= RIGHT - 200.0, "{words:?}");
        let (words, _) = placed(&[0.1, 0.9, 0.95], &[0.1]);
        assert_eq!(words[0].right, RIGHT, "the right end is free");
        let (words, _) = placed(&[0.1, 0.9, 0.95], &[0.5, 0.51]);
        assert_eq!(overlaps(&words[0], &words[1..]), 0, "{words:?}");
    }

    #[test]
    fn a_level_beside_a_tick_that_reads_the_same_has_more_digits() {
        let (words, y) = placed(&[2.44, 2.5], &[2.4849]);
        assert!(y.ticks().iter().any(|(_, label)| label == "2.48"), "{y:?}");
        assert_eq!(words[0].text, "chance 2.485");
        assert_eq!(placed(&[0.1, 0.9], &[0.25]).0[0].text, "chance 0.250");
    }
}
