//! The post-activation bottleneck of ResNet v1.5: convolution, norm, ReLU, three times; the last ReLU after the shortcut.

use super::{BlockReader, SavedBlock, unit_gradients};
use crate::Real;
use crate::kernels::conv::{Backward, Input};
use crate::kernels::norm::{Moments, Norm, NormBackward, relu};
use crate::kernels::pieces::{update, zip_map};
use candle_core::{Result, bail};

pub(super) fn forward<T: Real>(block: &BlockReader<'_, T>, x: &[T]) -> Result<(Vec<T>, SavedBlock<T>)> {
    let [conv1, conv2, conv3] = block.convs()?;
    let batch = block.running.is_none();
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));
    let norm_of = |at, raw: &[T], moments: Option<Moments<T>>, channels| {
        block.norm(at, || moments.unwrap_or_else(|| Moments::of(raw, channels)))
    };
    let [at1, at2, at3] = &block.at.norms;

    let (raw1, moments) = conv1.forward(Input { x, norm: None }, weights[0], None, batch);
    let norm1 = norm_of(at1, &raw1, moments, conv1.spec.out_channels);
    let (raw2, moments) = conv2.forward(Input { x: &raw1, norm: Some(&norm1) }, weights[1], None, batch);
    let norm2 = norm_of(at2, &raw2, moments, conv2.spec.out_channels);
    let (raw3, moments) = conv3.forward(Input { x: &raw2, norm: Some(&norm2) }, weights[2], None, batch);
    let norm3 = norm_of(at3, &raw3, moments, conv3.spec.out_channels);

    let mut y = norm3.apply(&raw3, false);
    let mut saved = SavedBlock { x: None, raw: vec![raw1, raw2, raw3], norms: vec![norm1, norm2, norm3] };
    match block.downsample() {
        Some(d) => {
            let Some(at) = d.norm_at else { bail!("stage: a downsampling shortcut without its norm") };
            let (raw, moments) = d.conv.forward(Input { x, norm: None }, d.weight, None, batch);
            let norm = norm_of(at, &raw, moments, d.at.spec.out_channels);
            add_and_rectify(&mut y, &norm.apply(&raw, false));
            saved.raw.push(raw);
            saved.norms.push(norm);
        }
        None => add_and_rectify(&mut y, x),
    }
    Ok((y, saved))
}

/// `out` is the block's output: its ReLU's mask.
pub(super) fn backward<T: Real>(
    block: &BlockReader<'_, T>,
    (x, saved, out): (&[T], SavedBlock<T>, &[T]),
    dy: &[T],
    gradients: &mut [T],
) -> Result<Vec<T>> {
    let [conv1, conv2, conv3] = block.convs()?;
    let ([norm1, norm2, norm3, ..], [raw1, raw2, raw3, ..]) = (&saved.norms[..], &saved.raw[..]) else {
        bail!("stage: a block kept {} norms and {} maps", saved.norms.len(), saved.raw.len())
    };
    let (convs, norms) = (&block.at.convs, &block.at.norms);
    let weights = convs.each_ref().map(|conv| block.weight(conv));

    let mut d_sum = vec![T::zero(); dy.len()];
    zip_map(&mut d_sum, dy, out, |dy, out| if out > T::zero() { dy } else { T::zero() });
    let d_raw3 = through_norm((norm3, raw3), d_sum.clone(), &norms[2], gradients)?;
    let through = Backward { input: Input { x: raw2, norm: Some(norm2) }, weight: weights[2], dy: &d_raw3 };
    let unit = unit_gradients(gradients, &convs[2], &norms[1])?;
    let d_raw2 = conv3.backward_unit((&through, norm2), None, None, unit);
    let through = Backward { input: Input { x: raw1, norm: Some(norm1) }, weight: weights[1], dy: &d_raw2 };
    let unit = unit_gradients(gradients, &convs[1], &norms[0])?;
    let d_raw1 = conv2.backward_unit((&through, norm1), None, None, unit);

    let input = Input { x, norm: None };
    let from_shortcut = match (block.downsample(), saved.norms.get(3), saved.raw.get(3)) {
        (Some(d), Some(norm), Some(raw)) => {
            let Some(at) = d.norm_at else { bail!("stage: a downsampling shortcut without its norm") };
            let d_raw = through_norm((norm, raw), d_sum, at, gradients)?;
            let through = Backward { input, weight: d.weight, dy: &d_raw };
            d.conv.backward_input(&through, None, &mut gradients[d.at.weight.clone()])
        }
        _ => d_sum,
    };
    let through = Backward { input, weight: weights[0], dy: &d_raw1 };
    Ok(conv1.backward_input(&through, Some(from_shortcut), &mut gradients[convs[0].weight.clone()]))
}

/// From the gradient of a norm's output, without ReLU, to that of its input.
fn through_norm<T: Real>(
    (norm, raw): (&Norm<T>, &[T]),
    mut dz: Vec<T>,
    at: &crate::layout::NormAt,
    gradients: &mut [T],
) -> Result<Vec<T>> {
    let sums = norm.mask_and_sum(raw, &mut dz, false);
    let Ok([d_gain, d_bias]) = gradients.get_disjoint_mut([at.gain.clone(), at.bias.clone()]) else {
        bail!("stage: overlapping parameters")
    };
    norm.backward(NormBackward { x: raw, dz: &mut dz, sums: &sums, residual: None }, d_gain, d_bias);
    Ok(dz)
}

fn add_and_rectify<T: Real>(y: &mut [T], shortcut: &[T]) {
    update(y, shortcut, |y, shortcut| relu(y + shortcut));
}
