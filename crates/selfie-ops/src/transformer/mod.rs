//! A transformer encoder layer as one operation.

mod projections;

use crate::composed;
use crate::kernels::activation::{Dropout, gelu, gelu_backward};
use crate::kernels::attention::{self, Heads};
use crate::kernels::layer_norm;
use crate::kernels::linear::{self, Widths};
use crate::kernels::numbers::{Bf16, Exact, Numbers};
use crate::kernels::pieces::update;
use crate::layout::{ParameterKind, UnitLayout};
use crate::unit::{Argument, Context, Forward, Gradients, Unit, apply, runs_composed};
use crate::{Precision, Real};
use candle_core::{Result, Tensor, bail};
use projections::{add_to_asking, asking};
use selfie_random::DropoutKey;
use std::ops::Range;

/// A transformer encoder layer: self-attention, then a feed-forward network with GELU, each with a residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransformerSpec {
    /// Width D of a token.
    pub width: usize,
    /// Attention heads; they divide `width`.
    pub heads: usize,
    /// Width of the feed-forward network.
    pub ffn: usize,
    /// Layer normalisation before each sub-layer (pre-LN) instead of after each residual (post-LN, as in BERT).
    pub norm_first: bool,
    /// Of the linear layers' products; attention itself is always in full.
    pub precision: Precision,
    /// Which tokens go on.
    pub output: TokenOutput,
}

/// Which tokens' outputs a layer computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenOutput {
    /// Every token's.
    #[default]
    All,
    /// The first one's alone, from all of them: what the last layer of a pooling needs.
    First,
}

/// Dropout on a layer's attention weights and on both sub-layer outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerDropout {
    /// The share dropped.
    pub p: f64,
    /// Seed of the run.
    pub seed: u64,
    /// What draw of the run this is: a micro-batch's number.
    pub step: u32,
    /// Index of the layer.
    pub layer: u32,
}

/// The three places of dropout in a layer.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Attention,
    AttentionOutput,
    FeedForwardOutput,
}

impl LayerDropout {
    pub(crate) fn at(&self, place: Place) -> Dropout {
        let layer = self.layer * 3 + place as u32;
        Dropout { p: self.p, key: DropoutKey { seed: self.seed, step: self.step, layer } }
    }
}

/// Where the parameters of a layer lie. The names are `torch.nn.TransformerEncoderLayer`'s.
pub(crate) struct LayerAt {
    pub(crate) layout: UnitLayout,
    pub(crate) in_projection: Range<usize>,
    pub(crate) out_projection: Range<usize>,
    pub(crate) linear1: Range<usize>,
    pub(crate) linear2: Range<usize>,
    pub(crate) norm1: Range<usize>,
    pub(crate) norm2: Range<usize>,
}

impl TransformerSpec {
    /// The layer's named parameters.
    #[must_use]
    pub fn layout(&self) -> UnitLayout {
        self.parts().layout
    }

    pub(crate) fn parts(&self) -> LayerAt {
        let (d, f) = (self.width, self.ffn);
        let mut layout = UnitLayout::default();
        let mut pair = |names: [&str; 2], kind, shape: &[usize]| {
            let first = layout.push(names[0], kind, shape);
            let second = layout.push(names[1], ParameterKind::Bias, &shape[..1]);
            first.start..second.end
        };
        let linear = ParameterKind::Linear;
        let in_projection = pair(["self_attn.in_proj_weight", "self_attn.in_proj_bias"], linear, &[3 * d, d]);
        let out_projection = pair(["self_attn.out_proj.weight", "self_attn.out_proj.bias"], linear, &[d, d]);
        let linear1 = pair(["linear1.weight", "linear1.bias"], linear, &[f, d]);
        let linear2 = pair(["linear2.weight", "linear2.bias"], linear, &[d, f]);
        let norm1 = pair(["norm1.weight", "norm1.bias"], ParameterKind::Gain, &[d]);
        let norm2 = pair(["norm2.weight", "norm2.bias"], ParameterKind::Gain, &[d]);
        LayerAt { layout, in_projection, out_projection, linear1, linear2, norm1, norm2 }
    }
}

/// A transformer encoder layer.
///
/// # Shapes
///
/// - `x`: `[B, S, D]`
/// - `parameters`: flat, as [`TransformerSpec::layout`] says
/// - returns `[B, S, D]`, or `[B, 1, D]` where the first token's output alone is wanted
///
/// # Errors
///
/// If the shapes do not fit the specification.
pub fn transformer_layer(
    x: &Tensor,
    parameters: &Tensor,
    spec: TransformerSpec,
    dropout: Option<LayerDropout>,
) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::transformer_layer(x, parameters, spec, dropout);
    }
    Ok(apply(Layer { spec, dropout }, x, Some(parameters))?.y)
}

pub(crate) struct Layer {
    pub(crate) spec: TransformerSpec,
    dropout: Option<LayerDropout>,
}

/// What the layer keeps: every tensor that a product or a norm read, by name.
pub(crate) struct Saved<T> {
    attention: SavedAttention<T>,
    /// The sum that norm1 reads (post-LN), or the residual stream after attention (pre-LN).
    after_attention: Vec<T>,
    feed_forward: SavedFeedForward<T>,
    /// The sum that norm2 reads; post-LN only.
    after_feed_forward: Vec<T>,
}

struct SavedAttention<T> {
    /// What the projections read, where it is not the layer's input.
    normed: Option<Vec<T>>,
    qkv: Vec<T>,
    probs: Vec<T>,
    pooled: Vec<T>,
}

struct SavedFeedForward<T> {
    input: Vec<T>,
    before_gelu: Vec<T>,
    after_gelu: Vec<T>,
}

/// Weight and bias of a linear layer (or gain and bias of a norm) that lie end to end.
fn pair<'a, T>(parameters: &'a [T], range: &Range<usize>, bias: usize) -> (&'a [T], &'a [T]) {
    let both = &parameters[range.clone()];
    both.split_at(both.len() - bias)
}

fn pair_mut<'a, T>(gradients: &'a mut [T], range: &Range<usize>, bias: usize) -> (&'a mut [T], &'a mut [T]) {
    let both = &mut gradients[range.clone()];
    let split = both.len() - bias;
    both.split_at_mut(split)
}

impl Layer {
    pub(crate) fn heads(&self, dims: &[usize]) -> Heads {
        let TransformerSpec { width, heads, .. } = self.spec;
        let queries = if self.spec.output == TokenOutput::First { 1 } else { dims[1] };
        Heads { tokens: dims[1], queries, heads, head_width: width / heads }
    }

    pub(crate) fn dropout(&self, place: Place) -> Option<Dropout> {
        self.dropout.filter(|dropout| dropout.p > 0.0).map(|dropout| dropout.at(place))
    }

    /// Drops from a sub-layer's output, by the places it would have if every token went on.
    fn drop_output<T: Real>(&self, place: Place, heads: Heads, values: &mut [T]) {
        let Some(dropout) = self.dropout(place) else { return };
        if !heads.asks_once() {
            return dropout.apply(values);
        }
        let d = heads.width();
        for (image, values) in values.chunks_exact_mut(d).enumerate() {
            dropout.apply_at((image * heads.tokens * d) as u64, values);
        }
    }

    fn norm<T: Real>(&self, x: &[T], parameters: &[T], range: &Range<usize>) -> Vec<T> {
        let (gain, bias) = pair(parameters, range, self.spec.width);
        layer_norm::forward(x, gain, bias)
    }

    fn norm_backward<T: Real>(
        &self,
        x: &[T],
        dy: &[T],
        (parameters, gradients): (&[T], &mut [T]),
        at: &Range<usize>,
    ) -> Vec<T> {
        let (gain, _) = pair(parameters, at, self.spec.width);
        let (d_gain, d_bias) = pair_mut(gradients, at, self.spec.width);
        layer_norm::backward(x, gain, dy, d_gain, d_bias)
    }

    /// The attention sub-layer with its dropout, without the residual.
    fn attend<M: Numbers>(
        &self,
        heads: Heads,
        x: &[M::Sum],
        parameters: &[M::Sum],
        at: &LayerAt,
    ) -> (Vec<M::Sum>, SavedAttention<M::Sum>) {
        let d = self.spec.width;
        let qkv = projections::forward::<M>(heads, x, pair(parameters, &at.in_projection, 3 * d));
        let (pooled, probs) = attention::forward(heads, &qkv, self.dropout(Place::Attention));
        let (weight, bias) = pair(parameters, &at.out_projection, d);
        let mut out = linear::forward::<M>(Widths { input: d, output: d }, &pooled, weight, bias);
        self.drop_output(Place::AttentionOutput, heads, &mut out);
        (out, SavedAttention { normed: None, qkv, probs, pooled })
    }

    fn attend_backward<M: Numbers>(
        &self,
        (heads, at): (Heads, &LayerAt),
        (x, saved): (&[M::Sum], &SavedAttention<M::Sum>),
        mut d_out: Vec<M::Sum>,
        (parameters, gradients): (&[M::Sum], &mut [M::Sum]),
    ) -> Vec<M::Sum> {
        let d = self.spec.width;
        self.drop_output(Place::AttentionOutput, heads, &mut d_out);
        let d_out = M::stored(&d_out);
        let widths = Widths { input: d, output: d };
        let (d_weight, d_bias) = pair_mut(gradients, &at.out_projection, d);
        linear::backward_parameters::<M>(widths, &saved.pooled, &d_out, d_weight, d_bias);
        let d_pooled = linear::backward_input::<M>(widths, &d_out, pair(parameters, &at.out_projection, d).0);
        let d_qkv = attention::backward(heads, &saved.qkv, &saved.probs, &d_pooled, self.dropout(Place::Attention));
        let gradients = pair_mut(gradients, &at.in_projection, 3 * d);
        projections::backward::<M>(heads, (x, &d_qkv), pair(parameters, &at.in_projection, 3 * d).0, gradients)
    }

    /// The feed-forward sub-layer with its dropout, without the residual.
    fn feed_forward<M: Numbers>(
        &self,
        heads: Heads,
        input: Vec<M::Sum>,
        parameters: &[M::Sum],
        at: &LayerAt,
    ) -> (Vec<M::Sum>, SavedFeedForward<M::Sum>) {
        let (d, f) = (self.spec.width, self.spec.ffn);
        let (weight, bias) = pair(parameters, &at.linear1, f);
        let before_gelu = linear::forward::<M>(Widths { input: d, output: f }, &input, weight, bias);
        let after_gelu = gelu(&before_gelu);
        let (weight, bias) = pair(parameters, &at.linear2, d);
        let mut out = linear::forward::<M>(Widths { input: f, output: d }, &after_gelu, weight, bias);
        self.drop_output(Place::FeedForwardOutput, heads, &mut out);
        (out, SavedFeedForward { input, before_gelu, after_gelu })
    }

    fn feed_forward_backward<M: Numbers>(
        &self,
        (heads, at): (Heads, &LayerAt),
        saved: &SavedFeedForward<M::Sum>,
        mut d_out: Vec<M::Sum>,
        (parameters, gradients): (&[M::Sum], &mut [M::Sum]),
    ) -> Vec<M::Sum> {
        let (d, f) = (self.spec.width, self.spec.ffn);
        self.drop_output(Place::FeedForwardOutput, heads, &mut d_out);
        let d_out = M::stored(&d_out);
        let widths = Widths { input: f, output: d };
        let (d_weight, d_bias) = pair_mut(gradients, &at.linear2, d);
        linear::backward_parameters::<M>(widths, &saved.after_gelu, &d_out, d_weight, d_bias);
        let d_after = linear::backward_input::<M>(widths, &d_out, pair(parameters, &at.linear2, d).0);
        let d_before = gelu_backward(&saved.before_gelu, &d_after);
        let d_before = M::stored(&d_before);
        let widths = Widths { input: d, output: f };
        let (d_weight, d_bias) = pair_mut(gradients, &at.linear1, f);
        linear::backward_parameters::<M>(widths, &saved.input, &d_before, d_weight, d_bias);
        linear::backward_input::<M>(widths, &d_before, pair(parameters, &at.linear1, f).0)
    }
}

fn add<T: Real>(into: &mut [T], from: &[T]) {
    update(into, from, |a, b| a + b);
}

impl Unit for Layer {
    const NAME: &'static str = "transformer_layer";
    type Saved<T: Real> = Saved<T>;

    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>> {
        let TransformerSpec { width, heads, ffn, precision, .. } = self.spec;
        let expected = self.spec.layout().n_parameters();
        precision.require_even(Self::NAME, &[width, ffn])?;
        match *x {
            [b, s, d] if d == width && b * s * d * heads > 0 && width % heads == 0 && n_parameters == expected => {
                Ok(vec![b, self.heads(x).queries, d])
            }
            _ => bail!(
                "transformer_layer: expected [B, S, {width}], heads that divide it and {expected} parameters, \
                 got {x:?}, {heads} heads and {n_parameters}"
            ),
        }
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, parameters: &[T]) -> Result<Forward<T, Saved<T>>> {
        Ok(match self.spec.precision {
            Precision::Full => self.forward_in::<Exact<T>>(x, parameters),
            Precision::Bf16 => self.forward_in::<Bf16<T>>(x, parameters),
        })
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Saved<T>>) -> Result<Gradients<T>> {
        Ok(match self.spec.precision {
            Precision::Full => self.backward_in::<Exact<T>>(context),
            Precision::Bf16 => self.backward_in::<Bf16<T>>(context),
        })
    }
}

impl Layer {
    fn forward_in<M: Numbers>(&self, x: Argument<'_, M::Sum>, parameters: &[M::Sum]) -> Forward<M::Sum, Saved<M::Sum>> {
        let (at, heads) = (self.spec.parts(), self.heads(x.dims));
        if self.spec.norm_first {
            let normed = self.norm(x.values, parameters, &at.norm1);
            let (mut stream, mut attention) = self.attend::<M>(heads, &normed, parameters, &at);
            attention.normed = Some(normed);
            add(&mut stream, &asking(heads, x.values));
            let normed = self.norm(&stream, parameters, &at.norm2);
            let (mut y, feed_forward) = self.feed_forward::<M>(heads, normed, parameters, &at);
            add(&mut y, &stream);
            let saved = Saved { attention, after_attention: stream, feed_forward, after_feed_forward: Vec::new() };
            return Forward::new(y, saved);
        }
        let (mut after_attention, attention) = self.attend::<M>(heads, x.values, parameters, &at);
        add(&mut after_attention, &asking(heads, x.values));
        let normed = self.norm(&after_attention, parameters, &at.norm1);
        let (mut after_feed_forward, feed_forward) = self.feed_forward::<M>(heads, normed, parameters, &at);
        add(&mut after_feed_forward, &feed_forward.input);
        let y = self.norm(&after_feed_forward, parameters, &at.norm2);
        Forward::new(y, Saved { attention, after_attention, feed_forward, after_feed_forward })
    }

    fn backward_in<M: Numbers>(&self, context: Context<'_, M::Sum, Saved<M::Sum>>) -> Gradients<M::Sum> {
        let (at, heads) = (self.spec.parts(), self.heads(context.x.dims));
        let (x, dy, parameters, saved) = (context.x.values, context.dy, context.parameters, context.saved);
        let mut gradients = vec![M::Sum::ZERO; parameters.len()];
        let dx = if self.spec.norm_first {
            let d_normed = self.feed_forward_backward::<M>(
                (heads, &at),
                &saved.feed_forward,
                dy.to_vec(),
                (parameters, &mut gradients),
            );
            let mut d_stream =
                self.norm_backward(&saved.after_attention, &d_normed, (parameters, &mut gradients), &at.norm2);
            add(&mut d_stream, dy);
            let input = saved.attention.normed.as_deref().unwrap_or(x);
            let read = (input, &saved.attention);
            let d_normed =
                self.attend_backward::<M>((heads, &at), read, d_stream.clone(), (parameters, &mut gradients));
            let mut dx = self.norm_backward(x, &d_normed, (parameters, &mut gradients), &at.norm1);
            add_to_asking::<M>(heads, &mut dx, &d_stream);
            dx
        } else {
            let d_sum2 = self.norm_backward(&saved.after_feed_forward, dy, (parameters, &mut gradients), &at.norm2);
            let mut d_normed = self.feed_forward_backward::<M>(
                (heads, &at),
                &saved.feed_forward,
                d_sum2.clone(),
                (parameters, &mut gradients),
            );
            add(&mut d_normed, &d_sum2);
            let d_sum1 = self.norm_backward(&saved.after_attention, &d_normed, (parameters, &mut gradients), &at.norm1);
            let read = (x, &saved.attention);
            let mut dx = self.attend_backward::<M>((heads, &at), read, d_sum1.clone(), (parameters, &mut gradients));
            add_to_asking::<M>(heads, &mut dx, &d_sum1);
            dx
        };
        Gradients { x: context.wants_dx.then_some(dx), parameters: gradients }
    }
}
