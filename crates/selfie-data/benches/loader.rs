//! What the threads that prepare batches do, on one thread: `cargo bench -p selfie-data`.
//!
//! An item is an image. Batches are made from images in memory; reading and decoding files is not here.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to report")]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use selfie_data::augment::{Draw, MixedLabels, Operation, Step, colour};
use selfie_data::decode::{Rgb, decode};
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
        let pixels = (&LARGE[start..][..source_bytes]).into();
        let image = Rgb { width: source_side, height: source_side, pixels };
        augmentation.apply(&image, side, draw, &mut out);
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

/// One operation on one 224-px image after the other, in place: what one changed, the next sees.
fn in_place(bencher: Bencher, change: impl Fn(&mut [u8])) {
    let side = 224;
    let mut example = 0;
    let sources: Vec<Vec<u8>> = LARGE.chunks_exact(side * side * 3).take(8).map(<[u8]>::to_vec).collect();
    let mut image = sources[0].clone();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        example += 1;
        image.copy_from_slice(&sources[example % sources.len()]);
        change(&mut image);
        black_box(image[0])
    });
}

#[divan::bench(args = ["brightness", "contrast", "saturation", "hue", "grayscale"])]
fn colour_224(bencher: Bencher, name: &str) {
    in_place(bencher, |image| match name {
        "brightness" => colour::adjust_brightness(image, 1.3),
        "contrast" => colour::adjust_contrast(image, 1.3),
        "saturation" => colour::adjust_saturation(image, 1.3),
        "hue" => colour::adjust_hue(image, 0.1),
        _ => colour::grayscale(image),
    });
}

#[divan::bench]
fn rand_augment_224(bencher: Bencher) {
    let rand_augment = Some(RandAugment { n_operations: 2, magnitude: 9 });
    images(bencher, Augmentation { rand_augment, ..Augmentation::NONE }, (224, 224));
}

#[divan::bench(args = Operation::ALL)]
fn rand_augment_operation_224(bencher: Bencher, operation: Operation) {
    in_place(bencher, |image| Step { operation, bin: 9, negative: false }.apply(image, 224));
}

#[divan::bench]
fn padded_crop_and_flip_224(bencher: Bencher) {
    images(bencher, Augmentation::default(), (224, 224));
}

/// A JPEG of smooth colours with a little noise, about as large as a photograph's.
fn jpeg((width, height): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let wave = |x: f32, period: f32| (x / period).sin().mul_add(100.0, 128.0);
    let pixel = |x: u32, y: u32| {
        let noise = (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 22 & 15) as f32;
        let channel = |period: f32| (wave((x + y / 2) as f32, period) + noise) as u8;
        image::Rgb([channel(17.0), channel(31.0), channel(53.0)])
    };
    let picture = image::RgbImage::from_fn(width, height, pixel);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
    bytes
}

/// The sizes of ImageNet's files as they are published, and resized.
#[divan::bench(args = [(224, 224), (500, 375)])]
fn decode_jpeg(bencher: Bencher, size: (u32, u32)) {
    let bytes = jpeg(size);
    let path = std::path::Path::new("a.jpg");
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| decode(&bytes, path).unwrap());
}
