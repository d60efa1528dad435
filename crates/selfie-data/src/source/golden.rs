//! What a run draws, fixed by hashes: every run ever made depends on it.

use std::ops::Range;
use std::sync::LazyLock;

use super::*;
use crate::{Loader, N_CHANNELS};
use selfie_random::{Purpose, Stream};

/// BLAKE3 for seeds 0 and 1 of (epoch, example, crop, flip, mask) of two epochs, and of the batches made with them.
const HASHES: [[&str; 2]; 2] = [
    [
        "b3834dc45832a1ef5fcce5c0e0af528c9ec40af71d9a1d2bd33580cdf2d501b4",
        "3fff8118e12cb2a0c81b8ca372a1935cf4ff1d8c9fd0db887581de4a8db980d5",
    ],
    [
        "aeec847dfb87d09a1355da53a101c7af9b46f9a42fd5203dca9e55f42d435e7e",
        "f7fbbc7dc211dce22bbaecb0f35f5ae912ca0e7cc96397fc0d0ecc218c935a44",
    ],
];

const N_EXAMPLES: u32 = 50_000;
const BATCH: usize = 50;
const N_STEPS: u64 = 2 * N_EXAMPLES as u64 / BATCH as u64;
/// As many patches and shifts as at 32 px.
const SIDE: usize = 8;
const PATCH_SIDE: usize = 2;

static IMAGES: LazyLock<Arc<Images>> = LazyLock::new(|| {
    let n = N_EXAMPLES as usize;
    let pixels = (0..n * SIDE * SIDE * N_CHANNELS).map(|i| (i % 251) as u8).collect();
    Arc::new(Images::new(SIDE, pixels, vec![0; n], vec!["none".to_owned()]).unwrap())
});

fn source(seed: u64) -> PretrainSource {
    let settings = PretrainSettings {
        grid: PatchGrid::new(SIDE, PATCH_SIDE).unwrap(),
        masks: MaskSampler::new(16, 4).unwrap(),
        augmentation: Some(Augmentation::default()),
        patches: PatchAugmentation::default(),
        seed,
        batch: BATCH,
    };
    PretrainSource::new(IMAGES.clone(), None, settings).unwrap()
}

/// The draws of one step and the batch they make, as bytes.
fn step_bytes(source: &PretrainSource, seed: u64, step: u64) -> Result<[Vec<u8>; 2], DataError> {
    let (mut draws, batch) = (Vec::new(), source.batch(step)?);
    for (epoch, example) in source.order.batch(step, BATCH) {
        let shift = Augmentation::default().shift(Draw { seed, epoch, example });
        draws.extend([epoch, example].into_iter().flat_map(u32::to_le_bytes));
        draws.extend([shift.top as u8, shift.left as u8, u8::from(shift.flip)]);
        draws.extend(source.settings.masks.order(seed, epoch, example).iter().map(|patch| *patch as u8));
    }
    let indices = batch.examples.iter().chain(&batch.order).flat_map(|index| index.to_le_bytes());
    Ok([draws, indices.chain(batch.patches).collect()])
}

/// The hashes of two epochs, made in several runs, each with a loader of so many workers.
fn hashes(seed: u64, runs: &[(Range<u64>, usize)]) -> [String; 2] {
    let mut hashers = [blake3::Hasher::new(), blake3::Hasher::new()];
    for (steps, workers) in runs {
        let source = source(seed);
        for step in Loader::new(move |step| step_bytes(&source, seed, step), steps.clone(), *workers, 4) {
            for (hasher, bytes) in hashers.iter_mut().zip(step.unwrap()) {
                hasher.update(&bytes);
            }
        }
    }
    hashers.map(|hasher| hasher.finalize().to_hex().to_string())
}

#[test]
fn draws_are_those_of_every_earlier_version_for_any_number_of_workers() {
    for (seed, expected) in HASHES.into_iter().enumerate() {
        for workers in [0, 1, 2, 4] {
            assert_eq!(hashes(seed as u64, &[(0..N_STEPS, workers)]), expected, "seed {seed}, {workers} workers");
        }
    }
}

#[test]
fn draws_are_the_same_when_runs_end_at_random_places_and_go_on() {
    for (seed, expected) in HASHES.into_iter().enumerate() {
        let mut draws = Stream::new(seed as u64, Purpose::Synthetic, 0, 0);
        let mut ends: Vec<u64> = (0..5).map(|_| u64::from(draws.below(N_STEPS as u32))).collect();
        ends.extend([0, N_STEPS]);
        ends.sort_unstable();
        let runs: Vec<_> = ends.windows(2).zip([1, 0, 2, 4, 1, 3]).map(|(ends, n)| (ends[0]..ends[1], n)).collect();
        assert_eq!(hashes(seed as u64, &runs), expected, "seed {seed}, {runs:?}");
    }
}
