//! A ResNet stage of bottleneck blocks as one operation.
//!
//! What it keeps for backward is what each convolution wrote, unnormalised; activations are made again from it.

mod op;
mod post;
mod pre;

use crate::composed;
use crate::kernels::conv::{Conv, ConvSpec, UnitGradients};
use crate::kernels::norm::{Moments, Norm};
use crate::kernels::numbers::Numbers;
use crate::layout::{NormAt, UnitLayout};
use crate::map::{Inner, with_numbers};
use crate::unit::Normalised;
use crate::{NormMode, Precision, Real, StageMap};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// The order of normalisation, ReLU and convolution in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockForm {
    /// ResNet v2: normalise and rectify, then convolve. Parameters have timm's `resnetv2_50` names.
    PreActivation,
    /// ResNet v1.5: convolve, then normalise and rectify. Parameters have torchvision's `resnet50` names.
    PostActivation,
}

/// A stage: `depth` bottleneck blocks, the first of which may reduce the side by `stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// Order within a block.
    pub form: BlockForm,
    /// Channels of the stage's input.
    pub in_channels: usize,
    /// Channels inside a block; a block's output has four times as many.
    pub mid_channels: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Stride of the first block's 3×3 convolution.
    pub stride: usize,
    /// Of the products and of the maps between them.
    pub precision: Precision,
}

impl StageSpec {
    /// Channels of the stage's output.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        4 * self.mid_channels
    }

    /// The stage's named parameters and norms.
    #[must_use]
    pub fn layout(&self) -> UnitLayout {
        self.blocks().0
    }

    /// The layout, and where each block's parts lie in it.
    pub(crate) fn blocks(&self) -> (UnitLayout, Vec<BlockAt>) {
        let mut layout = UnitLayout::default();
        let blocks = (0..self.depth).map(|i| self.push_block(&mut layout, i)).collect();
        (layout, blocks)
    }

    fn push_block(&self, layout: &mut UnitLayout, block_idx: usize) -> BlockAt {
        let first = block_idx == 0;
        let (input, mid, output) =
            (if first { self.in_channels } else { self.out_channels() }, self.mid_channels, self.out_channels());
        let stride = if first { self.stride } else { 1 };
        let specs = [
            ConvSpec::pointwise(input, mid, 1),
            ConvSpec::three(mid, mid, stride),
            ConvSpec::pointwise(mid, output, 1),
        ];
        let pre = self.form == BlockForm::PreActivation;
        let at = if pre { format!("blocks.{block_idx}") } else { block_idx.to_string() };
        let norm_name = if pre { "norm" } else { "bn" };
        let downsamples = first && (stride != 1 || input != output);
        let downsample = downsamples.then(|| {
            let spec = ConvSpec::pointwise(input, output, stride);
            let name = if pre { "downsample.conv" } else { "downsample.0" };
            let weight = layout.push_conv(&format!("{at}.{name}"), spec);
            (ConvAt { spec, weight }, (!pre).then(|| layout.push_norm(&format!("{at}.downsample.1"), output)))
        });
        let norm_channels = if pre { [input, mid, mid] } else { [mid, mid, output] };
        let mut push = |i: usize| {
            let conv = |layout: &mut UnitLayout| layout.push_conv(&format!("{at}.conv{}", i + 1), specs[i]);
            let weight_first = (!pre).then(|| conv(layout));
            let norm = layout.push_norm(&format!("{at}.{norm_name}{}", i + 1), norm_channels[i]);
            let weight = weight_first.unwrap_or_else(|| conv(layout));
            (norm, ConvAt { spec: specs[i], weight })
        };
        let ((norm1, conv1), (norm2, conv2), (norm3, conv3)) = (push(0), push(1), push(2));
        BlockAt { norms: [norm1, norm2, norm3], convs: [conv1, conv2, conv3], downsample }
    }

    /// The sides after the stage.
    fn output_sides(&self, height: usize, width: usize) -> (usize, usize) {
        (height.div_ceil(self.stride), width.div_ceil(self.stride))
    }
}

/// A ResNet stage.
///
/// # Shapes
///
/// - `x`: `[B, H, W, in_channels]`, of the specification's precision
/// - `parameters`: flat, as [`StageSpec::layout`] says
/// - returns `[B, ⌈H/stride⌉, ⌈W/stride⌉, 4 · mid_channels]`
///
/// # Errors
///
/// If the shapes or the precision do not fit the specification.
pub fn stage(x: &StageMap, parameters: &Tensor, spec: StageSpec, mode: NormMode<'_>) -> Result<Normalised<StageMap>> {
    match &x.0 {
        Inner::Tensor(x) => {
            let Normalised { y, statistics } = composed::stage(x, parameters, spec, mode)?;
            Ok(Normalised { y: StageMap(Inner::Tensor(y)), statistics })
        }
        #[cfg(feature = "cuda")]
        Inner::Beside(x) if x.precision() == spec.precision && x.values.device().is_cuda() => {
            let stage = Stage { spec, running: None, dims: x.values.dims4()?.into() };
            with_numbers!(x.token.dtype(), spec.precision, M => crate::cuda::run_stage::<M>(stage, x, parameters, mode.running()))
        }
        Inner::Beside(x) if x.precision() == spec.precision => {
            let stage = Stage { spec, running: mode.running_values()?, dims: x.values.dims4()?.into() };
            with_numbers!(x.token.dtype(), spec.precision, M => op::run::<M>(stage, x, parameters))
        }
        Inner::Beside(x) => bail!("stage: expected a map of precision {:?}, got {:?}", spec.precision, x.precision()),
    }
}

/// Where a convolution's weight lies.
#[derive(Clone, Debug)]
pub(crate) struct ConvAt {
    pub(crate) spec: ConvSpec,
    pub(crate) weight: Range<usize>,
}

/// Where a block's parts lie.
#[derive(Clone, Debug)]
pub(crate) struct BlockAt {
    pub(crate) norms: [NormAt; 3],
    pub(crate) convs: [ConvAt; 3],
    pub(crate) downsample: Option<(ConvAt, Option<NormAt>)>,
}

/// A stage on a map of `dims`.
pub(crate) struct Stage {
    pub(crate) spec: StageSpec,
    running: Option<Vec<f64>>,
    pub(crate) dims: [usize; 4],
}

/// What a block keeps: its input (of every block but the first, whose input is the stage's), raw convolution outputs, norms.
struct SavedBlock<M: Numbers> {
    x: Option<Vec<M::Stored>>,
    raw: Vec<Vec<M::Stored>>,
    norms: Vec<Norm<M::Sum>>,
}

/// Reads a block's parts from the flat parameters.
struct BlockReader<'a, T> {
    at: &'a BlockAt,
    parameters: &'a [T],
    running: Option<&'a [f64]>,
    height: usize,
    width: usize,
}

/// The convolution (and, in v1.5, the norm) of a block's shortcut.
struct Downsample<'a, T> {
    at: &'a ConvAt,
    norm_at: Option<&'a NormAt>,
    conv: Conv,
    weight: &'a [T],
}

impl<'a, T: Real> BlockReader<'a, T> {
    fn weight(&self, conv: &ConvAt) -> &'a [T] {
        &self.parameters[conv.weight.clone()]
    }

    /// The norm at `at`, by running statistics where there are some, else by `moments`.
    fn norm(&self, at: &NormAt, moments: impl FnOnce() -> Moments<T>) -> Norm<T> {
        let moments = match self.running {
            Some(running) => {
                let statistics: Vec<T> = running[at.statistics.clone()].iter().map(|&v| T::from_f64(v)).collect();
                Moments::running(&statistics)
            }
            None => moments(),
        };
        Norm::new(moments, &self.parameters[at.gain.clone()], &self.parameters[at.bias.clone()])
    }

    /// The block's convolutions; every side here fits, since 1×1 and padded 3×3 kernels fit any map.
    fn convs(&self) -> Result<[Conv; 3]> {
        let make = |conv: &ConvAt, (height, width): (usize, usize)| match Conv::new(conv.spec, height, width) {
            Some(conv) => Ok(conv),
            None => bail!("stage: a kernel of {} does not fit {height}x{width}", conv.spec.kernel),
        };
        let [one, two, three] = &self.at.convs;
        let conv2 = make(two, (self.height, self.width))?;
        let out = (conv2.out_height, conv2.out_width);
        Ok([make(one, (self.height, self.width))?, conv2, make(three, out)?])
    }

    fn downsample(&self) -> Option<Downsample<'a, T>> {
        let (at, norm_at) = self.at.downsample.as_ref()?;
        let conv = Conv::new(at.spec, self.height, self.width)?;
        Some(Downsample { at, norm_at: norm_at.as_ref(), conv, weight: self.weight(at) })
    }
}

/// Where the gradients of a unit's three parameters go.
fn unit_gradients<'a, T>(gradients: &'a mut [T], conv: &ConvAt, norm: &NormAt) -> Result<UnitGradients<'a, T>> {
    match gradients.get_disjoint_mut([conv.weight.clone(), norm.gain.clone(), norm.bias.clone()]) {
        Ok([weight, gain, bias]) => Ok(UnitGradients { weight, gain, bias }),
        Err(error) => bail!("stage: overlapping parameters: {error}"),
    }
}

/// What a stage's forward made.
struct Ran<M: Numbers> {
    y: Vec<M::Stored>,
    /// Of y, where they were taken.
    moments: Option<Moments<M::Sum>>,
    saved: Vec<SavedBlock<M>>,
    /// Batch statistics, `[mean…, unbiased variance…]` of every norm in layout order.
    statistics: Vec<M::Sum>,
}

/// What a stage's backward makes.
struct Gradients<M: Numbers> {
    x: Vec<M::Stored>,
    parameters: Vec<M::Sum>,
}

impl Stage {
    fn reader<'a, T: Real>(&'a self, at: &'a BlockAt, i: usize, parameters: &'a [T]) -> BlockReader<'a, T> {
        let (height, width) = self.sides_before(i);
        BlockReader { at, parameters, running: self.running.as_deref(), height, width }
    }

    /// The sides of what block `i` reads.
    pub(crate) fn sides_before(&self, i: usize) -> (usize, usize) {
        let [_, height, width, _] = self.dims;
        if i == 0 { (height, width) } else { self.spec.output_sides(height, width) }
    }

    /// The shape of the result, or why the map or the parameters do not fit.
    pub(crate) fn output_dims(&self, n_parameters: usize, n_running: Option<usize>) -> Result<[usize; 4]> {
        let (spec, [b, h, w, c]) = (&self.spec, self.dims);
        let n_statistics = spec.layout().n_statistics();
        if let Some(n) = n_running.filter(|&n| n != n_statistics) {
            bail!("stage: expected {n_statistics} running statistics, got {n}")
        }
        if spec.depth == 0 {
            bail!("stage: expected at least one block, got none")
        }
        spec.precision.require_even("stage", &[spec.in_channels, spec.mid_channels])?;
        let expected = spec.layout().n_parameters();
        if c != spec.in_channels || n_parameters != expected || b * h * w == 0 {
            bail!(
                "stage: expected [B, H, W, {}] and {expected} parameters, got {:?} and {n_parameters}",
                spec.in_channels,
                self.dims
            )
        }
        let (height, width) = spec.output_sides(h, w);
        Ok([b, height, width, spec.out_channels()])
    }

    /// `x` has the moments `moments` where they were taken; `keeps` says whether a backward may follow.
    fn forward<M: Numbers>(
        &self,
        (x, mut moments): (&[M::Stored], Option<Moments<M::Sum>>),
        parameters: &[M::Sum],
        keeps: bool,
    ) -> Result<Ran<M>> {
        let (_, blocks) = self.spec.blocks();
        let mut saved: Vec<SavedBlock<M>> = Vec::with_capacity(blocks.len());
        let mut y: Option<Vec<M::Stored>> = None;
        for (i, at) in blocks.iter().enumerate() {
            let reader = self.reader(at, i, parameters);
            let input = y.as_deref().unwrap_or(x);
            let (out, mut block, next) = match self.spec.form {
                BlockForm::PreActivation => pre::forward::<M>(&reader, input, moments.take())?,
                BlockForm::PostActivation => post::forward::<M>(&reader, input)?,
            };
            moments = next;
            block.x = y.replace(out);
            if !keeps {
                (block.x, block.raw) = (None, Vec::new());
            }
            saved.push(block);
        }
        let mut statistics = Vec::new();
        if self.running.is_none() {
            for (block, at) in saved.iter().zip(&blocks) {
                push_statistics(block, at, &mut statistics);
            }
        }
        Ok(Ran { y: y.unwrap_or_default(), moments, saved, statistics })
    }

    /// The gradients of x and of the parameters.
    fn backward<M: Numbers>(
        &self,
        (x, y): (&[M::Stored], &[M::Stored]),
        saved: Vec<SavedBlock<M>>,
        parameters: &[M::Sum],
        dy: &[M::Stored],
    ) -> Result<Gradients<M>> {
        let (_, blocks) = self.spec.blocks();
        let mut gradients = vec![M::Sum::ZERO; parameters.len()];
        let mut dx: Option<Vec<M::Stored>> = None;
        let mut out: Option<Vec<M::Stored>> = None;
        for (i, (at, mut block)) in blocks.iter().zip(saved).enumerate().rev() {
            let reader = self.reader(at, i, parameters);
            let block_x = block.x.take();
            let input = block_x.as_deref().unwrap_or(x);
            let gradient = dx.as_deref().unwrap_or(dy);
            let through = match self.spec.form {
                BlockForm::PreActivation => pre::backward(&reader, (input, block), gradient, &mut gradients)?,
                BlockForm::PostActivation => {
                    // The block's output is the mask of its last ReLU.
                    post::backward(&reader, (input, block, out.as_deref().unwrap_or(y)), gradient, &mut gradients)?
                }
            };
            (dx, out) = (Some(through), block_x);
        }
        Ok(Gradients { x: dx.unwrap_or_default(), parameters: gradients })
    }
}

/// A block's statistics in layout order: v1.5's downsampling norm comes first, as its parameters do.
fn push_statistics<M: Numbers>(block: &SavedBlock<M>, at: &BlockAt, out: &mut Vec<M::Sum>) {
    if matches!(at.downsample, Some((_, Some(_)))) {
        block.norms[3].moments.push_statistics(out);
    }
    for norm in &block.norms[..3] {
        norm.moments.push_statistics(out);
    }
}
