//! An embedded data set: 32 × 32 pictures drawn by a program, so that everything can be tried without a download.
//!
//! Ten classes: five outlines, each smooth or striped. Everything else varies and says nothing about the class: colours,
//! place, size, rotation and squeeze of the object, direction of the light, background, spots that hide a part, noise.
//! A patch's place can be told from the light's gradient, the horizon and the parts of the outline, but not from the
//! patch alone; a few hundred labels are not enough to know the outlines in every position.
//!
//! An image is a function of (split, index): a set of another size has the same images as far as it goes. Only the basic
//! operations and the square root are used, which are exact on every machine, so the pixels are the same everywhere.

use std::sync::Arc;

use rayon::prelude::*;
use selfie_random::{Purpose, Stream};

use crate::{DataSet, Images, N_CHANNELS};

mod outline;
mod scene;
#[cfg(test)]
mod tests;

use outline::Outline;
use scene::Scene;

/// Images of the default training set.
pub const N_TRAIN: usize = 10_000;
/// Images of the default test set.
pub const N_TEST: usize = 2_000;
/// Height and width in pixels.
pub const SIDE: usize = 32;

const SEED: u64 = 0x5e1f_1e32;
const IMAGE_BYTES: usize = SIDE * SIDE * N_CHANNELS;
const N_CLASSES: usize = 2 * Outline::ALL.len();

/// Draws the data set on all cores. Classes take turns, so that they are equally frequent.
#[must_use]
pub fn draw(n_train: usize, n_test: usize) -> DataSet {
    DataSet { name: "shapes32".to_owned(), train: draw_split(0, n_train), test: draw_split(1, n_test), beside: None }
}

fn draw_split(split: u32, n_images: usize) -> Arc<Images> {
    let mut pixels = vec![0; n_images * IMAGE_BYTES];
    pixels.par_chunks_exact_mut(IMAGE_BYTES).enumerate().for_each(|(idx, image)| draw_image(split, idx, image));
    let labels = (0..n_images).map(|idx| (idx % N_CLASSES) as u16).collect();
    Arc::new(Images::of_known_sizes(SIDE, pixels, labels, class_names()))
}

/// Draws one image, `[H, W, C]`.
fn draw_image(split: u32, idx: usize, image: &mut [u8]) {
    let class = idx % N_CLASSES;
    let mut draws = Stream::new(SEED, Purpose::Shapes, split, idx as u32);
    let scene = Scene::new(Outline::ALL[class / 2], class % 2 == 1, &mut draws);
    for (pixel_idx, pixel) in image.chunks_exact_mut(N_CHANNELS).enumerate() {
        let centre = [(pixel_idx % SIDE) as f32 + 0.5, (pixel_idx / SIDE) as f32 + 0.5];
        for (byte, value) in pixel.iter_mut().zip(scene.colour(centre)) {
            let noisy = value + scene.noise * nearly_normal(&mut draws);
            *byte = (noisy.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        }
    }
}

/// The sum of four uniform bytes, with mean 0 and variance 1.
fn nearly_normal(draws: &mut Stream) -> f32 {
    let sum: u32 = draws.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
    // The variance of a uniform byte is (256² - 1) / 12.
    (sum as f32 - 510.0) / 147.8
}

fn class_names() -> Vec<String> {
    let names = Outline::ALL.iter().flat_map(|outline| ["smooth", "striped"].map(|fill| (fill, outline.name())));
    names.map(|(fill, outline)| format!("{fill} {outline}")).collect()
}
