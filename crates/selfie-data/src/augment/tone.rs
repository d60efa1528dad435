//! torchvision's changes of tone and sharpness that RandAugment is made of, on u8 as on its u8 tensors.

use super::colour::{blend, look_up, table};
use crate::N_CHANNELS;

/// Keeps the highest `bits` of every value, 0 to 8.
pub fn posterize(image: &mut [u8], bits: u32) {
    let mask = u8::MAX.checked_shl(8_u32.saturating_sub(bits)).unwrap_or(0);
    image.iter_mut().for_each(|value| *value &= mask);
}

/// Inverts the values from `threshold` on.
pub fn solarize(image: &mut [u8], threshold: f64) {
    look_up(image, &table(|value| if f32::from(value) >= threshold as f32 { u8::MAX - value } else { value }));
}

/// Stretches every channel to 0–255; a channel that never varies stays.
pub fn autocontrast(image: &mut [u8]) {
    each_channel(image, |counts| {
        let lowest = counts.iter().position(|&count| count > 0)? as f32;
        let highest = counts.iter().rposition(|&count| count > 0)? as f32;
        let scale = 255.0 / (highest - lowest);
        let stretch = |value: u8| ((f32::from(value) - lowest) * scale).clamp(0.0, 255.0) as u8;
        (highest > lowest).then(|| table(stretch))
    });
}

/// Gives every channel about as many of each value; a channel of too few pixels for that stays.
pub fn equalize(image: &mut [u8]) {
    each_channel(image, |counts| {
        let n: usize = counts.iter().sum();
        let of_last = counts.iter().rfind(|&&count| count > 0)?;
        let step = (n - of_last) / 255;
        if step == 0 {
            return None;
        }
        let mut below = 0;
        Some(counts.map(|count| {
            let value = (below + step / 2) / step;
            below += count;
            value.min(255) as u8
        }))
    });
}

/// Moves every pixel away from the blurred image, or towards it: 0 gives the blurred image, 1 the image. The border has no
/// blur, but loses a level where f32 falls short of it.
///
/// # Shapes
///
/// `image`: `[H, W, C]` with H = W = `side`
pub fn adjust_sharpness(image: &mut [u8], side: usize, factor: f64) {
    if side <= 2 {
        return;
    }
    let line = side * N_CHANNELS;
    let source = image.to_vec();
    look_up(image, &table(|value| blend(factor, value, f32::from(value))));
    for y in 1..side - 1 {
        let row = |y: usize| &source[y * line..][..line];
        let rows = [row(y - 1), row(y), row(y + 1)];
        let out = &mut image[y * line..][..line];
        for i in N_CHANNELS..line - N_CHANNELS {
            let across =
                |row: &[u8]| [i - N_CHANNELS, i, i + N_CHANNELS].map(|i| u32::from(row[i])).iter().sum::<u32>();
            let (sum, centre) = (rows.map(across).iter().sum::<u32>(), rows[1][i]);
            // Of the kernel's 13 parts the centre has 5. No sum of thirteenths is half a level: how halves round is no question.
            let blurred = (2 * (sum + 4 * u32::from(centre)) + 13) / 26;
            out[i] = blend(factor, centre, blurred as f32);
        }
    }
}

/// Replaces the values of each channel by a table made of how often each value occurs; by none, leaves it.
fn each_channel(image: &mut [u8], table_of: impl Fn([usize; 256]) -> Option<[u8; 256]>) {
    let mut counts = [[0; 256]; N_CHANNELS];
    let pixels = image.as_chunks_mut::<N_CHANNELS>().0;
    for pixel in &*pixels {
        for (counts, value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(*value)] += 1;
        }
    }
    let unchanged = table(|value| value);
    let tables = counts.map(|counts| table_of(counts).unwrap_or(unchanged));
    for pixel in pixels {
        *pixel = std::array::from_fn(|channel| tables[channel][usize::from(pixel[channel])]);
    }
}
