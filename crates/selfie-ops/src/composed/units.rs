//! The large units, from the small operations.

use super::{attention, batch_norm, conv2d, dropout, gelu, layer_norm, linear, relu};
use crate::layout::NormAt;
use crate::stage::{BlockAt, ConvAt};
use crate::transformer::Place;
use crate::unit::Normalised;
use crate::{BlockForm, LayerDropout, NormMode, StageSpec, TokenOutput, TransformerSpec};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

pub(crate) fn stage(x: &Tensor, parameters: &Tensor, spec: StageSpec, mode: NormMode<'_>) -> Result<Normalised> {
    let (layout, blocks) = spec.blocks();
    if x.dims4()?.3 != spec.in_channels || parameters.elem_count() != layout.n_parameters() {
        bail!(
            "stage: expected [B, H, W, {}] and {} parameters, got {:?} and {}",
            spec.in_channels,
            layout.n_parameters(),
            x.dims(),
            parameters.elem_count()
        )
    }
    let mut statistics = Vec::new();
    let mut y = x.clone();
    for at in &blocks {
        let mut block = Block { at, parameters, mode, statistics: Vec::new() };
        y = match spec.form {
            BlockForm::PreActivation => block.pre(&y)?,
            BlockForm::PostActivation => block.post(&y)?,
        };
        block.statistics.sort_by_key(|(start, _)| *start);
        statistics.extend(block.statistics.into_iter().map(|(_, taken)| taken));
    }
    let statistics = if statistics.is_empty() { None } else { Some(Tensor::cat(&statistics, 0)?) };
    Ok(Normalised { y, statistics })
}

struct Block<'a> {
    at: &'a BlockAt,
    parameters: &'a Tensor,
    mode: NormMode<'a>,
    /// Batch statistics by where they lie.
    statistics: Vec<(usize, Tensor)>,
}

impl Block<'_> {
    fn conv(&self, x: &Tensor, conv: &ConvAt) -> Result<Tensor> {
        conv2d(x, &slice(self.parameters, &conv.weight)?, conv.spec)
    }

    fn norm(&mut self, x: &Tensor, at: &NormAt, with_relu: bool) -> Result<Tensor> {
        let both = self.parameters.narrow(0, at.gain.start, at.gain.len() + at.bias.len())?;
        let running = match self.mode {
            NormMode::Batch => None,
            NormMode::Running(all) => Some(slice(all, &at.statistics)?),
        };
        let mode = running.as_ref().map_or(NormMode::Batch, NormMode::Running);
        let out = batch_norm(x, &both, mode, with_relu)?;
        self.statistics.extend(out.statistics.map(|taken| (at.statistics.start, taken)));
        Ok(out.y)
    }

    fn pre(&mut self, x: &Tensor) -> Result<Tensor> {
        let BlockAt { norms, convs, downsample } = self.at;
        let a = self.norm(x, &norms[0], true)?;
        let shortcut = match downsample {
            Some((conv, _)) => self.conv(&a, conv)?,
            None => x.clone(),
        };
        let a = self.norm(&self.conv(&a, &convs[0])?, &norms[1], true)?;
        let a = self.norm(&self.conv(&a, &convs[1])?, &norms[2], true)?;
        self.conv(&a, &convs[2])? + shortcut
    }

    fn post(&mut self, x: &Tensor) -> Result<Tensor> {
        let BlockAt { norms, convs, downsample } = self.at;
        let a = self.norm(&self.conv(x, &convs[0])?, &norms[0], true)?;
        let a = self.norm(&self.conv(&a, &convs[1])?, &norms[1], true)?;
        let y = self.norm(&self.conv(&a, &convs[2])?, &norms[2], false)?;
        let shortcut = match downsample {
            Some((conv, Some(norm))) => self.norm(&self.conv(x, conv)?, norm, false)?,
            _ => x.clone(),
        };
        relu(&(y + shortcut)?)
    }
}

pub(crate) fn transformer_layer(
    x: &Tensor,
    parameters: &Tensor,
    spec: TransformerSpec,
    dropped: Option<LayerDropout>,
) -> Result<Tensor> {
    let at = spec.parts();
    let drop = |x: Tensor, place| match dropped.filter(|dropped| dropped.p > 0.0) {
        Some(dropped) => dropout(&x, dropped.at(place)),
        None => Ok(x),
    };
    let attend = |x: &Tensor| {
        let qkv = linear(x, &slice(parameters, &at.in_projection)?, 3 * spec.width)?;
        let probs_dropout = dropped.filter(|dropped| dropped.p > 0.0).map(|dropped| dropped.at(Place::Attention));
        let pooled = attention(&qkv, spec.heads, probs_dropout)?;
        drop(linear(&pooled, &slice(parameters, &at.out_projection)?, spec.width)?, Place::AttentionOutput)
    };
    let feed_forward = |x: &Tensor| {
        let hidden = gelu(&linear(x, &slice(parameters, &at.linear1)?, spec.ffn)?)?;
        drop(linear(&hidden, &slice(parameters, &at.linear2)?, spec.width)?, Place::FeedForwardOutput)
    };
    let (norm1, norm2) = (slice(parameters, &at.norm1)?, slice(parameters, &at.norm2)?);
    let y = if spec.norm_first {
        let x = (x + attend(&layer_norm(x, &norm1)?)?)?;
        (&x + feed_forward(&layer_norm(&x, &norm2)?)?)?
    } else {
        let x = layer_norm(&(x + attend(x)?)?, &norm1)?;
        layer_norm(&(&x + feed_forward(&x)?)?, &norm2)?
    };
    match spec.output {
        TokenOutput::All => Ok(y),
        TokenOutput::First => y.narrow(1, 0, 1),
    }
}

fn slice(parameters: &Tensor, range: &Range<usize>) -> Result<Tensor> {
    parameters.narrow(0, range.start, range.len())
}
