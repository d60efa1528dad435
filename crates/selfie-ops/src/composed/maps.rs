//! Convolution, batch normalisation and pooling of `[B, H, W, C]`.

use super::relu;
use crate::kernels::conv::ConvSpec;
use crate::kernels::norm::EPSILON;
use crate::unit::Normalised;
use crate::{NormMode, pool};
use candle_core::{D, DType, Device, Result, Tensor, bail};

/// As a product of shifted copies: one GEMM forward and in each direction back.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, spec: ConvSpec) -> Result<Tensor> {
    let (b, h, w, _) = x.dims4()?;
    let (Some(out_h), Some(out_w)) = (spec.output_side(h), spec.output_side(w)) else {
        bail!("conv2d: a kernel of {} does not fit {:?}", spec.kernel, x.dims())
    };
    let p = spec.padding;
    let padded = x.pad_with_zeros(1, p, p)?.pad_with_zeros(2, p, p)?;
    let mut shifted = Vec::new();
    for ky in 0..spec.kernel {
        let rows = take(&padded, 1, (ky, spec.stride, out_h))?;
        for kx in 0..spec.kernel {
            shifted.push(take(&rows, 2, (kx, spec.stride, out_w))?);
        }
    }
    let columns = Tensor::cat(&shifted, D::Minus1)?;
    let depth = spec.kernel * spec.kernel * spec.in_channels;
    let y = columns.reshape((b * out_h * out_w, depth))?.matmul(&weight.reshape((depth, spec.out_channels))?)?;
    y.reshape((b, out_h, out_w, spec.out_channels))
}

/// `count` slices along `dim` from `start`, `stride` apart.
fn take(x: &Tensor, dim: usize, (start, stride, count): (usize, usize, usize)) -> Result<Tensor> {
    if stride == 1 {
        return x.narrow(dim, start, count)?.contiguous();
    }
    let indices: Vec<u32> = (0..count).map(|i| (start + i * stride) as u32).collect();
    x.contiguous()?.index_select(&Tensor::new(indices, x.device())?, dim)
}

pub(crate) fn batch_norm(x: &Tensor, parameters: &Tensor, mode: NormMode<'_>, with_relu: bool) -> Result<Normalised> {
    let channels = x.dim(D::Minus1)?;
    let rows = x.reshape(((), channels))?;
    let (gain, bias) = (parameters.narrow(0, 0, channels)?, parameters.narrow(0, channels, channels)?);
    let (mean, var, statistics) = match mode {
        NormMode::Running(running) => {
            let running = running.to_dtype(x.dtype())?;
            (running.narrow(0, 0, channels)?, running.narrow(0, channels, channels)?, None)
        }
        NormMode::Batch => {
            let n = rows.dim(0)? as f64;
            let mean = mean_of_rows(&rows)?;
            let var = mean_of_rows(&(&rows - in_every_row(&mean, &rows)?)?.sqr()?)?;
            let unbiased = (var.detach() * if n > 1.0 { n / (n - 1.0) } else { 1.0 })?;
            let statistics = Tensor::cat(&[mean.detach(), unbiased], 0)?;
            (mean, var, Some(statistics))
        }
    };
    let scale = (gain / (var + EPSILON)?.sqrt()?)?;
    let centred = (&rows - in_every_row(&mean, &rows)?)?;
    let y = ((centred * in_every_row(&scale, &rows)?)? + in_every_row(&bias, &rows)?)?;
    let y = if with_relu { relu(&y)? } else { y };
    Ok(Normalised { y: y.reshape(x.shape())?, statistics })
}

/// The mean over rows, as a product: candle's own sums add thousands of f32 one by one and lose three digits.
fn mean_of_rows(rows: &Tensor) -> Result<Tensor> {
    let n = rows.dim(0)?;
    let ones = Tensor::ones((1, n), rows.dtype(), rows.device())?;
    (ones.matmul(rows)? * (1.0 / n as f64))?.squeeze(0)
}

/// A vector in every row, as a product: its gradient is then one too, and not candle's own sum.
fn in_every_row(vector: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((rows.dim(0)?, 1), rows.dtype(), rows.device())?;
    ones.matmul(&vector.unsqueeze(0)?.contiguous()?)
}

pub(crate) fn max_pool(x: &Tensor) -> Result<Tensor> {
    let out = pool::maps("max_pool", x.dims())?.halved();
    let (h, w) = (x.dim(1)?, x.dim(2)?);
    // Beyond the border stands the lowest number, so that no window prefers it; where a tie is, the first wins.
    let outside = border(h, w, x.dtype(), x.device())?;
    let padded = x.pad_with_zeros(1, 1, 2)?.pad_with_zeros(2, 1, 2)?.broadcast_add(&outside)?;
    let mut windows = Vec::new();
    for ky in 0..3 {
        let rows = take(&padded, 1, (ky, 2, out.height))?;
        for kx in 0..3 {
            windows.push(take(&rows, 2, (kx, 2, out.width))?);
        }
    }
    let windows = Tensor::stack(&windows, 0)?;
    let largest = first_largest(&windows.detach())?;
    windows.gather(&largest.unsqueeze(0)?.contiguous()?, 0)?.squeeze(0)
}

/// The index along the first axis of the first largest element, by comparisons that agree on every backend.
fn first_largest(windows: &Tensor) -> Result<Tensor> {
    let mut best = windows.get(0)?;
    let mut index = best.zeros_like()?.to_dtype(DType::U32)?;
    for i in 1..windows.dim(0)? {
        let here = windows.get(i)?;
        let larger = here.gt(&best)?;
        best = larger.where_cond(&here, &best)?;
        index = larger.where_cond(&Tensor::full(i as u32, index.shape(), index.device())?, &index)?;
    }
    Ok(index)
}

fn border(h: usize, w: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let outside: Vec<f32> = (0..(h + 3) * (w + 3))
        .map(|i| {
            let (y, x) = (i / (w + 3), i % (w + 3));
            let inside = (1..=h).contains(&y) && (1..=w).contains(&x);
            if inside { 0.0 } else { f32::MIN }
        })
        .collect();
    Tensor::from_vec(outside, (1, h + 3, w + 3, 1), device)?.to_dtype(dtype)
}

pub(crate) fn average_pool(x: &Tensor, cells: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if cells == 0 || h % cells != 0 || w % cells != 0 {
        bail!("average_pool: expected sides that are multiples of {cells}, got {:?}", x.dims())
    }
    x.reshape((b, cells, h / cells, cells, (w / cells) * c))?
        .sum(2)?
        .reshape((b, cells, cells, w / cells, c))?
        .sum(3)?
        .affine((cells * cells) as f64 / (h * w) as f64, 0.0)
}
