//! A transformer encoder layer on a device: the same passes as on the CPU. Tokens are kept in `SUM`; what a product multiplies
//! is rounded on the way into it.

use super::attention::Projections;
use super::numbers::Held;
use super::rows::Rows;
use super::{Argument, Array, Context, Cuda, CudaNumbers, CudaReal, CudaUnit, Forward, Gradients, View, ViewMut};
use crate::Precision;
use crate::kernels::attention::Heads;
use crate::kernels::linear::Widths;
use crate::kernels::numbers::{Bf16, Exact};
use crate::transformer::{Layer, LayerAt, Place};
use candle_core::{Result, bail};
use std::any::Any;
use std::ops::Range;

/// What the layer keeps.
struct Saved<M: CudaNumbers> {
    attention: SavedAttention<M>,
    /// The sum that norm1 reads (post-LN), or the residual stream after attention (pre-LN).
    after_attention: Array<M::Sum>,
    feed_forward: SavedFeedForward<M>,
    /// The sum that norm2 reads; post-LN only.
    after_feed_forward: Option<Array<M::Sum>>,
}

struct SavedAttention<M: CudaNumbers> {
    /// What the projections read, where it is not the layer's input.
    normed: Option<Array<M::Sum>>,
    projections: Projections<M::Sum>,
    probs: Array<M::Sum>,
    pooled: Array<M::Stored>,
}

struct SavedFeedForward<M: CudaNumbers> {
    input: Array<M::Sum>,
    before_gelu: Array<M::Sum>,
    after_gelu: Array<M::Stored>,
}

/// A layer's pass on a device.
struct Pass<'a, M: CudaNumbers> {
    cuda: &'a Cuda,
    layer: &'a Layer,
    at: LayerAt,
    sizes: Heads,
    batch: usize,
    parameters: View<'a, M::Sum>,
    /// The parameters as products multiply them.
    weights: View<'a, M::Stored>,
}

impl<M: CudaNumbers> Pass<'_, M> {
    fn weight(&self, range: &Range<usize>, bias: usize) -> View<'_, M::Stored> {
        self.weights.slice(range.start..range.end - bias)
    }

    fn bias(&self, range: &Range<usize>, bias: usize) -> View<'_, M::Sum> {
        self.parameters.slice(range.end - bias..range.end)
    }

    /// Between the rows of queries in a tensor of all tokens.
    fn asking_step(&self) -> usize {
        let d = self.sizes.width();
        if self.sizes.asks_once() { self.sizes.tokens * d } else { d }
    }

    /// The rows that go on: every token's, or the first one's of each image.
    fn rows(&self) -> Rows {
        let d = self.sizes.width();
        Rows { count: self.batch * self.sizes.queries, width: d, step: d, drop_step: self.asking_step() }
    }

    fn all_rows(&self, width: usize) -> Rows {
        Rows::of(self.batch * self.sizes.tokens, width)
    }

    /// The rows of `x` that ask, as products multiply them.
    fn asking(&self, x: View<'_, M::Sum>) -> Result<Array<M::Stored>> {
        self.cuda.to_stored::<M>(x, Rows { step: self.asking_step(), ..self.rows() }, None)
    }

    fn project(&self, x: View<'_, M::Sum>) -> Result<Projections<M::Sum>> {
        let (cuda, d, range) = (self.cuda, self.sizes.width(), &self.at.in_projection);
        let (weight, bias) = (self.weight(range, 3 * d), self.bias(range, 3 * d));
        let factor = M::factors(cuda, x)?;
        if !self.sizes.asks_once() {
            let mut qkv = cuda.linear::<M>(Widths { input: d, output: 3 * d }, factor.view(), weight)?;
            cuda.finish_rows::<M>(&mut qkv, (bias, self.all_rows(3 * d)), None, None)?;
            return Ok(Projections::Packed(qkv));
        }
        let asking = self.asking(x)?;
        let mut q = cuda.linear::<M>(Widths { input: d, output: d }, asking.view(), weight.slice(0..d * d))?;
        cuda.finish_rows::<M>(&mut q, (bias.slice(0..d), Rows::of(self.batch, d)), None, None)?;
        let weight = weight.slice(d * d..3 * d * d);
        let mut kv = cuda.linear::<M>(Widths { input: d, output: 2 * d }, factor.view(), weight)?;
        cuda.finish_rows::<M>(&mut kv, (bias.slice(d..3 * d), self.all_rows(2 * d)), None, None)?;
        Ok(Projections::Asking { q, kv })
    }

    /// Where the gradients of the rows `rows` of the projections' weight go, and of their biases.
    fn projection_gradients<'a>(
        &self,
        gradients: &'a mut Array<M::Sum>,
        rows: Range<usize>,
    ) -> [ViewMut<'a, M::Sum>; 2] {
        let (d, weight) = (self.sizes.width(), self.at.in_projection.start);
        let bias = weight + 3 * d * d;
        gradients
            .view_mut()
            .disjoint([weight + rows.start * d..weight + rows.end * d, bias + rows.start..bias + rows.end])
    }

    fn project_backward(
        &self,
        x: View<'_, M::Sum>,
        d_projections: Projections<M::Stored>,
        gradients: &mut Array<M::Sum>,
    ) -> Result<Array<M::Sum>> {
        let (cuda, d, range) = (self.cuda, self.sizes.width(), &self.at.in_projection);
        let weight = self.weight(range, 3 * d);
        let factor = M::factors(cuda, x)?;
        match d_projections {
            Projections::Packed(d_qkv) => {
                let widths = Widths { input: d, output: 3 * d };
                let into = self.projection_gradients(gradients, 0..3 * d);
                cuda.linear_backward_parameters::<M>(widths, factor.view(), d_qkv.view(), into)?;
                cuda.linear_backward_input::<M>(widths, d_qkv.view(), weight)
            }
            Projections::Asking { q: dq, kv: dkv } => {
                let widths = Widths { input: d, output: d };
                let into = self.projection_gradients(gradients, 0..d);
                cuda.linear_backward_parameters::<M>(widths, self.asking(x)?.view(), dq.view(), into)?;
                let d_asking = cuda.linear_backward_input::<M>(widths, dq.view(), weight.slice(0..d * d))?;
                let widths = Widths { input: d, output: 2 * d };
                let into = self.projection_gradients(gradients, d..3 * d);
                cuda.linear_backward_parameters::<M>(widths, factor.view(), dkv.view(), into)?;
                let weight = weight.slice(d * d..3 * d * d);
                let mut dx = cuda.linear_backward_input::<M>(widths, dkv.view(), weight)?;
                cuda.add_rows::<M>(&mut dx, self.asking_step(), (d_asking.view(), d))?;
                Ok(dx)
            }
        }
    }

    fn norm(&self, x: View<'_, M::Sum>, range: &Range<usize>) -> Result<Array<M::Sum>> {
        self.cuda.layer_norm(x, self.parameters.slice(range.clone()))
    }

    fn norm_backward(
        &self,
        x: View<'_, M::Sum>,
        dy: View<'_, M::Sum>,
        gradients: &mut Array<M::Sum>,
        range: &Range<usize>,
    ) -> Result<Array<M::Sum>> {
        let into = gradients.view_mut().slice(range.clone());
        self.cuda.layer_norm_backward(x, self.parameters.slice(range.clone()), dy, into)
    }

    /// The attention sub-layer of `x` with its dropout, on the rows of `residual` that ask.
    fn attend(&self, x: View<'_, M::Sum>, residual: View<'_, M::Sum>) -> Result<(Array<M::Sum>, SavedAttention<M>)> {
        let (cuda, d) = (self.cuda, self.sizes.width());
        let projections = self.project(x)?;
        let dropout = self.layer.dropout(Place::Attention);
        let (pooled, probs) = cuda.attention::<M>((self.sizes, self.batch), &projections.parts(d), dropout)?;
        let range = &self.at.out_projection;
        let mut out = cuda.linear::<M>(Widths { input: d, output: d }, pooled.view(), self.weight(range, d))?;
        let dropout = self.layer.dropout(Place::AttentionOutput);
        let residual = Some((residual, self.asking_step()));
        cuda.finish_rows::<M>(&mut out, (self.bias(range, d), self.rows()), residual, dropout)?;
        Ok((out, SavedAttention { normed: None, projections, probs, pooled }))
    }

    /// The gradient of what the sub-layer reads, without the residual.
    fn attend_backward(
        &self,
        x: View<'_, M::Sum>,
        saved: &SavedAttention<M>,
        d_out: View<'_, M::Sum>,
        gradients: &mut Array<M::Sum>,
    ) -> Result<Array<M::Sum>> {
        let (cuda, d) = (self.cuda, self.sizes.width());
        let d_out = cuda.to_stored::<M>(d_out, self.rows(), self.layer.dropout(Place::AttentionOutput))?;
        let (widths, range) = (Widths { input: d, output: d }, &self.at.out_projection);
        let into = gradients.view_mut().disjoint([range.start..range.end - d, range.end - d..range.end]);
        cuda.linear_backward_parameters::<M>(widths, saved.pooled.view(), d_out.view(), into)?;
        let d_pooled = cuda.linear_backward_input::<M>(widths, d_out.view(), self.weight(range, d))?;
        let parts = saved.projections.parts(d);
        let of = (&parts, saved.probs.view());
        let dropout = self.layer.dropout(Place::Attention);
        let d_projections = cuda.attention_backward::<M>((self.sizes, self.batch), of, d_pooled.view(), dropout)?;
        self.project_backward(x, d_projections, gradients)
    }

    /// The feed-forward sub-layer of `input` with its dropout, on `residual`, or on `input` itself.
    fn feed_forward(
        &self,
        input: Array<M::Sum>,
        residual: Option<View<'_, M::Sum>>,
    ) -> Result<(Array<M::Sum>, SavedFeedForward<M>)> {
        let (cuda, d, f) = (self.cuda, self.layer.spec.width, self.layer.spec.ffn);
        let (linear1, linear2) = (&self.at.linear1, &self.at.linear2);
        let factor: Held<'_, M::Stored> = M::factors(cuda, input.view())?;
        let mut before_gelu =
            cuda.linear::<M>(Widths { input: d, output: f }, factor.view(), self.weight(linear1, f))?;
        drop(factor);
        let after_gelu = cuda.bias_gelu::<M>(before_gelu.view_mut(), self.bias(linear1, f))?;
        let mut out = cuda.linear::<M>(Widths { input: f, output: d }, after_gelu.view(), self.weight(linear2, d))?;
        let residual = residual.unwrap_or(input.view());
        let dropout = self.layer.dropout(Place::FeedForwardOutput);
        cuda.finish_rows::<M>(&mut out, (self.bias(linear2, d), self.rows()), Some((residual, d)), dropout)?;
        Ok((out, SavedFeedForward { input, before_gelu, after_gelu }))
    }

    /// The gradient of what the sub-layer reads, without the residual.
    fn feed_forward_backward(
        &self,
        saved: &SavedFeedForward<M>,
        d_out: View<'_, M::Sum>,
        gradients: &mut Array<M::Sum>,
    ) -> Result<Array<M::Sum>> {
        let (cuda, d, f) = (self.cuda, self.layer.spec.width, self.layer.spec.ffn);
        let (linear1, linear2) = (&self.at.linear1, &self.at.linear2);
        let d_out = cuda.to_stored::<M>(d_out, self.rows(), self.layer.dropout(Place::FeedForwardOutput))?;
        let widths = Widths { input: f, output: d };
        let into = gradients.view_mut().disjoint([linear2.start..linear2.end - d, linear2.end - d..linear2.end]);
        cuda.linear_backward_parameters::<M>(widths, saved.after_gelu.view(), d_out.view(), into)?;
        let d_after = cuda.linear_backward_input::<M>(widths, d_out.view(), self.weight(linear2, d))?;
        let d_before = cuda.gelu_backward::<M>(saved.before_gelu.view(), d_after.view())?;
        let widths = Widths { input: d, output: f };
        let factor = M::factors(cuda, saved.input.view())?;
        let into = gradients.view_mut().disjoint([linear1.start..linear1.end - f, linear1.end - f..linear1.end]);
        cuda.linear_backward_parameters::<M>(widths, factor.view(), d_before.view(), into)?;
        cuda.linear_backward_input::<M>(widths, d_before.view(), self.weight(linear1, f))
    }

    fn add(&self, y: &mut Array<M::Sum>, x: View<'_, M::Sum>) -> Result<()> {
        let d = self.sizes.width();
        self.cuda.add_rows::<M>(y, d, (x, d))
    }

    fn forward(&self, x: View<'_, M::Sum>) -> Result<(Array<M::Sum>, Saved<M>)> {
        if self.layer.spec.norm_first {
            let normed = self.norm(x, &self.at.norm1)?;
            let (stream, mut attention) = self.attend(normed.view(), x)?;
            attention.normed = Some(normed);
            let normed = self.norm(stream.view(), &self.at.norm2)?;
            let (y, feed_forward) = self.feed_forward(normed, Some(stream.view()))?;
            return Ok((y, Saved { attention, after_attention: stream, feed_forward, after_feed_forward: None }));
        }
        let (after_attention, attention) = self.attend(x, x)?;
        let normed = self.norm(after_attention.view(), &self.at.norm1)?;
        let (after_feed_forward, feed_forward) = self.feed_forward(normed, None)?;
        let y = self.norm(after_feed_forward.view(), &self.at.norm2)?;
        Ok((y, Saved { attention, after_attention, feed_forward, after_feed_forward: Some(after_feed_forward) }))
    }

    fn backward(&self, x: View<'_, M::Sum>, saved: &Saved<M>, dy: View<'_, M::Sum>) -> Result<Gradients<M::Sum>> {
        let mut gradients = self.cuda.alloc(self.parameters.len())?;
        let (norm1, norm2) = (&self.at.norm1, &self.at.norm2);
        let after_attention = saved.after_attention.view();
        let (mut dx, d_stream) = match &saved.after_feed_forward {
            None => {
                let d_normed = self.feed_forward_backward(&saved.feed_forward, dy, &mut gradients)?;
                let mut d_stream = self.norm_backward(after_attention, d_normed.view(), &mut gradients, norm2)?;
                self.add(&mut d_stream, dy)?;
                let input = saved.attention.normed.as_ref().map_or(x, Array::view);
                let d_normed = self.attend_backward(input, &saved.attention, d_stream.view(), &mut gradients)?;
                (self.norm_backward(x, d_normed.view(), &mut gradients, norm1)?, d_stream)
            }
            Some(after_feed_forward) => {
                let d_sum2 = self.norm_backward(after_feed_forward.view(), dy, &mut gradients, norm2)?;
                let mut d_normed = self.feed_forward_backward(&saved.feed_forward, d_sum2.view(), &mut gradients)?;
                self.add(&mut d_normed, d_sum2.view())?;
                let d_sum1 = self.norm_backward(after_attention, d_normed.view(), &mut gradients, norm1)?;
                (self.attend_backward(x, &saved.attention, d_sum1.view(), &mut gradients)?, d_sum1)
            }
        };
        self.cuda.add_rows::<M>(&mut dx, self.asking_step(), (d_stream.view(), self.sizes.width()))?;
        Ok(Gradients { x: Some(dx), parameters: Some(gradients) })
    }
}

impl Layer {
    /// Runs `f` on a pass over `x`.
    fn pass<M: CudaNumbers, R>(
        &self,
        cuda: &Cuda,
        dims: &[usize],
        parameters: View<'_, M::Sum>,
        f: impl FnOnce(&Pass<'_, M>) -> Result<R>,
    ) -> Result<R> {
        let weights = M::factors(cuda, parameters)?;
        let (sizes, at) = (self.heads(dims), self.spec.parts());
        f(&Pass { cuda, layer: self, at, sizes, batch: dims[0], parameters, weights: weights.view() })
    }

    fn forward_on<M: CudaNumbers>(
        &self,
        cuda: &Cuda,
        x: Argument<'_, M::Sum>,
        parameters: View<'_, M::Sum>,
    ) -> Result<Forward<M::Sum, Box<dyn Any + Send>>> {
        let (y, saved) = self.pass::<M, _>(cuda, x.dims, parameters, |pass| pass.forward(x.values))?;
        Ok(Forward::new(y, Box::new(saved)))
    }

    fn backward_on<M: CudaNumbers>(
        &self,
        cuda: &Cuda,
        context: Context<'_, M::Sum, Box<dyn Any + Send>>,
    ) -> Result<Gradients<M::Sum>> {
        let Ok(saved) = context.saved.downcast::<Saved<M>>() else {
            bail!("transformer_layer: kept for other numbers")
        };
        let (x, wants_dx) = (context.x, context.wants_dx);
        let gradients =
            self.pass::<M, _>(cuda, x.dims, context.parameters, |pass| pass.backward(x.values, &saved, context.dy))?;
        Ok(Gradients { x: gradients.x.filter(|_| wants_dx), ..gradients })
    }
}

impl CudaUnit for Layer {
    type CudaSaved<T: CudaReal> = Box<dyn Any + Send>;

    fn forward<T: CudaReal>(
        &self,
        cuda: &Cuda,
        x: Argument<'_, T>,
        parameters: View<'_, T>,
    ) -> Result<Forward<T, Self::CudaSaved<T>>> {
        match self.spec.precision {
            Precision::Full => self.forward_on::<Exact<T>>(cuda, x, parameters),
            Precision::Bf16 => self.forward_on::<Bf16<T>>(cuda, x, parameters),
        }
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Self::CudaSaved<T>>) -> Result<Gradients<T>> {
        match self.spec.precision {
            Precision::Full => self.backward_on::<Exact<T>>(cuda, context),
            Precision::Bf16 => self.backward_on::<Bf16<T>>(cuda, context),
        }
    }
}
