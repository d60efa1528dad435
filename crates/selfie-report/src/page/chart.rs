//! One chart of values over steps, as inline SVG, with the numbers that the page's script shows under the pointer.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use super::axis::Axis;
use super::{N_COLOURS, alike, digits};
use crate::Point;

/// The drawing's size in its own units; the page scales it.
pub(super) const WIDTH: f64 = 480.0;
/// As [`WIDTH`].
pub(super) const HEIGHT: f64 = 270.0;
/// Where the axes lie.
pub(super) const LEFT: f64 = 58.0;
/// As [`LEFT`]. Half of the last tick's label lies beyond it.
pub(super) const RIGHT: f64 = WIDTH - 22.0;
/// As [`LEFT`].
pub(super) const TOP: f64 = 12.0;
/// As [`LEFT`].
pub(super) const BOTTOM: f64 = HEIGHT - 30.0;
/// Most points of a line: more could not be told apart.
const MAX_POINTS: usize = 160;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// Which of the style sheet's colours.
    pub(super) colour: usize,
    /// By step.
    pub(super) points: Vec<Point>,
}

/// A value to compare with, such as that of guessing.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) label: &'static str,
    pub(super) value: f64,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    pub(super) levels: Vec<Level>,
    /// Whether the axis of values begins at 0.
    pub(super) from_zero: bool,
}

/// Some neighbouring points of a line: the first and the last of their steps, their mean, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) first: f64,
    /// The last of their steps, where the piece is drawn.
    pub(super) step: f64,
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

pub(super) fn pieces(points: &[Point]) -> Vec<Piece> {
    let finite: Vec<&Point> = points.iter().filter(|point| point.value.is_finite()).collect();
    let piece = |points: &[&Point]| {
        let values = points.iter().map(|point| point.value);
        Piece {
            first: points.first().map_or(0.0, |point| point.step as f64),
            step: points.last().map_or(0.0, |point| point.step as f64),
            mean: values.clone().sum::<f64>() / points.len() as f64,
            low: values.clone().fold(f64::INFINITY, f64::min),
            high: values.fold(f64::NEG_INFINITY, f64::max),
        }
    };
    finite.chunks(finite.len().div_ceil(MAX_POINTS).max(1)).map(piece).collect()
}

impl Chart {
    /// The chart as a figure; nothing if it has no points.
    pub(super) fn figure(&self) -> Markup {
        let lines: Vec<(&Line, Vec<Piece>)> = self.lines.iter().map(|line| (line, pieces(&line.points))).collect();
        let steps = || lines.iter().flat_map(|(_, pieces)| pieces).map(|piece| piece.step);
        if steps().next().is_none() {
            return html! {};
        }
        let x = Axis::exactly(steps().fold(f64::INFINITY, f64::min), steps().fold(0.0, f64::max));
        // The least and the most are of all values, and the mean is between them.
        let ends = lines.iter().flat_map(|(_, pieces)| pieces).flat_map(|piece| [piece.low, piece.high]);
        let zero = self.from_zero.then_some(0.0);
        let y = Axis::over(ends.chain(self.levels.iter().map(|level| level.value)).chain(zero));
        html! {
            figure.chart data-chart=(self.data(&lines, x, y)) {
                figcaption { (self.title) }
                // Not in the drawing, where a curve may be anywhere.
                @for level in &self.levels { p.level { (level.label) " " (digits(level.value)) } }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    (grid(x, y, "step"))
                    @for level in &self.levels { (level_line(level, y)) }
                    @for (line, pieces) in &lines {
                        @if pieces.iter().any(|piece| piece.low < piece.high) {
                            path class=(format!("band c{}", line.colour % N_COLOURS)) d=(band(pieces, x, y)) {}
                        }
                    }
                    (curves(&lines, x, y))
                    line.pointer x1="0" x2="0" y1=(TOP) y2=(BOTTOM) visibility="hidden" {}
                }
            }
        }
    }

    /// Whether a point of a line stands for several values.
    pub(super) fn has_bands(&self) -> bool {
        self.lines.iter().any(|line| pieces(&line.points).iter().any(|piece| piece.low < piece.high))
    }

    /// What the script needs to find the values under the pointer.
    fn data(&self, lines: &[(&Line, Vec<Piece>)], x: Axis, y: Axis) -> String {
        let line = |(line, pieces): &(&Line, Vec<Piece>)| {
            json!({
                "label": line.label,
                "colour": line.colour % N_COLOURS,
                "firsts": pieces.iter().map(|piece| piece.first).collect::<Vec<_>>(),
                "steps": pieces.iter().map(|piece| piece.step).collect::<Vec<_>>(),
                // Six digits are more than a chart shows.
                "values": pieces.iter().map(|piece| format!("{:.5e}", piece.mean).parse().unwrap_or(piece.mean)).collect::<Vec<f64>>(),
            })
        };
        let lines: Vec<_> = lines.iter().map(line).collect();
        json!({
            "left": LEFT, "right": RIGHT, "width": WIDTH, "low": x.low, "high": x.high, "bottom": y.low, "lines": lines,
        })
        .to_string()
    }
}

/// The frame, the ticks and the words beneath.
pub(super) fn grid(x: Axis, y: Axis, below: &str) -> Markup {
    html! {
        g.grid {
            @for (at, label) in y.ticks() {
                @let y = coordinate(at_y(y, at));
                line x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
                text.end x=(LEFT - 6.0) y=(y) dy="0.35em" { (label) }
            }
            @for (at, label) in x.ticks() {
                text.middle x=(coordinate(at_x(x, at))) y=(BOTTOM + 20.0) { (label) }
            }
            // In the corner, where neither a line nor a tick's label comes.
            text.end x=(LEFT - 20.0) y=(BOTTOM + 20.0) { (below) }
        }
    }
}

/// The lines: those that hide others last, with gaps.
fn curves(lines: &[(&Line, Vec<Piece>)], x: Axis, y: Axis) -> Markup {
    let mut curves: Vec<_> = lines.iter().zip(alike::dashes(lines, x, y)).collect();
    curves.sort_by_key(|(_, dashes)| dashes.turn);
    html! {
        @for ((line, pieces), dashes) in curves {
            path class=(format!("line c{}", line.colour % N_COLOURS)) d=(path(pieces, x, y))
                stroke-dasharray=[dashes.array()] stroke-dashoffset=[dashes.offset()] {}
            @if let [piece] = pieces.as_slice() {
                circle class=(format!("dot c{}", line.colour % N_COLOURS)) cx=(coordinate(at_x(x, piece.step)))
                    cy=(coordinate(at_y(y, piece.mean))) r="3" {}
            }
        }
    }
}

fn level_line(level: &Level, y: Axis) -> Markup {
    let at = coordinate(at_y(y, level.value));
    html! { line.level x1=(LEFT) x2=(RIGHT) y1=(at) y2=(at) {} }
}

pub(super) fn at_x(x: Axis, value: f64) -> f64 {
    LEFT + x.share(value) * (RIGHT - LEFT)
}

pub(super) fn at_y(y: Axis, value: f64) -> f64 {
    BOTTOM - y.share(value) * (BOTTOM - TOP)
}

/// A tenth of a unit is finer than a screen.
pub(super) fn coordinate(value: f64) -> String {
    format!("{value:.1}")
}

fn path(pieces: &[Piece], x: Axis, y: Axis) -> PreEscaped<String> {
    let mut path = String::new();
    for (idx, piece) in pieces.iter().enumerate() {
        let command = if idx == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.1}", at_x(x, piece.step), at_y(y, piece.mean));
    }
    PreEscaped(path)
}

/// Around the line, from the least to the most of each piece.
fn band(pieces: &[Piece], x: Axis, y: Axis) -> PreEscaped<String> {
    let mut path = String::new();
    let (above, below) =
        (pieces.iter().map(|piece| (piece.step, piece.high)), pieces.iter().rev().map(|piece| (piece.step, piece.low)));
    for (idx, (step, value)) in above.chain(below).enumerate() {
        let command = if idx == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.1}", at_x(x, step), at_y(y, value));
    }
    path.push('Z');
    PreEscaped(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_points_become_pieces_that_keep_the_least_and_the_most() {
        let points: Vec<Point> = (1..=1600).map(|step| Point { step, value: (step % 10) as f64 }).collect();
        let pieces = pieces(&points);
        assert_eq!(pieces.len(), MAX_POINTS);
        assert_eq!(pieces[0], Piece { first: 1.0, step: 10.0, mean: 4.5, low: 0.0, high: 9.0 });
    }

    #[test]
    fn a_band_lies_within_the_axes() {
        let points: Vec<Point> =
            (1..=1600).map(|step| Point { step, value: if step == 800 { 10.0 } else { 1.0 } }).collect();
        let line = Line { label: "a".into(), colour: 0, points };
        let html =
            Chart { title: "a".into(), lines: vec![line], levels: Vec::new(), from_zero: false }.figure().into_string();
        let band = html.split("class=\"band c0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let heights: Vec<f64> =
            band.split(['M', 'L', 'Z']).filter_map(|point| point.split_once(' ')?.1.parse().ok()).collect();
        let highest = heights.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(heights.len() > 300 && (highest - TOP).abs() < 0.1, "10 is the last tick, at the top: {highest}");
    }
}
