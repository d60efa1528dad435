//! Queries, keys and values: of every token, or the query of the first alone.

use crate::kernels::attention::Heads;
use crate::kernels::linear::{self, Widths};
use crate::kernels::numbers::Numbers;
use std::borrow::Cow;

/// The first of each image's `tokens` rows; all of them where every token asks.
pub(super) fn asking<T: Copy>(heads: Heads, x: &[T]) -> Cow<'_, [T]> {
    if !heads.asks_once() {
        return Cow::Borrowed(x);
    }
    let d = heads.width();
    Cow::Owned(x.chunks_exact(heads.tokens * d).flat_map(|image| &image[..d]).copied().collect())
}

/// Adds a gradient of [`asking`]'s rows to that of all rows.
pub(super) fn add_to_asking<M: Numbers>(heads: Heads, dx: &mut [M::Sum], d_asking: &[M::Sum]) {
    if !heads.asks_once() {
        return super::add(dx, d_asking);
    }
    let d = heads.width();
    for (dx, d_asking) in dx.chunks_exact_mut(heads.tokens * d).zip(d_asking.chunks_exact(d)) {
        for (dx, &d_asking) in dx.iter_mut().zip(d_asking) {
            *dx += d_asking;
        }
    }
}

/// The projections of `x [B, S, D]`, as the attention kernels take them; `weight [3·D, D]`, `bias [3·D]`.
pub(super) fn forward<M: Numbers>(heads: Heads, x: &[M::Sum], (weight, bias): (&[M::Sum], &[M::Sum])) -> Vec<M::Sum> {
    let d = heads.width();
    if !heads.asks_once() {
        return linear::forward::<M>(Widths { input: d, output: 3 * d }, x, weight, bias);
    }
    let q = linear::forward::<M>(Widths { input: d, output: d }, &asking(heads, x), &weight[..d * d], &bias[..d]);
    let kv = linear::forward::<M>(Widths { input: d, output: 2 * d }, x, &weight[d * d..], &bias[d..]);
    let images = q.chunks_exact(d).zip(kv.chunks_exact(heads.tokens * 2 * d));
    images.flat_map(|(q, kv)| q.iter().chain(kv)).copied().collect()
}

/// Writes the gradients of weight and bias and returns that of `x`.
pub(super) fn backward<M: Numbers>(
    heads: Heads,
    (x, d_projections): (&[M::Sum], &[M::Sum]),
    weight: &[M::Sum],
    (d_weight, d_bias): (&mut [M::Sum], &mut [M::Sum]),
) -> Vec<M::Sum> {
    let d = heads.width();
    let d_projections = M::stored(d_projections);
    if !heads.asks_once() {
        let widths = Widths { input: d, output: 3 * d };
        linear::backward_parameters::<M>(widths, x, &d_projections, d_weight, d_bias);
        return linear::backward_input::<M>(widths, &d_projections, weight);
    }
    let images = || d_projections.chunks_exact(heads.image_len());
    let dq: Vec<M::Stored> = images().flat_map(|image| &image[..d]).copied().collect();
    let dkv: Vec<M::Stored> = images().flat_map(|image| &image[d..]).copied().collect();
    let (d_weight_q, d_weight_kv) = d_weight.split_at_mut(d * d);
    let (d_bias_q, d_bias_kv) = d_bias.split_at_mut(d);
    let widths = Widths { input: d, output: d };
    linear::backward_parameters::<M>(widths, &asking(heads, x), &dq, d_weight_q, d_bias_q);
    let d_asking = linear::backward_input::<M>(widths, &dq, &weight[..d * d]);
    let widths = Widths { input: d, output: 2 * d };
    linear::backward_parameters::<M>(widths, x, &dkv, d_weight_kv, d_bias_kv);
    let mut dx = linear::backward_input::<M>(widths, &dkv, &weight[d * d..]);
    add_to_asking::<M>(heads, &mut dx, &d_asking);
    dx
}
