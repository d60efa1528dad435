//! A map of points in two dimensions, coloured by class.

use crate::page::TEXT;
use crate::{Area, Canvas, Colour, Heading};

const WIDTH: i32 = 760;
/// Between the outermost points and the frame.
const INSET: i32 = 16;
/// Height over width, at most.
const MAX_ASPECT: f32 = 1.2;
const LEGEND: i32 = 190;
const LINE: i32 = 24;
/// Classes that the legend has room for.
const MAX_CLASSES: usize = 30;

/// Points and their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// Places in any units.
    pub points: Vec<[f32; 2]>,
    /// The class of each; empty without classes.
    pub classes: Vec<usize>,
    /// Names of the classes.
    pub class_names: Vec<String>,
}

/// Draws the points into a frame of their own shape, and the names of the classes beside it.
#[must_use]
pub fn scatter(heading: &Heading, scatter: &Scatter) -> Canvas {
    let named = !scatter.classes.is_empty() && scatter.class_names.len() <= MAX_CLASSES;
    let spans = [0, 1].map(|axis| Span::of(scatter.points.iter().map(|point| point[axis])));
    // Equal scales on both axes; a flat cloud gets a flat frame, but not a line.
    let scale = (WIDTH - 2 * INSET) as f32 / spans[0].length.max(spans[1].length / MAX_ASPECT).max(1e-6);
    let height = ((spans[1].length * scale) as i32 + 2 * INSET).max(WIDTH / 3);
    let legend = if named { scatter.class_names.len() as i32 * LINE } else { 0 };
    let (mut canvas, content) = heading.page(WIDTH + if named { LEGEND } else { 0 }, height.max(legend));
    let frame = Area { width: WIDTH, height, ..content };
    canvas.frame(frame, 1, Colour::LINE);
    let centre = (frame.x as f32 + WIDTH as f32 / 2.0, frame.y as f32 + height as f32 / 2.0);
    for (i, point) in scatter.points.iter().enumerate() {
        let along = |axis: usize| (point[axis] - spans[axis].middle) * scale;
        let place = (centre.0 + along(0), centre.1 + along(1));
        let colour = scatter.classes.get(i).map_or(Colour::BAR, |&class| Colour::of_class(class));
        canvas.disc(place, 3.6, Colour::PAPER);
        canvas.disc(place, 3.0, colour);
    }
    if named {
        for (class, name) in scatter.class_names.iter().enumerate() {
            let (x, y) = (content.x + WIDTH + 24, content.y + class as i32 * LINE);
            canvas.disc((x as f32, y as f32 + 9.0), 6.0, Colour::of_class(class));
            canvas.text(x + 14, y, &crate::fitted(name, LEGEND - 40, TEXT), TEXT);
        }
    }
    canvas
}

/// How far points reach along an axis.
#[derive(Clone, Copy)]
struct Span {
    middle: f32,
    length: f32,
}

impl Span {
    fn of(values: impl Iterator<Item = f32>) -> Self {
        let start = (f32::INFINITY, f32::NEG_INFINITY);
        let (low, high) = values.fold(start, |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { middle: 0.0, length: 0.0 };
        }
        Self { middle: (low + high) / 2.0, length: high - low }
    }
}
