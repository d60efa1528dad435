//! The pre-activation bottleneck: norm, ReLU, convolution, three times, plus the shortcut.

use super::{Block, Input, Made, Map, Owned, Saved, Sums};
use crate::cuda::CudaNumbers;
use crate::cuda::norm::{Moments, Through};
use crate::cuda::numbers::Held;
use crate::kernels::numbers::Numbers;
use candle_core::{Result, bail};

pub(super) fn forward<M: CudaNumbers>(
    block: &Block<'_, M>,
    input: Input<'_, M>,
    moments: Option<Moments<M::Sum>>,
    statistics: &mut Option<Sums<M>>,
) -> Result<Made<M>> {
    let cuda = block.pass.cuda;
    let [conv1, conv2, conv3] = block.convs;
    let [at1, at2, at3] = &block.at.norms;
    let weights = block.at.convs.each_ref().map(|conv| block.weight(conv));

    let norm1 = block.norm(at1, input.view(), moments, statistics)?;
    let active1 = cuda.apply_norm::<M>(input.view(), &norm1, true)?;
    let downsampled = match (block.downsample, &block.at.downsample) {
        (Some(conv), Some((at, _))) => {
            let columns = conv.columns::<M>(cuda, active1.view(), None)?;
            Some(conv.forward::<M>(cuda, columns.view(), block.weight(at))?)
        }
        _ => None,
    };
    let raw1 = conv1.forward::<M>(cuda, active1.view(), weights[0])?;
    let norm2 = block.norm(at2, raw1.view(), None, statistics)?;
    let columns = conv2.columns::<M>(cuda, raw1.view(), Some(&norm2))?;
    let raw2 = conv2.forward::<M>(cuda, columns.view(), weights[1])?;
    drop(columns);
    let norm3 = block.norm(at3, raw2.view(), None, statistics)?;
    let active3 = cuda.apply_norm::<M>(raw2.view(), &norm3, true)?;
    let columns = active3.view();
    let (y, next, x) = match (downsampled, input) {
        // A shortcut that nobody reads again is added to where it lies.
        (Some(shortcut), input) => {
            (conv3.forward_onto::<M>(cuda, columns, weights[2], Some(shortcut))?, None, input.owned())
        }
        (None, Held::Owned(x)) if !block.pass.keeps => {
            (conv3.forward_onto::<M>(cuda, columns, weights[2], Some(x))?, None, None)
        }
        (None, input) => {
            let y = conv3.forward::<M>(cuda, columns, weights[2])?;
            let (y, next) = add_shortcut(block, y.view(), input.view())?;
            (y, next, input.owned())
        }
    };
    let (raw, active) = (vec![raw1, raw2], vec![active1, active3]);
    Ok((y, next, Saved { x, raw, norms: vec![norm1, norm2, norm3], active }))
}

/// A map, and its moments where they were taken.
type Joined<M> = (Owned<M>, Option<Moments<<M as Numbers>::Sum>>);

/// `y + shortcut`, with the moments of it where the next norm wants those.
fn add_shortcut<M: CudaNumbers>(block: &Block<'_, M>, y: Map<'_, M>, shortcut: Map<'_, M>) -> Result<Joined<M>> {
    if block.pass.running.is_some() {
        return Ok((block.pass.cuda.add_maps::<M>(y, shortcut)?, None));
    }
    let channels = block.at.convs[2].spec.out_channels;
    let (y, moments) = block.pass.cuda.add_with_moments::<M>(y, shortcut, channels)?;
    Ok((y, Some(moments)))
}

pub(super) fn backward<M: CudaNumbers>(
    block: &Block<'_, M>,
    x: Map<'_, M>,
    saved: Saved<M>,
    dy: Map<'_, M>,
    gradients: &mut Sums<M>,
) -> Result<Owned<M>> {
    let cuda = block.pass.cuda;
    let [conv1, conv2, conv3] = block.convs;
    let [at1, at2, at3] = &block.at.norms;
    let convs = &block.at.convs;
    let (Ok([raw1, raw2]), Ok([norm1, norm2, norm3]), Ok([active1, active3])) =
        (<[_; 2]>::try_from(saved.raw), <[_; 3]>::try_from(saved.norms), <[_; 2]>::try_from(saved.active))
    else {
        bail!("stage: a block kept other maps than it needs")
    };

    let d_active = block.through_conv((conv3, &convs[2]), (Held::Owned(active3), dy), None, gradients)?;
    let through = Through { x: raw2.view(), dy: d_active.view(), residual: None, relu: true };
    let d_raw2 = block.through_norm((&norm3, at3), through, gradients)?;
    drop((raw2, d_active));

    let columns = conv2.columns::<M>(cuda, raw1.view(), Some(&norm2))?;
    let d_active = block.through_conv((conv2, &convs[1]), (columns, d_raw2.view()), None, gradients)?;
    drop(d_raw2);
    let through = Through { x: raw1.view(), dy: d_active.view(), residual: None, relu: true };
    let d_raw1 = block.through_norm((&norm2, at2), through, gradients)?;
    drop((raw1, d_active));

    let from_shortcut = match (block.downsample, &block.at.downsample) {
        (Some(conv), Some((at, _))) => {
            let columns = conv.columns::<M>(cuda, active1.view(), None)?;
            Some(block.through_conv((conv, at), (columns, dy), None, gradients)?)
        }
        _ => None,
    };
    let residual = from_shortcut.is_none().then_some(dy);
    let columns = Held::Owned(active1);
    let d_active = block.through_conv((conv1, &convs[0]), (columns, d_raw1.view()), from_shortcut, gradients)?;
    block.through_norm((&norm1, at1), Through { x, dy: d_active.view(), residual, relu: true }, gradients)
}
