//! One picture before it is sampled: what is in it, and the colour of every point. Lengths are in pixels, colours in 0–1.

use selfie_random::Stream;

use super::outline::{Outline, Point, dot, length};
use super::{N_CHANNELS, SIDE};

type Colour = [f32; N_CHANNELS];

/// How much brighter or darker an object is than its background, or how different in colour.
const MIN_CONTRAST: f32 = 0.3;
const LATTICE_SIDE: usize = 5;
const LATTICE_SPACING: f32 = SIDE as f32 / (LATTICE_SIDE - 1) as f32;

/// Everything drawn for one picture.
pub(super) struct Scene {
    background: Background,
    object: Object,
    /// Some lie behind the object, some before it.
    spots: Vec<Spot>,
    /// Unit vector towards the light.
    light: Point,
    shadow_offset: f32,
    /// Standard deviation of the noise on every channel.
    pub(super) noise: f32,
}

struct Background {
    lit: Colour,
    shaded: Colour,
    light: Point,
    clouds: Clouds,
    ground: Option<Ground>,
    weave: Option<Stripes>,
}

/// Everything below a slightly tilted line has another colour.
struct Ground {
    y: f32,
    slope: f32,
    colour: Colour,
}

struct Object {
    outline: Outline,
    centre: Point,
    radius: f32,
    /// Unit vector of the object's own x axis.
    axis: Point,
    /// The object's height over its width.
    squeeze: f32,
    colour: Colour,
    second_colour: Colour,
    stripes: Option<Stripes>,
    clouds: Clouds,
    gloss: f32,
}

struct Spot {
    centre: Point,
    radius: f32,
    axis: Point,
    squeeze: f32,
    colour: Colour,
    in_front: bool,
}

/// A soft square wave along one direction.
struct Stripes {
    direction: Point,
    period: f32,
    phase: f32,
    strength: f32,
}

/// Smooth random values between -1 and 1.
struct Clouds([[f32; LATTICE_SIDE]; LATTICE_SIDE]);

impl Scene {
    pub(super) fn new(outline: Outline, striped: bool, draws: &mut Stream) -> Self {
        let light = light_direction(draws);
        let background = Background::new(light, draws);
        let object = Object::new(outline, striped, &background, draws);
        let n_spots = 1 + draws.below(4);
        let spots = (0..n_spots).map(|_| Spot::new(draws)).collect();
        let shadow_offset = uniform(draws, 1.5, 3.5);
        Self { background, object, spots, light, shadow_offset, noise: uniform(draws, 0.015, 0.06) }
    }

    pub(super) fn colour(&self, point: Point) -> Colour {
        let mut colour = self.background.colour(point);
        let towards_light = self.light.map(|component| component * self.shadow_offset);
        let shadow = coverage(self.object.distance(add(point, towards_light)), 2.5);
        colour = colour.map(|value| value * (1.0 - 0.45 * shadow));
        colour = self.with_spots(colour, false, point);
        let inside = coverage(self.object.distance(point), 1.0);
        if inside > 0.0 {
            colour = mix(colour, self.object.colour(point, self.light), inside);
        }
        self.with_spots(colour, true, point)
    }

    fn with_spots(&self, mut colour: Colour, in_front: bool, point: Point) -> Colour {
        for spot in self.spots.iter().filter(|spot| spot.in_front == in_front) {
            let inside = coverage(spot.distance(point), 1.0);
            if inside > 0.0 {
                colour = mix(colour, spot.colour, inside);
            }
        }
        colour
    }
}

impl Background {
    fn new(light: Point, draws: &mut Stream) -> Self {
        let lit = random_colour(draws, 0.35, 1.0);
        let fade = uniform(draws, 0.2, 0.5);
        let other = random_colour(draws, 0.0, 0.7);
        let shaded = mix(lit.map(|value| value * fade), other, 0.35);
        let ground = draws.chance(0.5).then(|| Ground {
            y: uniform(draws, 14.0, 26.0),
            slope: uniform(draws, -0.25, 0.25),
            colour: random_colour(draws, 0.1, 0.8),
        });
        let weave = draws.chance(0.3).then(|| Stripes::new(draws, 0.05, 0.15));
        Self { lit, shaded, light, clouds: Clouds::new(draws), ground, weave }
    }

    fn colour(&self, point: Point) -> Colour {
        let from_centre = add(point, [-16.0; 2]);
        let along = 0.5 + dot(from_centre, self.light) / 36.0;
        let mut colour = mix(self.shaded, self.lit, along.clamp(0.0, 1.0));
        if let Some(ground) = &self.ground {
            let edge = ground.y + ground.slope * from_centre[0];
            let shade = 0.6 + 0.5 * along;
            colour = mix(colour, ground.colour.map(|value| value * shade), coverage(edge - point[1], 1.5));
        }
        let weave = self.weave.as_ref().map_or(0.0, |weave| weave.strength * weave.wave(point));
        let brightness = 1.0 + 0.22 * self.clouds.value(point) + weave;
        colour.map(|value| value * brightness)
    }
}

impl Object {
    fn new(outline: Outline, striped: bool, background: &Background, draws: &mut Stream) -> Self {
        let centre = [uniform(draws, 11.0, 21.0), uniform(draws, 11.0, 21.0)];
        let behind = background.colour(centre);
        let colour = contrasting_colour(behind, draws);
        Self {
            outline,
            centre,
            radius: uniform(draws, 8.0, 12.5),
            axis: direction(draws),
            squeeze: uniform(draws, 0.75, 1.0),
            colour,
            second_colour: contrasting_colour(colour, draws),
            stripes: striped.then(|| Stripes::new(draws, 0.6, 1.0)),
            clouds: Clouds::new(draws),
            gloss: uniform(draws, 0.1, 0.4),
        }
    }

    fn distance(&self, point: Point) -> f32 {
        let from_centre = add(point, self.centre.map(|c| -c));
        let outer = 1.15 * self.radius + 2.0;
        if dot(from_centre, from_centre) > outer * outer {
            return f32::INFINITY;
        }
        let [x, y] = rotate(from_centre, self.axis);
        // Squeezing bends distances; near the edge, where they count, by less than a quarter.
        self.outline.distance([x / self.radius, y / (self.radius * self.squeeze)]) * self.radius * self.squeeze
    }

    fn colour(&self, point: Point, light: Point) -> Colour {
        let wave = self.stripes.as_ref().map_or(-1.0, |stripes| stripes.strength * stripes.wave(point));
        let base = mix(self.colour, self.second_colour, 0.5 + 0.5 * wave);
        let towards_light = dot(add(point, self.centre.map(|c| -c)), light) / self.radius;
        let brightness = 1.0 + self.gloss * towards_light + 0.15 * self.clouds.value(point);
        base.map(|value| value * brightness)
    }
}

impl Spot {
    fn new(draws: &mut Stream) -> Self {
        Self {
            centre: [uniform(draws, 0.0, SIDE as f64), uniform(draws, 0.0, SIDE as f64)],
            radius: uniform(draws, 1.5, 4.5),
            axis: direction(draws),
            squeeze: uniform(draws, 0.4, 1.0),
            colour: random_colour(draws, 0.0, 1.0),
            in_front: draws.chance(0.5),
        }
    }

    fn distance(&self, point: Point) -> f32 {
        let from_centre = add(point, self.centre.map(|c| -c));
        let outer = self.radius + 1.0;
        if dot(from_centre, from_centre) > outer * outer {
            return f32::INFINITY;
        }
        let [x, y] = rotate(from_centre, self.axis);
        (length([x, y / self.squeeze]) - self.radius) * self.squeeze
    }
}

impl Stripes {
    fn new(draws: &mut Stream, weakest: f64, strongest: f64) -> Self {
        Self {
            direction: direction(draws),
            period: uniform(draws, 3.5, 6.0),
            phase: uniform(draws, 0.0, 1.0),
            strength: uniform(draws, weakest, strongest),
        }
    }

    /// Between -1 and 1.
    fn wave(&self, point: Point) -> f32 {
        let cycles = dot(point, self.direction) / self.period + self.phase;
        // Not `floor`, which is a slow call on processors without SSE 4.1.
        let part = cycles - cycles as i32 as f32;
        let part = if part < 0.0 { part + 1.0 } else { part };
        let triangle = 4.0 * (part - 0.5).abs() - 1.0;
        (2.0 * triangle).clamp(-1.0, 1.0)
    }
}

impl Clouds {
    fn new(draws: &mut Stream) -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| uniform(draws, -1.0, 1.0))))
    }

    fn value(&self, point: Point) -> f32 {
        let place =
            point.map(|coordinate| (coordinate / LATTICE_SPACING).clamp(0.0, (LATTICE_SIDE - 2) as f32 + 0.999));
        let [column, row] = place.map(|coordinate| coordinate as usize);
        let [x, y] = place.map(|coordinate| {
            let part = coordinate - coordinate as usize as f32;
            part * part * (3.0 - 2.0 * part)
        });
        let line = |row: usize| self.0[row][column] * (1.0 - x) + self.0[row][column + 1] * x;
        line(row) * (1.0 - y) + line(row + 1) * y
    }
}

/// How much of a pixel lies inside an edge that is `softness` pixels wide.
fn coverage(distance: f32, softness: f32) -> f32 {
    (0.5 - distance / softness).clamp(0.0, 1.0)
}

fn mix(a: Colour, b: Colour, share_of_b: f32) -> Colour {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share_of_b)
}

fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

/// The coordinates of a point on an axis and across it.
fn rotate(point: Point, axis: Point) -> Point {
    [dot(point, axis), point[1] * axis[0] - point[0] * axis[1]]
}

fn uniform(draws: &mut Stream, low: f64, high: f64) -> f32 {
    draws.range(low, high) as f32
}

/// A unit vector in any direction: a point of the disc, scaled.
fn direction(draws: &mut Stream) -> Point {
    loop {
        let point = [uniform(draws, -1.0, 1.0), uniform(draws, -1.0, 1.0)];
        let length = length(point);
        if (0.1..=1.0).contains(&length) {
            return point.map(|coordinate| coordinate / length);
        }
    }
}

/// From above four times of five, as outdoors.
fn light_direction(draws: &mut Stream) -> Point {
    let [x, y] = direction(draws);
    if draws.chance(0.6) { [x, -y.abs()] } else { [x, y] }
}

fn random_colour(draws: &mut Stream, low: f64, high: f64) -> Colour {
    std::array::from_fn(|_| uniform(draws, low, high))
}

fn contrasting_colour(with: Colour, draws: &mut Stream) -> Colour {
    loop {
        let colour = random_colour(draws, 0.05, 1.0);
        let difference: f32 = colour.iter().zip(with).map(|(a, b)| (a - b).abs()).sum();
        if difference / N_CHANNELS as f32 > MIN_CONTRAST {
            return colour;
        }
    }
}
