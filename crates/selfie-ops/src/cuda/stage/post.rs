//! The post-activation bottleneck of ResNet v1.5: convolution, norm, ReLU, three times; the last ReLU after the shortcut.

use super::{Block, Input, Made, Map, Owned, Saved, Sums};
use crate::cuda::CudaNumbers;
use crate::cuda::norm::Through;
use crate::cuda::numbers::Held;
use candle_core::{Result, bail};

pub(super) fn forward<M: CudaNumbers>(
    block: &Block<'_, M>,
    input: Input<'_, M>,
    statistics: &mut Option<Sums<M>>,
) -> Result<Made<M>> {
    let (cuda, x) = (block.pass.cuda, input.view());
    let [conv1, conv2, conv3] = block.convs;
    let [at1, at2, at3] = &block.at.norms;
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));

    let raw1 = conv1.forward::<M>(cuda, x, weights[0])?;
    let norm1 = block.norm(at1, raw1.view(), None, statistics)?;
    let columns = conv2.columns::<M>(cuda, raw1.view(), Some(&norm1))?;
    let raw2 = conv2.forward::<M>(cuda, columns.view(), weights[1])?;
    drop(columns);
    let norm2 = block.norm(at2, raw2.view(), None, statistics)?;
    let active2 = cuda.apply_norm::<M>(raw2.view(), &norm2, true)?;
    let raw3 = conv3.forward::<M>(cuda, active2.view(), weights[2])?;
    let norm3 = block.norm(at3, raw3.view(), None, statistics)?;

    let (mut raw, mut norms) = (vec![raw1, raw2], vec![norm1, norm2]);
    let y = match (block.downsample, &block.at.downsample) {
        (Some(conv), Some((at, norm_at))) => {
            let Some(norm_at) = norm_at else { bail!("stage: a downsampling shortcut without its norm") };
            let columns = conv.columns::<M>(cuda, x, None)?;
            let shortcut = conv.forward::<M>(cuda, columns.view(), block.weight(at))?;
            let norm = block.norm(norm_at, shortcut.view(), None, statistics)?;
            let y = cuda.join_shortcut::<M>((raw3.view(), &norm3), (shortcut.view(), Some(&norm)))?;
            raw.extend([raw3, shortcut]);
            norms.extend([norm3, norm]);
            y
        }
        _ => {
            let y = cuda.join_shortcut::<M>((raw3.view(), &norm3), (x, None))?;
            raw.push(raw3);
            norms.push(norm3);
            y
        }
    };
    Ok((y, None, Saved { x: input.owned(), raw, norms, active: vec![active2] }))
}

/// `out` is the block's output: its ReLU's mask.
pub(super) fn backward<M: CudaNumbers>(
    block: &Block<'_, M>,
    (x, out): (Map<'_, M>, Map<'_, M>),
    saved: Saved<M>,
    dy: Map<'_, M>,
    gradients: &mut Sums<M>,
) -> Result<Owned<M>> {
    let cuda = block.pass.cuda;
    let [conv1, conv2, conv3] = block.convs;
    let [at1, at2, at3] = &block.at.norms;
    let convs = &block.at.convs;
    let ([norm1, norm2, norm3, ..], [raw1, raw2, raw3, ..], [active2]) =
        (&saved.norms[..], &saved.raw[..], &saved.active[..])
    else {
        bail!("stage: a block kept other maps than it needs")
    };

    let d_sum = cuda.mask_by_output::<M>(dy, out)?;
    let through = Through { x: raw3.view(), dy: d_sum.view(), residual: None, relu: false };
    let d_raw3 = block.through_norm((norm3, at3), through, gradients)?;
    let columns = Held::Borrowed(active2.view());
    let d_active = block.through_conv((conv3, &convs[2]), (columns, d_raw3.view()), None, gradients)?;
    drop(d_raw3);
    let through = Through { x: raw2.view(), dy: d_active.view(), residual: None, relu: true };
    let d_raw2 = block.through_norm((norm2, at2), through, gradients)?;
    drop(d_active);

    let columns = conv2.columns::<M>(cuda, raw1.view(), Some(norm1))?;
    let d_active = block.through_conv((conv2, &convs[1]), (columns, d_raw2.view()), None, gradients)?;
    drop(d_raw2);
    let through = Through { x: raw1.view(), dy: d_active.view(), residual: None, relu: true };
    let d_raw1 = block.through_norm((norm1, at1), through, gradients)?;
    drop(d_active);

    let from_shortcut = match (block.downsample, &block.at.downsample, saved.norms.get(3), saved.raw.get(3)) {
        (Some(conv), Some((at, Some(norm_at))), Some(norm), Some(raw)) => {
            let through = Through { x: raw.view(), dy: d_sum.view(), residual: None, relu: false };
            let d_raw = block.through_norm((norm, norm_at), through, gradients)?;
            let columns = conv.columns::<M>(cuda, x, None)?;
            block.through_conv((conv, at), (columns, d_raw.view()), None, gradients)?
        }
        _ => d_sum,
    };
    block.through_conv((conv1, &convs[0]), (Held::Borrowed(x), d_raw1.view()), Some(from_shortcut), gradients)
}
