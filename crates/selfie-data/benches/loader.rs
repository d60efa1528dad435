//! What the threads that prepare batches do, on one thread: `cargo bench -p selfie-data`.
//!
//! An item is an image. Batches are made from images in memory; reading and decoding files is not here.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to report")]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use selfie_data::augment::{Draw, MixedLabels};
use selfie_data::{
    Augmentation, ColourDrop, ColourJitter, Crop, DroppedChannels, Images, JitterFill, LabelledSettings,
    LabelledSource, MaskSampler, Mixing, PatchAugmentation, PatchGrid, PatchJitter, PretrainSettings, PretrainSource,
    RandAugment, ResizedCrop,
};

const BATCH: usize = 64;

fn main() {
    divan::main();
}

/// Images of noise under a slope, of a few sizes.
fn pixels(n: usize, side: usize) -> Vec<u8> {
    (0..n * side * side * 3).map(|i| (i / 97 + ((i * 2_654_435_761) >> 20) % 64) as u8).collect()
}

static SMALL: LazyLock<Arc<Images>> = LazyLock::new(|| {
    let n = 2048;
    Arc::new(Images::new(32, pixels(n, 32), vec![0; n], vec!["none".to_owned()]).unwrap())
});

static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| pixels(16, 256));

fn pretraining(bencher: Bencher, patches: PatchAugmentation) {
    let settings = PretrainSettings {
        grid: PatchGrid::new(32, 8).unwrap(),
        masks: MaskSampler::new(16, 4).unwrap(),
        augmentation: Some(Augmentation::default()),
        patches,
        seed: 0,
        batch: BATCH,
    };
    let source = PretrainSource::new(SMALL.clone(), None, settings).unwrap();
    let mut step = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        step += 1;
        source.batch(step).unwrap()
    });
}

/// Crop, flip, cut and mask: a whole batch of pretraining.
#[divan::bench]
fn pretraining_batch_32(bencher: Bencher) {
    pretraining(bencher, PatchAugmentation::default());
}

/// The same with every change of single patches.
#[divan::bench]
fn pretraining_batch_32_patches_changed(bencher: Bencher) {
    let patches = PatchAugmentation {
        jitter: Some(PatchJitter { most: 2, fill: JitterFill::Pad }),
        colour_drop: Some(ColourDrop { share: 0.5, dropped: DroppedChannels::Constant }),
    };
    pretraining(bencher, patches);
}

/// A batch with labels, mixed.
#[divan::bench]
fn mixed_batch_32(bencher: Bencher) {
    let mixing = Mixing { mixup: 0.2, cutmix: 0.0 };
    let settings = LabelledSettings { augmentation: Some(Augmentation::default()), mixing, seed: 0, batch: BATCH };
    let source = LabelledSource::new(SMALL.clone(), (0..2048).collect(), settings).unwrap();
    let mut step = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        step += 1;
        let batch = source.batch(step).unwrap();
        assert!(matches!(batch.mixed, Some(MixedLabels { .. })));
        batch
    });
}

/// One image after the other, 256 px in memory to 224 px unless the operations keep the side.
fn images(bencher: Bencher, augmentation: Augmentation, (source_side, side): (usize, usize)) {
    let source_bytes = source_side * source_side * 3;
    let mut out = vec![0; side * side * 3];
    let mut example = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        example += 1;
        let draw = Draw { seed: 0, epoch: 0, example };
        let start = example as usize * 1009 * 3 % (LARGE.len() - source_bytes);
        let image = &LARGE[start..][..source_bytes];
        if source_side == side {
            augmentation.apply(image, side, draw, &mut out);
        } else {
            let size = (source_side, source_side);
            augmentation.apply_resized((image, size), side, draw, &mut out).unwrap();
        }
        black_box(out[0])
    });
}

#[divan::bench]
fn padded_crop_and_flip_32(bencher: Bencher) {
    images(bencher, Augmentation::default(), (32, 32));
}

#[divan::bench]
fn resized_crop_and_flip_256_to_224(bencher: Bencher) {
    let crop = Crop::Resized(ResizedCrop::default());
    images(bencher, Augmentation { crop, flip: true, ..Augmentation::NONE }, (256, 224));
}

#[divan::bench]
fn colour_jitter_224(bencher: Bencher) {
    let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
    images(bencher, Augmentation { colour_jitter: Some(jitter), ..Augmentation::NONE }, (224, 224));
}

#[divan::bench]
fn rand_augment_224(bencher: Bencher) {
    let rand_augment = Some(RandAugment { n_operations: 2, magnitude: 9 });
    images(bencher, Augmentation { rand_augment, ..Augmentation::NONE }, (224, 224));
}

#[divan::bench]
fn grayscale_224(bencher: Bencher) {
    images(bencher, Augmentation { grayscale: 1.0, ..Augmentation::NONE }, (224, 224));
}
