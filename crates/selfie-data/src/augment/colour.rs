//! torchvision's adjustments of colour, on u8 as on its u8 tensors: computed in f32 in the same order and cut off, not
//! rounded, so that the same bytes come out.

use crate::N_CHANNELS;

/// Weights of red, green and blue in a pixel's luminance.
const LUMINANCE: [f32; N_CHANNELS] = [0.2989, 0.587, 0.114];
/// Pixels worked on together: compilers make vectors of loops over so many.
const N_LANES: usize = 64;

/// Multiplies every value: 0 gives black, 1 the image.
pub fn adjust_brightness(image: &mut [u8], factor: f64) {
    look_up(image, &table(|value| blend(factor, value, 0.0)));
}

/// Moves every value away from the image's mean luminance, or towards it: 0 gives plain grey, 1 the image.
pub fn adjust_contrast(image: &mut [u8], factor: f64) {
    let pixels = image.as_chunks::<N_CHANNELS>().0;
    // A sum of f32 is torchvision's; it is exact up to 2²⁴, as this one always is.
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luminance(*pixel))).sum();
    let mean = sum as f32 / pixels.len() as f32;
    look_up(image, &table(|value| blend(factor, value, mean)));
}

/// Moves every pixel away from its own luminance, or towards it: 0 gives a grey image, 1 the image.
pub fn adjust_saturation(image: &mut [u8], factor: f64) {
    change_all(image, Saturation { kept: factor as f32, other: (1.0 - factor) as f32 });
}

/// Turns every pixel's hue by `turn` of the circle, -0.5 to 0.5.
pub fn adjust_hue(image: &mut [u8], turn: f64) {
    change_all(image, Hue { turn: turn as f32 });
}

/// Gives all channels the luminance.
pub fn grayscale(image: &mut [u8]) {
    change_all(image, Grayscale);
}

/// What every value becomes.
pub(super) fn table(of: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|value| of(value as u8))
}

pub(super) fn look_up(image: &mut [u8], table: &[u8; 256]) {
    for value in image {
        *value = table[usize::from(*value)];
    }
}

/// `factor` of `value` and the rest of `other`.
pub(super) fn blend(factor: f64, value: u8, other: f32) -> u8 {
    (factor as f32 * f32::from(value) + (1.0 - factor) as f32 * other).clamp(0.0, 255.0) as u8
}

fn luminance(pixel: [u8; N_CHANNELS]) -> u8 {
    weighted(pixel.map(f32::from)) as u8
}

#[inline(always)]
fn weighted([r, g, b]: [f32; N_CHANNELS]) -> f32 {
    LUMINANCE[0] * r + LUMINANCE[1] * g + LUMINANCE[2] * b
}

/// A change of pixels by themselves. What it leaves, in 0–256, is stored without its fraction.
trait Change {
    fn change(&self, rgb: [f32; N_CHANNELS]) -> [f32; N_CHANNELS];
}

struct Grayscale;

impl Change for Grayscale {
    #[inline(always)]
    fn change(&self, rgb: [f32; N_CHANNELS]) -> [f32; N_CHANNELS] {
        [weighted(rgb); N_CHANNELS]
    }
}

struct Saturation {
    kept: f32,
    other: f32,
}

impl Change for Saturation {
    #[inline(always)]
    fn change(&self, rgb: [f32; N_CHANNELS]) -> [f32; N_CHANNELS] {
        let grey = weighted(rgb).floor();
        rgb.map(|value| (self.kept * value + self.other * grey).clamp(0.0, 255.0))
    }
}

struct Hue {
    turn: f32,
}

impl Change for Hue {
    #[inline(always)]
    fn change(&self, rgb: [f32; N_CHANNELS]) -> [f32; N_CHANNELS] {
        /// Not 256, so that 1 becomes 255.
        const LEVELS: f32 = 255.999;
        let [h, s, v] = to_hsv(rgb.map(|value| value / 255.0));
        let turned = h + self.turn;
        let turned = if turned >= 1.0 { turned - 1.0 } else { turned };
        let turned = if turned < 0.0 { turned + 1.0 } else { turned };
        to_rgb([turned, s, v]).map(|value| value * LEVELS)
    }
}

/// Changes every pixel, compiled for the widest vectors of the processor. Products and sums stay apart in all of them, so that the bytes
/// are the same.
fn change_all(image: &mut [u8], change: impl Change) {
    struct All<'a, C>(&'a mut [u8], C);
    impl<C: Change> pulp::NullaryFnOnce for All<'_, C> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let (groups, rest) = self.0.as_chunks_mut::<{ N_LANES * N_CHANNELS }>();
            for group in groups {
                change_group(group, &self.1);
            }
            let mut padded = [0; N_LANES * N_CHANNELS];
            padded[..rest.len()].copy_from_slice(rest);
            change_group(&mut padded, &self.1);
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
    pulp::Arch::new().dispatch(All(image, change));
}

#[inline(always)]
fn change_group(group: &mut [u8; N_LANES * N_CHANNELS], change: &impl Change) {
    // Three loops, each over arrays of its own: so the compiler sees that lanes do not depend on each other.
    let [mut r, mut g, mut b] = [[0_u8; N_LANES]; N_CHANNELS];
    for lane in 0..N_LANES {
        r[lane] = group[lane * N_CHANNELS];
        g[lane] = group[lane * N_CHANNELS + 1];
        b[lane] = group[lane * N_CHANNELS + 2];
    }
    for lane in 0..N_LANES {
        let rgb = change.change([f32::from(r[lane]), f32::from(g[lane]), f32::from(b[lane])]);
        [r[lane], g[lane], b[lane]] = rgb.map(|value| value as u8);
    }
    for lane in 0..N_LANES {
        group[lane * N_CHANNELS] = r[lane];
        group[lane * N_CHANNELS + 1] = g[lane];
        group[lane * N_CHANNELS + 2] = b[lane];
    }
}

/// Hue, saturation and value, each in 0–1, of red, green and blue in 0–1. No branch, so that lanes stay together.
#[inline(always)]
fn to_hsv([r, g, b]: [f32; N_CHANNELS]) -> [f32; 3] {
    let largest = r.max(g).max(b);
    let smallest = r.min(g).min(b);
    let range = largest - smallest;
    let is_grey = range == 0.0;
    let s = range / if is_grey { 1.0 } else { largest };
    let divisor = if is_grey { 1.0 } else { range };
    let [rc, gc, bc] = [r, g, b].map(|value| (largest - value) / divisor);
    let of_red = bc - gc;
    let of_green = 2.0 + rc - bc;
    let of_blue = 4.0 + gc - rc;
    let sixths = if largest == r {
        of_red
    } else if largest == g {
        of_green
    } else {
        of_blue
    };
    let h = sixths / 6.0 + 1.0;
    [if h >= 1.0 { h - 1.0 } else { h }, s, largest]
}

/// The inverse of [`to_hsv`].
#[inline(always)]
fn to_rgb([h, s, v]: [f32; 3]) -> [f32; N_CHANNELS] {
    let sixths = h * 6.0;
    let sector = sixths.floor();
    let f = sixths - sector;
    let sector = if sector == 6.0 { 0.0 } else { sector };
    let p = (v * (1.0 - s)).clamp(0.0, 1.0);
    let q = (v * (1.0 - s * f)).clamp(0.0, 1.0);
    let t = (v * (1.0 - s * (1.0 - f))).clamp(0.0, 1.0);
    // One choice a line: compilers do not make vectors of a table that is looked through.
    let r = if sector == 1.0 { q } else { v };
    let r = if (sector == 2.0) | (sector == 3.0) { p } else { r };
    let r = if sector == 4.0 { t } else { r };
    let g = if sector == 0.0 { t } else { v };
    let g = if sector == 3.0 { q } else { g };
    let g = if sector >= 4.0 { p } else { g };
    let b = if sector <= 1.0 { p } else { v };
    let b = if sector == 2.0 { t } else { b };
    let b = if sector == 5.0 { q } else { b };
    [r, g, b]
}
