//! The operations at the shapes of full-width pretraining at 32 px; max-pooling, which that has none of, at those of fine-tuning
//! at 224 px.
//!
//! `Forward` keeps what a backward needs, so `ForwardBackward` less `Forward` is the backward. Time includes freeing what the
//! pass allocated. An item is an operation of a product (two for a multiplication and an addition) and a byte one read or
//! written, both as [`profile`] counts them; what multiplies nothing is counted in bytes.
//!
//! What is not here: whole steps, which `cargo xtask bench` measures.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to report")]

/// The program's own: another allocator would measure other page faults.
#[path = "../../selfie-cli/src/allocator.rs"]
mod allocator;

use candle_core::{Device, Result, Tensor, Var};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, Divan, black_box_drop};
use selfie_ops as ops;
use selfie_ops::profile::{self, OpClass};
use selfie_ops::{
    AdamW, BlockForm, ConvSpec, NormMode, Precision, SgdNesterov, StageSpec, TokenOutput, TransformerSpec,
};
use selfie_random::{Purpose, Stream};
use std::fmt;
use std::slice;
use std::sync::LazyLock;
use std::time::Duration;

/// Width of the network: channels of the stem.
const WIDTH: usize = 64;
/// Patches of an image, and their side in pixels.
const N_PATCHES: usize = 16;
const PATCH_SIDE: usize = 8;
/// Targets of an image, out of its patches.
const N_TARGETS: usize = 4;
const RGB: usize = 3;
const LAYER: TransformerSpec = TransformerSpec {
    width: 16 * WIDTH,
    heads: 32,
    ffn: 640,
    norm_first: false,
    precision: Precision::Full,
    output: TokenOutput::All,
};
const PRECISIONS: [Precision; 2] = [Precision::Full, Precision::Bf16];
/// The size of a flat parameter tensor for the optimizers.
const N_PARAMETERS: usize = 8 << 20;
/// Images of 224 px in a batch, and the side of their maps after a 7×7 stem.
const N_LARGE_IMAGES: usize = 16;
const LARGE_SIDE: usize = 112;

fn main() {
    allocator::keep_freed_memory();
    Divan::default().sample_count(10).max_time(Duration::from_secs(3)).config_with_args().main();
}

/// True under `cargo bench`; `cargo test --benches` only asks whether every benchmark runs.
static MEASURES: LazyLock<bool> = LazyLock::new(|| std::env::args().any(|argument| argument == "--bench"));

/// A size of the measured work; 1 where nothing is measured.
fn size(measured: usize) -> usize {
    if *MEASURES { measured } else { 1 }
}

fn n_images() -> usize {
    size(64)
}

/// Uniform in ±1/8, where no stage or layer overflows.
fn constant(dims: &[usize]) -> Tensor {
    let mut draws = Stream::new(1, Purpose::Synthetic, 0, 0);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| draws.range(-0.125, 0.125) as f32).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn variable(dims: &[usize]) -> Var {
    Var::from_tensor(&constant(dims)).unwrap()
}

/// Maps of every patch of the batch, `[B · N, side, side, channels]`.
fn maps(side: usize, channels: usize) -> Var {
    variable(&[n_images() * N_PATCHES, side, side, channels])
}

/// What attention pooling reads: the pool token and the context patches, `[B, 1 + K, D]`.
fn tokens() -> Var {
    variable(&[n_images(), 1 + N_PATCHES - N_TARGETS, LAYER.width])
}

/// What is done with an operation's result.
trait Pass {
    fn finish(y: Tensor) -> Result<()>;
}

struct Forward;
struct ForwardBackward;

impl Pass for Forward {
    fn finish(y: Tensor) -> Result<()> {
        black_box_drop(y);
        Ok(())
    }
}

impl Pass for ForwardBackward {
    /// The gradient of the sum of `y`.
    fn finish(y: Tensor) -> Result<()> {
        black_box_drop(y.backward()?);
        Ok(())
    }
}

fn measure_pass<P: Pass>(bencher: Bencher<'_, '_>, operation: impl Fn() -> Result<Tensor>) {
    measure(bencher, || P::finish(operation()?));
}

/// Times `call`. A first call, which also faults its memory in, says how much work it is.
fn measure(bencher: Bencher<'_, '_>, call: impl Fn() -> Result<()>) {
    profile::start();
    call().unwrap();
    let rows = profile::finish();
    let is_product = |class| {
        matches!(
            class,
            OpClass::ConvolutionForward
                | OpClass::ConvolutionBackward
                | OpClass::LinearForward
                | OpClass::LinearBackward
                | OpClass::Attention
        )
    };
    let products: u64 = rows.iter().filter(|row| is_product(row.class)).map(|row| row.flop).sum();
    let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
    let bencher = match (products, bytes) {
        // Compositions of candle's primitives are not counted.
        (0, 0) => bencher,
        (0, _) => bencher.counter(BytesCount::new(bytes)),
        _ => bencher.counter(ItemsCount::new(products)),
    };
    bencher.bench_local(|| call().unwrap());
}

/// A convolution of the patch network, on maps of `side` pixels.
struct Convolution {
    stage: &'static str,
    side: usize,
    spec: ConvSpec,
}

impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, side, spec } = self;
        let ConvSpec { kernel, stride, in_channels, out_channels, .. } = spec;
        let reduces = if *stride > 1 { ", halved" } else { "" };
        write!(f, "{stage}: {kernel}x{kernel}, {in_channels} to {out_channels}, on {side}x{side}{reduces}")
    }
}

/// The stem, the convolutions of each stage's later blocks, and what reduces the map in stage 2.
fn convolutions() -> Vec<Convolution> {
    let stem = Convolution { stage: "stem", side: PATCH_SIDE, spec: ConvSpec::three(RGB, WIDTH, 1) };
    let mut all = vec![stem];
    for (i, stage) in ["stage 1", "stage 2", "stage 3"].into_iter().enumerate() {
        let (side, mid) = (PATCH_SIDE >> i, WIDTH << i);
        let specs =
            [ConvSpec::pointwise(4 * mid, mid, 1), ConvSpec::three(mid, mid, 1), ConvSpec::pointwise(mid, 4 * mid, 1)];
        all.extend(specs.map(|spec| Convolution { stage, side, spec }));
    }
    let reducing = [ConvSpec::three(2 * WIDTH, 2 * WIDTH, 2), ConvSpec::pointwise(4 * WIDTH, 8 * WIDTH, 2)];
    all.extend(reducing.map(|spec| Convolution { stage: "stage 2", side: PATCH_SIDE, spec }));
    all
}

#[divan::bench(types = [Forward, ForwardBackward], args = convolutions())]
fn conv2d<P: Pass>(bencher: Bencher<'_, '_>, Convolution { side, spec, .. }: &Convolution) {
    let x = maps(*side, spec.in_channels);
    let weight = variable(&[spec.weight_len()]);
    // Nothing asks for the gradient of an image.
    let x = if spec.in_channels == RGB { x.detach() } else { x.into_inner() };
    measure_pass::<P>(bencher, || ops::conv2d(&x, &weight, *spec));
}

/// Stages by number.
fn stages() -> impl Iterator<Item = (usize, Precision)> {
    (1..=3).flat_map(|number| PRECISIONS.map(|precision| (number, precision)))
}

#[divan::bench(types = [Forward, ForwardBackward], args = stages())]
fn stage<P: Pass>(bencher: Bencher<'_, '_>, (number, precision): (usize, Precision)) {
    let (side, in_channels, depth, stride) = match number {
        1 => (PATCH_SIDE, WIDTH, 3, 1),
        2 => (PATCH_SIDE, 4 * WIDTH, 4, 2),
        _ => (PATCH_SIDE / 2, 8 * WIDTH, 6, 2),
    };
    let form = BlockForm::PreActivation;
    let spec = StageSpec { form, in_channels, mid_channels: WIDTH << (number - 1), depth, stride, precision };
    let (x, parameters) = (maps(side, in_channels), variable(&[spec.layout().n_parameters()]));
    measure_pass::<P>(bencher, || {
        ops::stage(&ops::StageMap::new(&x, precision)?, &parameters, spec, NormMode::Batch)?.y.tensor()
    });
}

/// The norm and ReLU that end the patch network.
#[divan::bench(types = [Forward, ForwardBackward])]
fn batch_norm<P: Pass>(bencher: Bencher<'_, '_>) {
    let (x, parameters) = (maps(PATCH_SIDE / 4, 16 * WIDTH), variable(&[2 * 16 * WIDTH]));
    measure_pass::<P>(bencher, || Ok(ops::batch_norm(&x, &parameters, NormMode::Batch, true)?.y));
}

#[divan::bench(types = [Forward, ForwardBackward])]
fn average_pool<P: Pass>(bencher: Bencher<'_, '_>) {
    let x = maps(PATCH_SIDE / 4, 16 * WIDTH);
    measure_pass::<P>(bencher, || ops::average_pool(&x, 1));
}

#[divan::bench(types = [Forward, ForwardBackward])]
fn max_pool<P: Pass>(bencher: Bencher<'_, '_>) {
    let x = variable(&[size(N_LARGE_IMAGES), LARGE_SIDE, LARGE_SIDE, WIDTH]);
    measure_pass::<P>(bencher, || ops::max_pool(&x));
}

#[divan::bench(types = [Forward, ForwardBackward], args = PRECISIONS)]
fn transformer_layer<P: Pass>(bencher: Bencher<'_, '_>, precision: Precision) {
    let spec = TransformerSpec { precision, ..LAYER };
    let (x, parameters) = (tokens(), variable(&[spec.layout().n_parameters()]));
    measure_pass::<P>(bencher, || ops::transformer_layer(&x, &parameters, spec, None));
}

/// The projection to queries, keys and values.
#[divan::bench(types = [Forward, ForwardBackward], args = PRECISIONS)]
fn linear<P: Pass>(bencher: Bencher<'_, '_>, precision: Precision) {
    let out = 3 * LAYER.width;
    let (x, parameters) = (tokens(), variable(&[(LAYER.width + 1) * out]));
    measure_pass::<P>(bencher, || ops::linear(&x, &parameters, out, precision));
}

#[divan::bench(types = [Forward, ForwardBackward])]
fn attention<P: Pass>(bencher: Bencher<'_, '_>) {
    let qkv = variable(&[n_images(), 1 + N_PATCHES - N_TARGETS, 3 * LAYER.width]);
    measure_pass::<P>(bencher, || ops::attention(&qkv, LAYER.heads, None));
}

#[divan::bench(types = [Forward, ForwardBackward])]
fn layer_norm<P: Pass>(bencher: Bencher<'_, '_>) {
    let (x, parameters) = (tokens(), variable(&[2 * LAYER.width]));
    measure_pass::<P>(bencher, || ops::layer_norm(&x, &parameters));
}

#[divan::bench(types = [Forward, ForwardBackward])]
fn cross_entropy<P: Pass>(bencher: Bencher<'_, '_>) {
    let logits = variable(&[n_images() * N_TARGETS, N_TARGETS]);
    let labels: Vec<u32> = (0..n_images()).flat_map(|_| 0..N_TARGETS as u32).collect();
    measure_pass::<P>(bencher, || ops::cross_entropy(&logits, &labels, 0.0));
}

/// Flat tensors as long as the network; all of it is decayed.
mod update {
    use super::*;

    #[divan::bench]
    fn sgd_nesterov(bencher: Bencher<'_, '_>) {
        let n = size(N_PARAMETERS);
        let decayed = 0..n;
        let (parameter, momentum, gradient) = (variable(&[n]), variable(&[n]), constant(&[n]));
        let step = SgdNesterov { lr: 1e-3, momentum: 0.9, weight_decay: 1e-4, gradient_scale: 1.0 };
        measure(bencher, || ops::sgd_nesterov(&parameter, &momentum, &gradient, step, slice::from_ref(&decayed)));
    }

    #[divan::bench]
    fn adamw(bencher: Bencher<'_, '_>) {
        let n = size(N_PARAMETERS);
        let decayed = 0..n;
        let (parameter, first, second) = (variable(&[n]), variable(&[n]), variable(&[n]));
        let gradient = constant(&[n]);
        // The second moment is a mean of squares.
        second.set(&second.sqr().unwrap()).unwrap();
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let step = AdamW { lr: 1e-3, beta1, beta2, epsilon, weight_decay: 1e-2, gradient_scale: 1.0, step: 100 };
        measure(bencher, || ops::adamw(&parameter, (&first, &second), &gradient, step, slice::from_ref(&decayed)));
    }

    #[divan::bench]
    fn accumulate(bencher: Bencher<'_, '_>) {
        let n = size(N_PARAMETERS);
        let (sum, gradient) = (variable(&[n]), constant(&[n]));
        measure(bencher, || ops::accumulate(&sum, &gradient));
    }

    #[divan::bench]
    fn exponential_average(bencher: Bencher<'_, '_>) {
        let n = size(N_PARAMETERS);
        let (average, parameter) = (variable(&[n]), constant(&[n]));
        measure(bencher, || ops::exponential_average(&average, &parameter, 0.999));
    }

    #[divan::bench]
    fn global_norm(bencher: Bencher<'_, '_>) {
        let gradients = [constant(&[size(N_PARAMETERS)])];
        measure(bencher, || ops::global_norm(&gradients).map(black_box_drop));
    }
}
