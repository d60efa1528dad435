//! The objects' outlines as signed distances.

/// (x, y), y downwards.
pub(super) type Point = [f32; 2];

/// What an object may look like from its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outline {
    Disc,
    Ring,
    Square,
    Triangle,
    Star,
}

const SQUARE: [Point; 4] = [[-0.78, -0.78], [0.78, -0.78], [0.78, 0.78], [-0.78, 0.78]];
const TRIANGLE: [Point; 3] = [[0.0, -1.05], [0.909_327, 0.525], [-0.909_327, 0.525]];
/// Five points at radius 1.1, the notches between them at 0.45.
const STAR: [Point; 10] = [
    [0.0, -1.1],
    [0.264_503, -0.364_058],
    [1.046_162, -0.339_919],
    [0.427_975, 0.139_058],
    [0.646_564, 0.889_919],
    [0.0, 0.45],
    [-0.646_564, 0.889_919],
    [-0.427_975, 0.139_058],
    [-1.046_162, -0.339_919],
    [-0.264_503, -0.364_058],
];

impl Outline {
    pub(super) const ALL: [Self; 5] = [Self::Disc, Self::Ring, Self::Square, Self::Triangle, Self::Star];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
        }
    }

    /// Distance to the edge of an outline of about radius 1 around the origin, negative inside.
    pub(super) fn distance(self, point: Point) -> f32 {
        match self {
            Self::Disc => length(point) - 0.88,
            Self::Ring => (length(point) - 0.72).abs() - 0.24,
            Self::Square => polygon(&SQUARE, point),
            Self::Triangle => polygon(&TRIANGLE, point),
            Self::Star => polygon(&STAR, point),
        }
    }
}

pub(super) fn length(point: Point) -> f32 {
    dot(point, point).sqrt()
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

/// The distance to the nearest edge; a point is inside if a ray from it crosses an odd number of edges.
fn polygon(corners: &[Point], point: Point) -> f32 {
    let mut nearest_squared = f32::INFINITY;
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let edge = [to[0] - from[0], to[1] - from[1]];
        let offset = [point[0] - from[0], point[1] - from[1]];
        let along = (dot(offset, edge) / dot(edge, edge)).clamp(0.0, 1.0);
        let rest = [offset[0] - along * edge[0], offset[1] - along * edge[1]];
        nearest_squared = nearest_squared.min(dot(rest, rest));
        if (from[1] > point[1]) != (to[1] > point[1]) && offset[0] < offset[1] * edge[0] / edge[1] {
            inside = !inside;
        }
        from = to;
    }
    let distance = nearest_squared.sqrt();
    if inside { -distance } else { distance }
}
