//! 3×3 convolutions by transformed tiles against the same ones by pixels: an odd number of channels is never tiled.

use crate::device::device;
use crate::{normal, stage, values};
use candle_core::{DType, Tensor, Var};
use selfie_ops::{BlockForm, ConvSpec, NormMode, Precision, StageSpec, conv2d, runs_composed};

/// The result of a convolution, and the gradients of x and of the weight.
fn differentiate(x: &Tensor, weight: &Tensor, dy: &Tensor, spec: ConvSpec) -> [Tensor; 3] {
    let (x, weight) = (Var::from_tensor(x).unwrap(), Var::from_tensor(&weight.flatten_all().unwrap()).unwrap());
    let y = conv2d(x.as_tensor(), weight.as_tensor(), spec).unwrap();
    let gradients = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |var: &Var| gradients.get(var.as_tensor()).unwrap().clone();
    [y, of(&x), of(&weight)]
}

/// The largest difference over the largest number.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f64, |most, b| most.max(b.abs()));
    a.iter().zip(&b).fold(0.0f64, |most, (a, b)| most.max((a - b).abs())) / largest
}

fn check(channels: [usize; 2], [images, height, width]: [usize; 3], (dtype, tolerance): (DType, f64)) {
    let [m, n] = channels;
    let x = normal(1, &[images, height, width, m]).to_dtype(dtype).unwrap();
    let weight = normal(2, &[9 * m, n]).to_dtype(dtype).unwrap();
    let dy = normal(3, &[images, height, width, n]).to_dtype(dtype).unwrap();
    // A channel more, whose output counts for nothing.
    let wider = |t: &Tensor, axis| t.pad_with_zeros(axis, 0, 1).unwrap();
    let tiled = differentiate(&x, &weight, &dy, ConvSpec::three(m, n, 1));
    let [y, dx, dw] = differentiate(&x, &wider(&weight, 1), &wider(&dy, 3), ConvSpec::three(m, n + 1, 1));
    let expected = [
        y.narrow(3, 0, n).unwrap(),
        dx,
        dw.reshape((9 * m, n + 1)).unwrap().narrow(1, 0, n).unwrap().flatten_all().unwrap(),
    ];
    for (what, (tiled, expected)) in ["y", "dx", "dw"].iter().zip(tiled.iter().zip(&expected)) {
        let far = distance(tiled, expected);
        assert!(far < tolerance, "{what} of {channels:?} channels, {images} images {height}x{width}: {far}");
        assert!(runs_composed(device()) || !device().is_cpu() || far > 0.0, "{what}: not by tiles");
    }
}

#[test]
fn tiles_give_what_pixels_give() {
    for size in [[1, 32, 32], [7, 32, 33], [3, 33, 32], [2, 40, 44], [1, 41, 43]] {
        check([32, 34], size, (DType::F64, 1e-13));
        check([34, 32], size, (DType::F32, 3e-6));
    }
    for size in [[1, 8, 8], [7, 8, 9], [3, 9, 8], [2, 11, 13], [70, 8, 8]] {
        check([128, 130], size, (DType::F64, 1e-13));
        check([130, 128], size, (DType::F32, 5e-6));
    }
    // A weight whose gradient is one contraction.
    for size in [[1, 8, 8], [5, 9, 10], [1, 31, 30]] {
        check([172, 170], size, (DType::F64, 1e-13));
        check([172, 170], size, (DType::F32, 5e-6));
    }
}

#[test]
fn tiles_round_little_more_than_pixels_do() {
    if runs_composed(device()) {
        return eprintln!("passed over: nothing is rounded under SELFIE_OPS=composed");
    }
    // Maps of 7 pixels a side are never tiled, those of 8 are.
    let far = |side: usize| {
        let spec = |precision| StageSpec {
            form: BlockForm::PreActivation,
            in_channels: 64,
            mid_channels: 128,
            depth: 2,
            stride: 1,
            precision,
        };
        let n_parameters = spec(Precision::Full).layout().n_parameters();
        let x = normal(1, &[8, side, side, 64]);
        let parameters = ((normal(2, &[n_parameters]) * 0.05).unwrap() + 0.02).unwrap();
        let run = |precision| {
            let parameters = Var::from_tensor(&parameters).unwrap();
            let y = stage(&x, parameters.as_tensor(), spec(precision), NormMode::Batch).unwrap().y;
            let gradients = (&y * normal(3, y.dims())).unwrap().sum_all().unwrap().backward().unwrap();
            values(gradients.get(parameters.as_tensor()).unwrap())
        };
        let (full, rounded) = (run(Precision::Full), run(Precision::Bf16));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        norm(&mut full.iter().zip(&rounded).map(|(a, b)| a - b)) / norm(&mut full.iter().copied())
    };
    let (by_pixels, by_tiles) = (far(7), far(8));
    println!("bf16 gradients from full precision: {by_pixels:.4} by pixels, {by_tiles:.4} by tiles");
    assert!(by_tiles < 1.5 * by_pixels, "{by_tiles} by tiles, {by_pixels} by pixels");
}
