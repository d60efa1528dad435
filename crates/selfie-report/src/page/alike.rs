//! Lines that lie on each other: they are dashed in turns, so that each colour shows.

use super::N_COLOURS;
use super::axis::Axis;
use super::chart::{Line, Piece, at_x, at_y};

/// How long a dash is, in the units of the drawing.
const DASH: f64 = 8.0;
/// Two lines look like one where they are nearer than this.
const NEAR: f64 = 1.5;
/// The share of a line's points that must lie on another line.
const SHARE: f64 = 0.8;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dashes {
    /// The turn of its colour among those that lie on each other; the first is solid.
    pub(super) turn: usize,
    /// Colours that take turns.
    pub(super) n_colours: usize,
}

impl Dashes {
    /// SVG's `stroke-dasharray`; `None` of a solid line.
    pub(super) fn array(self) -> Option<String> {
        (self.turn > 0).then(|| format!("{DASH} {}", DASH * (self.n_colours - 1) as f64))
    }

    /// SVG's `stroke-dashoffset`; `None` of a solid line.
    pub(super) fn offset(self) -> Option<String> {
        (self.turn > 0).then(|| format!("-{}", DASH * self.turn as f64))
    }
}

/// How each line is drawn. Solid ones belong beneath the dashed.
pub(super) fn dashes(lines: &[(&Line, Vec<Piece>)], x: Axis, y: Axis) -> Vec<Dashes> {
    // The first line that each lies on, itself if there is none.
    let mut firsts: Vec<usize> = Vec::new();
    for (idx, (_, pieces)) in lines.iter().enumerate() {
        let on = (0..idx).find(|&other| firsts[other] == other && alike(pieces, &lines[other].1, x, y));
        firsts.push(on.unwrap_or(idx));
    }
    let colour = |idx: usize| lines[idx].0.colour % N_COLOURS;
    let of_line = |(idx, first): (usize, &usize)| {
        let mut colours = Vec::new();
        for other in (0..lines.len()).filter(|&other| firsts[other] == *first) {
            if !colours.contains(&colour(other)) {
                colours.push(colour(other));
            }
        }
        let turn = colours.iter().position(|known| *known == colour(idx)).unwrap_or(0);
        Dashes { turn, n_colours: colours.len() }
    };
    firsts.iter().enumerate().map(of_line).collect()
}

/// Whether one of two lines would hide the other.
fn alike(one: &[Piece], other: &[Piece], x: Axis, y: Axis) -> bool {
    lies_on(one, other, x, y) || lies_on(other, one, x, y)
}

fn lies_on(line: &[Piece], other: &[Piece], x: Axis, y: Axis) -> bool {
    let is_near = |piece: &&Piece| {
        let height = height_at(other, at_x(x, piece.step), x, y);
        height.is_some_and(|height| (height - at_y(y, piece.mean)).abs() < NEAR)
    };
    line.len() > 1 && line.iter().filter(is_near).count() as f64 >= SHARE * line.len() as f64
}

/// Where a line is at a column; nothing outside it.
fn height_at(pieces: &[Piece], column: f64, x: Axis, y: Axis) -> Option<f64> {
    let next = pieces.partition_point(|piece| at_x(x, piece.step) < column);
    let right = pieces.get(next)?;
    let Some(left) = next.checked_sub(1).and_then(|before| pieces.get(before)) else {
        return (at_x(x, right.step) <= column).then(|| at_y(y, right.mean));
    };
    let (from, to) = (at_x(x, left.step), at_x(x, right.step));
    let share = if to > from { (column - from) / (to - from) } else { 0.0 };
    Some(at_y(y, left.mean + share * (right.mean - left.mean)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;
    use crate::page::chart::pieces;

    fn line(colour: usize, values: &[f64]) -> Line {
        let points = values.iter().enumerate().map(|(step, &value)| Point { step: step as u64, value }).collect();
        Line { label: "a".into(), colour, points }
    }

    fn turns(lines: &[Line]) -> Vec<(usize, usize)> {
        let with: Vec<(&Line, Vec<Piece>)> = lines.iter().map(|line| (line, pieces(&line.points))).collect();
        let of_lines = dashes(&with, Axis::exactly(0.0, 9.0), Axis::over([0.0, 1.0].into_iter()));
        of_lines.into_iter().map(|dashes| (dashes.turn, dashes.n_colours)).collect()
    }

    #[test]
    fn colours_of_equal_lines_take_turns() {
        let (falling, flat): (Vec<f64>, Vec<f64>) = (0..10).map(|step| (1.0 - 0.1 * f64::from(step), 0.5)).unzip();
        let lines = [line(0, &falling), line(1, &falling), line(0, &falling), line(2, &flat), line(3, &falling)];
        assert_eq!(turns(&lines), [(0, 3), (1, 3), (0, 3), (0, 1), (2, 3)]);
        let dashes = Dashes { turn: 2, n_colours: 3 };
        assert_eq!((dashes.array().as_deref(), dashes.offset().as_deref()), (Some("8 16"), Some("-16")));
        assert_eq!(Dashes { turn: 0, n_colours: 3 }.array(), None);
    }

    #[test]
    fn a_long_line_does_not_hide_a_short_one_that_it_begins_like() {
        let long = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        assert_eq!(turns(&[line(0, &long[..4]), line(1, &long)]), [(0, 2), (1, 2)]);
        assert_eq!(turns(&[line(0, &long), line(1, &[0.1, 0.9, 0.1, 0.9])]), [(0, 1), (0, 1)]);
    }
}
