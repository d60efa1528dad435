//! The pre-activation bottleneck: norm, ReLU, convolution, three times, plus the shortcut.

use super::{BlockReader, SavedBlock, unit_gradients};
use crate::kernels::conv::{Backward, Input};
use crate::kernels::norm::Moments;
use crate::kernels::numbers::Numbers;
use candle_core::{Result, bail};

/// The block's output, what backward needs, and the output's moments, for the next block's norm.
type Output<M> = (Vec<<M as Numbers>::Stored>, SavedBlock<M>, Option<Moments<<M as Numbers>::Sum>>);

pub(super) fn forward<M: Numbers>(
    block: &BlockReader<'_, M::Sum>,
    x: &[M::Stored],
    moments: Option<Moments<M::Sum>>,
) -> Result<Output<M>> {
    let [conv1, conv2, conv3] = block.convs()?;
    let batch = block.running.is_none();
    let [at1, at2, at3] = &block.at.norms;
    let norm1 = block.norm(at1, || moments.unwrap_or_else(|| Moments::of::<M>(x, conv1.spec.in_channels)));
    let input = Input::<M> { x, norm: Some(&norm1) };
    let downsampled = block.downsample().map(|d| d.conv.forward(input, d.weight, None, false).0);
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));

    let (raw1, moments1) = conv1.forward(input, weights[0], None, batch);
    let norm2 = block.norm(at2, || moments1.unwrap_or_else(|| Moments::of::<M>(&raw1, conv1.spec.out_channels)));
    let (raw2, moments2) = conv2.forward(Input::<M> { x: &raw1, norm: Some(&norm2) }, weights[1], None, batch);
    let norm3 = block.norm(at3, || moments2.unwrap_or_else(|| Moments::of::<M>(&raw2, conv2.spec.out_channels)));
    let shortcut = downsampled.as_deref().unwrap_or(x);
    let (y, next) = conv3.forward(Input::<M> { x: &raw2, norm: Some(&norm3) }, weights[2], Some(shortcut), batch);
    Ok((y, SavedBlock { x: None, raw: vec![raw1, raw2], norms: vec![norm1, norm2, norm3] }, next))
}

pub(super) fn backward<M: Numbers>(
    block: &BlockReader<'_, M::Sum>,
    (x, saved): (&[M::Stored], SavedBlock<M>),
    dy: &[M::Stored],
    gradients: &mut [M::Sum],
) -> Result<Vec<M::Stored>> {
    let [conv1, conv2, conv3] = block.convs()?;
    let ([norm1, norm2, norm3], [raw1, raw2]) = (&saved.norms[..], &saved.raw[..]) else {
        bail!("stage: a block kept {} norms and {} maps", saved.norms.len(), saved.raw.len())
    };
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));

    let through = Backward::<M> { input: Input { x: raw2, norm: Some(norm3) }, weight: weights[2], dy };
    let d_raw2 = conv3.backward_unit(
        (&through, norm3),
        None,
        None,
        unit_gradients(gradients, &block.at.convs[2], &block.at.norms[2])?,
    );
    let through = Backward::<M> { input: Input { x: raw1, norm: Some(norm2) }, weight: weights[1], dy: &d_raw2 };
    let d_raw1 = conv2.backward_unit(
        (&through, norm2),
        None,
        None,
        unit_gradients(gradients, &block.at.convs[1], &block.at.norms[1])?,
    );

    let input = Input::<M> { x, norm: Some(norm1) };
    let from_shortcut = block.downsample().map(|d| {
        let through = Backward::<M> { input, weight: d.weight, dy };
        d.conv.backward_input(&through, None, &mut gradients[d.at.weight.clone()])
    });
    let residual = from_shortcut.is_none().then_some(dy);
    let through = Backward::<M> { input, weight: weights[0], dy: &d_raw1 };
    Ok(conv1.backward_unit(
        (&through, norm1),
        from_shortcut,
        residual,
        unit_gradients(gradients, &block.at.convs[0], &block.at.norms[0])?,
    ))
}
