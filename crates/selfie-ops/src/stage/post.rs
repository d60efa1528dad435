//! The post-activation bottleneck of ResNet v1.5: convolution, norm, ReLU, three times; the last ReLU after the shortcut.

use super::{BlockReader, SavedBlock, unit_gradients};
use crate::Real;
use crate::kernels::conv::{Backward, Input};
use crate::kernels::norm::{Moments, Norm, NormBackward, relu};
use crate::kernels::numbers::Numbers;
use crate::kernels::pieces::{update, zip_map};
use candle_core::{Result, bail};

/// The block's output and what backward needs. Nobody wants its moments: the next block begins with a convolution.
type Output<M> = (Vec<<M as Numbers>::Stored>, SavedBlock<M>, Option<Moments<<M as Numbers>::Sum>>);

pub(super) fn forward<M: Numbers>(block: &BlockReader<'_, M::Sum>, x: &[M::Stored]) -> Result<Output<M>> {
    let [conv1, conv2, conv3] = block.convs()?;
    let batch = block.running.is_none();
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));
    let norm_of = |at, raw: &[M::Stored], moments: Option<Moments<M::Sum>>, channels| {
        block.norm(at, || moments.unwrap_or_else(|| Moments::of::<M>(raw, channels)))
    };
    let [at1, at2, at3] = &block.at.norms;

    let (raw1, moments) = conv1.forward(Input::<M> { x, norm: None }, weights[0], None, batch);
    let norm1 = norm_of(at1, &raw1, moments, conv1.spec.out_channels);
    let (raw2, moments) = conv2.forward(Input::<M> { x: &raw1, norm: Some(&norm1) }, weights[1], None, batch);
    let norm2 = norm_of(at2, &raw2, moments, conv2.spec.out_channels);
    let (raw3, moments) = conv3.forward(Input::<M> { x: &raw2, norm: Some(&norm2) }, weights[2], None, batch);
    let norm3 = norm_of(at3, &raw3, moments, conv3.spec.out_channels);

    let mut y = norm3.apply::<M>(&raw3, false);
    let mut saved = SavedBlock { x: None, raw: vec![raw1, raw2, raw3], norms: vec![norm1, norm2, norm3] };
    match block.downsample() {
        Some(d) => {
            let Some(at) = d.norm_at else { bail!("stage: a downsampling shortcut without its norm") };
            let (raw, moments) = d.conv.forward(Input::<M> { x, norm: None }, d.weight, None, batch);
            let norm = norm_of(at, &raw, moments, d.at.spec.out_channels);
            add_and_rectify(&mut y, &norm.apply::<M>(&raw, false), |shortcut| shortcut);
            saved.raw.push(raw);
            saved.norms.push(norm);
        }
        None => add_and_rectify(&mut y, x, M::load),
    }
    Ok((M::keep(y), saved, None))
}

/// `out` is the block's output: its ReLU's mask.
pub(super) fn backward<M: Numbers>(
    block: &BlockReader<'_, M::Sum>,
    (x, saved, out): (&[M::Stored], SavedBlock<M>, &[M::Stored]),
    dy: &[M::Stored],
    gradients: &mut [M::Sum],
) -> Result<Vec<M::Stored>> {
    let [conv1, conv2, conv3] = block.convs()?;
    let ([norm1, norm2, norm3, ..], [raw1, raw2, raw3, ..]) = (&saved.norms[..], &saved.raw[..]) else {
        bail!("stage: a block kept {} norms and {} maps", saved.norms.len(), saved.raw.len())
    };
    let (convs, norms) = (&block.at.convs, &block.at.norms);
    let weights = convs.each_ref().map(|conv| block.weight(conv));

    let zero = M::Sum::ZERO;
    let d_sum = zip_map(dy, out, |dy, out| if M::load(out) > zero { dy } else { M::store(zero) });
    let d_raw3 = through_norm::<M>((norm3, raw3), d_sum.clone(), &norms[2], gradients)?;
    let through = Backward::<M> { input: Input { x: raw2, norm: Some(norm2) }, weight: weights[2], dy: &d_raw3 };
    let unit = unit_gradients(gradients, &convs[2], &norms[1])?;
    let d_raw2 = conv3.backward_unit((&through, norm2), None, None, unit);
    let through = Backward::<M> { input: Input { x: raw1, norm: Some(norm1) }, weight: weights[1], dy: &d_raw2 };
    let unit = unit_gradients(gradients, &convs[1], &norms[0])?;
    let d_raw1 = conv2.backward_unit((&through, norm1), None, None, unit);

    let input = Input::<M> { x, norm: None };
    let from_shortcut = match (block.downsample(), saved.norms.get(3), saved.raw.get(3)) {
        (Some(d), Some(norm), Some(raw)) => {
            let Some(at) = d.norm_at else { bail!("stage: a downsampling shortcut without its norm") };
            let d_raw = through_norm::<M>((norm, raw), d_sum, at, gradients)?;
            let through = Backward::<M> { input, weight: d.weight, dy: &d_raw };
            d.conv.backward_input(&through, None, &mut gradients[d.at.weight.clone()])
        }
        _ => d_sum,
    };
    let through = Backward::<M> { input, weight: weights[0], dy: &d_raw1 };
    Ok(conv1.backward_input(&through, Some(from_shortcut), &mut gradients[convs[0].weight.clone()]))
}

/// From the gradient of a norm's output, without ReLU, to that of its input.
fn through_norm<M: Numbers>(
    (norm, raw): (&Norm<M::Sum>, &[M::Stored]),
    mut dz: Vec<M::Stored>,
    at: &crate::layout::NormAt,
    gradients: &mut [M::Sum],
) -> Result<Vec<M::Stored>> {
    let sums = norm.mask_and_sum::<M>(raw, &mut dz, false);
    let Ok([d_gain, d_bias]) = gradients.get_disjoint_mut([at.gain.clone(), at.bias.clone()]) else {
        bail!("stage: overlapping parameters")
    };
    norm.backward::<M>(NormBackward { x: raw, dz: &mut dz, sums: &sums, residual: None }, d_gain, d_bias);
    Ok(dz)
}

fn add_and_rectify<T: Real, A: Copy + Sync>(y: &mut [T], shortcut: &[A], load: impl Fn(A) -> T + Send + Sync) {
    update(y, shortcut, |y, shortcut| relu(y + load(shortcut)));
}
