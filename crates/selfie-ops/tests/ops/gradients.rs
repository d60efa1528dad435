//! Every operation's gradients against central differences in f64.

use crate::device::device;
use crate::{normal, stage, values};
use candle_core::{Result, Tensor, Var};
use selfie_ops::{
    BlockForm, ConvSpec, Dropout, LayerDropout, NormMode, Precision, StageSpec, TokenOutput, TransformerSpec,
    attention, average_pool, batch_norm, conv2d, cross_entropy, dropout, gelu, layer_norm, linear, max_pool,
    rows_in_order, transformer_layer,
};
use selfie_random::DropoutKey;

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 2e-7;

/// Checks the gradient of Σ f(inputs) · random with respect to every element (at most 400 spread ones) of every input.
pub(crate) fn check(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tracked).unwrap();
    let weights = normal(99, y.dims());
    let objective = |y: Tensor| (y * &weights).unwrap().sum_all().unwrap();
    let gradients = objective(y).backward().unwrap();
    for (i, input) in inputs.iter().enumerate() {
        let got = values(gradients.get(&tracked[i]).unwrap_or_else(|| panic!("{name}: no gradient of input {i}")));
        let base = values(input);
        let stride = base.len().div_ceil(400);
        let at = |j: usize, value: f64| {
            let mut moved = base.clone();
            moved[j] = value;
            let mut all = inputs.to_vec();
            all[i] = Tensor::from_vec(moved, input.shape(), device()).unwrap();
            values(&objective(f(&all).unwrap()))[0]
        };
        let scale = got.iter().fold(0f64, |m, v| m.max(v.abs())).max(1e-3);
        for j in (0..base.len()).step_by(stride) {
            let expected = (at(j, base[j] + STEP) - at(j, base[j] - STEP)) / (2.0 * STEP);
            let error = (got[j] - expected).abs() / scale;
            assert!(
                error < TOLERANCE,
                "{name}: input {i} element {j}: expected {expected}, got {}, error {error:e}",
                got[j]
            );
        }
    }
}

fn check_conv(name: &str, spec: ConvSpec, dims: &[usize]) {
    check(name, &[normal(1, dims), normal(2, &[spec.weight_len()])], |t| conv2d(&t[0], &t[1], spec));
}

#[test]
fn convolutions_of_odd_shapes_have_exact_gradients() {
    check_conv("1x1", ConvSpec::pointwise(5, 3, 1), &[2, 3, 4, 5]);
    check_conv("1x1 stride 2", ConvSpec::pointwise(5, 3, 2), &[2, 5, 4, 5]);
    check_conv("3x3", ConvSpec::three(3, 7, 1), &[2, 5, 3, 3]);
    check_conv("3x3 stride 2, non-square, batch 1", ConvSpec::three(3, 5, 2), &[1, 7, 4, 3]);
    check_conv("3x3 on one pixel", ConvSpec::three(2, 3, 1), &[3, 1, 1, 2]);
    let stem = ConvSpec { kernel: 7, stride: 2, padding: 3, in_channels: 3, out_channels: 4 };
    check_conv("7x7 stride 2", stem, &[2, 9, 11, 3]);
    let padded = ConvSpec { kernel: 2, stride: 1, padding: 3, in_channels: 2, out_channels: 3 };
    check_conv("2x2 that meets nothing but padding", padded, &[2, 3, 2, 2]);
}

#[test]
fn convolutions_of_sixteen_channels_and_more_have_exact_gradients() {
    check_conv("3x3", ConvSpec::three(17, 18, 1), &[3, 5, 4, 17]);
    check_conv("3x3 of 2x2 maps", ConvSpec::three(16, 16, 1), &[4, 2, 2, 16]);
    check_conv("3x3 stride 2", ConvSpec::three(16, 19, 2), &[3, 5, 6, 16]);
    check_conv("1x1 stride 2", ConvSpec::pointwise(16, 3, 2), &[3, 5, 4, 16]);
    check_conv("3x3 on one pixel", ConvSpec::three(16, 3, 1), &[3, 1, 1, 16]);
}

#[test]
fn convolutions_of_more_images_than_a_piece_holds_have_exact_gradients() {
    check_conv("1x1", ConvSpec::pointwise(4, 3, 1), &[1100, 1, 1, 4]);
    check_conv("3x3", ConvSpec::three(16, 3, 1), &[290, 2, 2, 16]);
}

#[test]
fn convolutions_of_maps_large_enough_for_bands_have_exact_gradients() {
    check_conv("few channels", ConvSpec::three(2, 3, 1), &[2, 50, 47, 2]);
    check_conv("3x3", ConvSpec::three(16, 3, 1), &[2, 50, 47, 16]);
    check_conv("3x3 stride 2", ConvSpec::three(64, 3, 2), &[1, 67, 70, 64]);
    check_conv("1x1 stride 2", ConvSpec::pointwise(64, 3, 2), &[2, 67, 70, 64]);
}

#[test]
fn batch_norm_has_exact_gradients_with_batch_and_running_statistics() {
    let inputs = [normal(1, &[3, 2, 5, 7]), normal(2, &[14])];
    let running = Tensor::cat(&[normal(3, &[7]), normal(4, &[7]).sqr().unwrap()], 0).unwrap();
    for with_relu in [false, true] {
        check("batch", &inputs, |t| Ok(batch_norm(&t[0], &t[1], NormMode::Batch, with_relu)?.y));
        check("running", &inputs, |t| Ok(batch_norm(&t[0], &t[1], NormMode::Running(&running), with_relu)?.y));
    }
}

#[test]
fn pools_have_exact_gradients() {
    check("max", &[normal(1, &[2, 6, 5, 3])], |t| max_pool(&t[0]));
    check("max of one pixel", &[normal(1, &[1, 1, 1, 3])], |t| max_pool(&t[0]));
    check("global average", &[normal(1, &[2, 3, 4, 5])], |t| average_pool(&t[0], 1));
    check("cells", &[normal(1, &[2, 6, 4, 3])], |t| average_pool(&t[0], 2));
}

#[test]
fn a_max_pool_gives_the_gradient_of_a_tie_to_the_first() {
    let x = Var::zeros((1, 4, 4, 1), candle_core::DType::F64, device()).unwrap();
    let gradients = max_pool(x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    let expected = [1., 1., 0., 0., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.];
    assert_eq!(values(gradients.get(&x).unwrap()), expected);
}

#[test]
fn a_rectified_norm_has_gradient_zero_at_zero() {
    let x = Var::zeros((2, 1), candle_core::DType::F64, device()).unwrap();
    let parameters = Tensor::new(&[1f64, 0.], device()).unwrap();
    let running = Tensor::new(&[0f64, 1.], device()).unwrap();
    let y = batch_norm(x.as_tensor(), &parameters, NormMode::Running(&running), true).unwrap().y;
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(values(gradients.get(&x).unwrap()), [0., 0.]);
}

#[test]
fn operations_on_rows_have_exact_gradients() {
    check("linear", &[normal(1, &[2, 3, 5]), normal(2, &[(5 + 1) * 7])], |t| linear(&t[0], &t[1], 7, Precision::Full));
    check("layer_norm", &[normal(1, &[2, 3, 5]), normal(2, &[10])], |t| layer_norm(&t[0], &t[1]));
    check("gelu", &[normal(1, &[40])], |t| gelu(&t[0]));
    let key = DropoutKey { seed: 1, step: 2, layer: 3 };
    check("dropout", &[normal(1, &[3, 50])], |t| dropout(&t[0], Dropout { p: 0.3, key }));
    for dropped in [None, Some(Dropout { p: 0.3, key })] {
        check("attention", &[normal(1, &[2, 5, 3 * 6])], |t| attention(&t[0], 2, dropped));
    }
}

#[test]
fn rows_in_order_have_exact_gradients_of_images_and_of_one_table() {
    let order = Tensor::new(&[[2u32, 0, 1], [0, 1, 2], [1, 2, 0], [2, 1, 0]], device()).unwrap();
    check("images", &[normal(1, &[4, 3, 5])], |t| rows_in_order(&t[0], &order));
    check("one table", &[normal(2, &[1, 3, 5])], |t| rows_in_order(&t[0], &order));
    let one = Tensor::new(&[[1u32, 2, 0]], device()).unwrap();
    check("one image", &[normal(3, &[1, 3, 2])], |t| rows_in_order(&t[0], &one));
    // More images than a piece of a table's sum holds.
    let many: Vec<u32> = (0..50u32).flat_map(|image| (0..3).map(move |place| (place + image) % 3)).collect();
    let many = Tensor::from_vec(many, (50, 3), device()).unwrap();
    check("a table of many images", &[normal(4, &[1, 3, 2])], |t| rows_in_order(&t[0], &many));
}

#[test]
fn rows_in_order_are_those_that_the_order_names() {
    let order = Tensor::new(&[[2u32, 0, 1], [1, 2, 0]], device()).unwrap();
    let x: Vec<f64> = (0..6).map(f64::from).collect();
    let own = Tensor::from_slice(&x, (2, 3, 1), device()).unwrap();
    assert_eq!(values(&rows_in_order(&own, &order).unwrap()), [2.0, 0.0, 1.0, 4.0, 5.0, 3.0]);
    let table = Tensor::from_slice(&x[..3], (1, 3, 1), device()).unwrap();
    assert_eq!(values(&rows_in_order(&table, &order).unwrap()), [2.0, 0.0, 1.0, 1.0, 2.0, 0.0]);
    let three = Tensor::from_slice(&x, (3, 2, 1), device()).unwrap();
    assert!(rows_in_order(&three, &order).unwrap_err().to_string().contains("[3, 2, 1] and [2, 3]"));
}

#[test]
fn cross_entropy_has_exact_gradients_with_and_without_smoothing() {
    for smoothing in [0.0, 0.1] {
        check("cross_entropy", &[normal(1, &[4, 3])], |t| cross_entropy(&t[0], &[2, 0, 1, 1], smoothing));
    }
}

#[test]
fn stages_have_exact_gradients_with_batch_and_running_statistics() {
    for form in [BlockForm::PreActivation, BlockForm::PostActivation] {
        for (stride, in_channels, dims) in [(2, 3, [2, 5, 4, 3]), (1, 3, [3, 3, 2, 3]), (1, 8, [1, 3, 3, 8])] {
            let spec = StageSpec { form, in_channels, mid_channels: 2, depth: 2, stride, precision: Precision::Full };
            let layout = spec.layout();
            let inputs = [normal(1, &dims), normal(2, &[layout.n_parameters()])];
            let name = format!("{form:?} stride {stride} of {in_channels} channels");
            check(&name, &inputs, |t| Ok(stage(&t[0], &t[1], spec, NormMode::Batch)?.y));
            let running = (normal(3, &[layout.n_statistics()]).abs().unwrap() + 0.5).unwrap();
            check(&name, &inputs, |t| Ok(stage(&t[0], &t[1], spec, NormMode::Running(&running))?.y));
        }
    }
}

#[test]
fn transformer_layers_have_exact_gradients_with_and_without_dropout() {
    for norm_first in [false, true] {
        for p in [0.0, 0.2] {
            for output in [TokenOutput::All, TokenOutput::First] {
                let spec =
                    TransformerSpec { width: 6, heads: 2, ffn: 5, norm_first, precision: Precision::Full, output };
                let dropped = LayerDropout { p, seed: 5, step: 1, layer: 2 };
                let inputs = [normal(1, &[2, 4, 6]), normal(2, &[spec.layout().n_parameters()])];
                let name = format!("norm_first {norm_first}, dropout {p}, {output:?}");
                check(&name, &inputs, |t| transformer_layer(&t[0], &t[1], spec, Some(dropped)));
            }
        }
    }
}

#[test]
fn a_layer_of_the_first_token_alone_gives_what_the_whole_layer_gives_it() {
    for norm_first in [false, true] {
        let output = TokenOutput::All;
        let spec = TransformerSpec { width: 16, heads: 4, ffn: 9, norm_first, precision: Precision::Full, output };
        let dropped = LayerDropout { p: 0.3, seed: 5, step: 1, layer: 2 };
        let (x, parameters) = (normal(1, &[3, 5, 16]), normal(2, &[spec.layout().n_parameters()]));
        let all = transformer_layer(&x, &parameters, spec, Some(dropped)).unwrap();
        let first = TransformerSpec { output: TokenOutput::First, ..spec };
        let first = transformer_layer(&x, &parameters, first, Some(dropped)).unwrap();
        assert_eq!(first.dims(), [3, 1, 16]);
        let difference = (all.narrow(1, 0, 1).unwrap() - first).unwrap();
        assert!(values(&difference).iter().all(|d| d.abs() < 1e-12), "norm_first {norm_first}: {difference}");
    }
}
