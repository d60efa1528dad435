//! The operations and optimizers against what PyTorch computed in f64: `golden/ops.safetensors`, made by testdata/golden.py.
//!
//! A test takes every case of the file whose name begins as its family's, in f64 and f32, and has to use every tensor of the case.

use crate::device::device;
use crate::values;
use candle_core::{DType, Result, Tensor, Var};
use selfie_ops::{
    AdamW, ConvSpec, NormMode, Precision, SgdNesterov, adamw, attention, average_pool, batch_norm, conv2d,
    cross_entropy, exponential_average, gelu, global_norm, layer_norm, linear, max_pool, sgd_nesterov,
};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::slice::from_ref;

const GOLDEN: &[u8] = include_bytes!("../golden/ops.safetensors");
/// The largest max|a − b| / max|b| of a tensor.
const TOLERANCES: [(DType, f64); 2] = [(DType::F64, 1e-9), (DType::F32, 1e-4)];
const FAMILIES: [&str; 11] = [
    "conv",
    "batch_norm",
    "max_pool",
    "average_pool_",
    "global_average_pool",
    "layer_norm",
    "gelu",
    "linear",
    "attention",
    "cross_entropy",
    "optimizer",
];

/// The family of a case: what its name begins with.
fn family(case: &str) -> Option<&'static str> {
    if case.starts_with("sgd_nesterov") || case.starts_with("adamw") {
        return Some("optimizer");
    }
    FAMILIES.into_iter().find(|family| case.starts_with(family))
}

/// The constants of every case, by name.
fn cases() -> serde_json::Map<String, Value> {
    let (_, header) = safetensors::SafeTensors::read_metadata(GOLDEN).unwrap();
    let config: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
    config["cases"].as_object().unwrap().clone()
}

/// One case in one type.
struct Case {
    name: String,
    constants: Value,
    dtype: DType,
    tolerance: f64,
    /// The case's tensors in PyTorch's layout, by name without the case's.
    tensors: HashMap<String, Tensor>,
    unused: RefCell<BTreeSet<String>>,
}

impl Case {
    /// A tensor as PyTorch has it, in the case's type.
    fn get(&self, name: &str) -> Tensor {
        self.unused.borrow_mut().remove(name);
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name));
        tensor.to_dtype(self.dtype).unwrap()
    }

    /// An NCHW map as `[B, H, W, C]`.
    fn map(&self, name: &str) -> Tensor {
        self.get(name).permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
    }

    /// An OIHW weight as flat `[k, k, in, out]`.
    fn kernel(&self, name: &str) -> Tensor {
        self.get(name).permute((2, 3, 1, 0)).unwrap().contiguous().unwrap().flatten_all().unwrap()
    }

    /// Tensors end to end.
    fn flat(&self, names: &[&str]) -> Tensor {
        let parts: Vec<Tensor> = names.iter().map(|name| self.get(name).flatten_all().unwrap()).collect();
        Tensor::cat(&parts, 0).unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.constants[key].as_f64().unwrap_or_else(|| panic!("{}: no constant {key}", self.name))
    }

    fn size(&self, key: &str) -> usize {
        self.constants[key].as_u64().unwrap_or_else(|| panic!("{}: no constant {key}", self.name)) as usize
    }

    fn compare(&self, what: &str, got: &Tensor, expected: &Tensor) {
        let (case, dtype) = (&self.name, self.dtype);
        assert_eq!((got.dtype(), got.dims()), (dtype, expected.dims()), "{case}: {what} has another type or shape");
        let (got, expected) = (values(got), values(expected));
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        assert!(
            got.iter().all(|v| v.is_finite()) && largest > 0.0,
            "{case}: {what} is not finite or is expected to be zero"
        );
        let error = got.iter().zip(&expected).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(
            error <= self.tolerance,
            "{case}: {what} in {dtype:?}: expected at most {:e}, got {error:e}",
            self.tolerance
        );
    }

    /// Compares the parts of a flat tensor, each with an error of its own.
    fn compare_parts(&self, got: &Tensor, names: &[&str]) {
        let mut start = 0;
        for name in names {
            let expected = self.flat(&[name]);
            let length = expected.elem_count();
            self.compare(name, &got.narrow(0, start, length).unwrap(), &expected);
            start += length;
        }
        assert_eq!(start, got.elem_count(), "{}: {names:?} are not all parts", self.name);
    }
}

/// Runs `check` on every case of a family in both types.
fn each_case(wanted: &str, check: impl Fn(&Case)) {
    let all = candle_core::safetensors::load_buffer(GOLDEN, device()).unwrap();
    let mut n_checked = 0;
    for (name, constants) in cases() {
        if family(&name) != Some(wanted) {
            continue;
        }
        let of_case = |(key, tensor): (&String, &Tensor)| {
            let key = key.strip_prefix(&name)?.strip_prefix('.')?;
            Some((key.to_owned(), tensor.clone()))
        };
        let tensors: HashMap<String, Tensor> = all.iter().filter_map(of_case).collect();
        for (dtype, tolerance) in TOLERANCES {
            let unused = RefCell::new(tensors.keys().cloned().collect());
            let (name, constants, tensors) = (name.clone(), constants.clone(), tensors.clone());
            let case = Case { name, constants, dtype, tolerance, tensors, unused };
            check(&case);
            assert!(case.unused.borrow().is_empty(), "{}: not compared: {:?}", case.name, case.unused.borrow());
            n_checked += 1;
        }
    }
    assert!(n_checked > 0, "the file has no case of {wanted}");
}

/// y = f(inputs) and the gradients of Σ y · dy with respect to every input.
fn differentiate(inputs: &[Tensor], dy: &Tensor, f: impl Fn(&[Tensor]) -> Result<Tensor>) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tracked).unwrap();
    let gradients = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
    let gradients = tracked.iter().map(|x| gradients.get(x).unwrap().clone()).collect();
    (y, gradients)
}

#[test]
fn every_case_of_the_file_is_of_a_family_that_a_test_takes() {
    let all = candle_core::safetensors::load_buffer(GOLDEN, device()).unwrap();
    for name in all.keys() {
        let case = name.split('.').next().unwrap();
        assert!(cases().contains_key(case), "{name} is of no case");
        assert!(family(case).is_some(), "no test takes {case}");
    }
}

#[test]
fn convolutions_equal_pytorchs() {
    each_case("conv", |case| {
        let (x, weight) = (case.map("input.x"), case.get("weight.w"));
        let (out_channels, in_channels, ..) = weight.dims4().unwrap();
        let (kernel, stride, padding) = (case.size("kernel"), case.size("stride"), case.size("padding"));
        let spec = ConvSpec { kernel, stride, padding, in_channels, out_channels };
        let inputs = [x, case.kernel("weight.w")];
        let (y, gradients) = differentiate(&inputs, &case.map("input.dy"), |t| conv2d(&t[0], &t[1], spec));
        case.compare("y", &y, &case.map("output.y"));
        case.compare("dx", &gradients[0], &case.map("grad.x"));
        case.compare("dw", &gradients[1], &case.kernel("grad.w"));
    });
}

#[test]
fn batch_norms_and_their_running_statistics_equal_pytorchs() {
    each_case("batch_norm", |case| {
        assert_eq!(case.number("eps"), 1e-5);
        let with_relu = case.constants["relu"].as_bool().unwrap();
        let inputs = [case.map("input.x"), case.flat(&["weight.scale", "weight.bias"])];
        let statistics = RefCell::new(None);
        let (y, gradients) = differentiate(&inputs, &case.map("input.dy"), |t| {
            let normalised = batch_norm(&t[0], &t[1], NormMode::Batch, with_relu)?;
            *statistics.borrow_mut() = normalised.statistics;
            Ok(normalised.y)
        });
        case.compare("y", &y, &case.map("output.y"));
        case.compare("dx", &gradients[0], &case.map("grad.x"));
        case.compare_parts(&gradients[1], &["grad.scale", "grad.bias"]);

        let running = Var::from_tensor(&case.flat(&["weight.running_mean", "weight.running_var"])).unwrap();
        let evaluated = batch_norm(&inputs[0], &inputs[1], NormMode::Running(&running), with_relu).unwrap();
        assert!(evaluated.statistics.is_none());
        case.compare("y by running statistics", &evaluated.y, &case.map("output.eval_y"));

        let statistics = statistics.into_inner().unwrap();
        exponential_average(&running, &statistics, 1.0 - case.number("momentum")).unwrap();
        case.compare_parts(&running, &["after.running_mean", "after.running_var"]);
    });
}

#[test]
fn max_pools_equal_pytorchs() {
    each_case("max_pool", |case| {
        assert_eq!((case.size("kernel"), case.size("stride"), case.size("padding")), (3, 2, 1));
        let (y, gradients) = differentiate(&[case.map("input.x")], &case.map("input.dy"), |t| max_pool(&t[0]));
        case.compare("y", &y, &case.map("output.y"));
        case.compare("dx", &gradients[0], &case.map("grad.x"));
    });
}

#[test]
fn global_average_pools_equal_pytorchs() {
    each_case("global_average_pool", |case| {
        let pool = |t: &[Tensor]| average_pool(&t[0], 1)?.flatten_from(1);
        let (y, gradients) = differentiate(&[case.map("input.x")], &case.get("input.dy"), pool);
        case.compare("y", &y, &case.get("output.y"));
        case.compare("dx", &gradients[0], &case.map("grad.x"));
    });
}

#[test]
fn average_pools_of_cells_equal_pytorchs() {
    each_case("average_pool_", |case| {
        assert_eq!((case.size("kernel"), case.size("stride")), (2, 2));
        let x = case.map("input.x");
        assert_eq!(x.dims()[1..3], [6, 4]);
        // Ours makes as many cells down as across: 2 × 2 of the first four rows, and of the last four for the third row of cells.
        let pool = |t: &[Tensor]| {
            let first = average_pool(&t[0].narrow(1, 0, 4)?, 2)?;
            let last = average_pool(&t[0].narrow(1, 2, 4)?, 2)?.narrow(1, 1, 1)?;
            Tensor::cat(&[first, last], 1)
        };
        let (y, gradients) = differentiate(&[x], &case.map("input.dy"), pool);
        case.compare("y", &y, &case.map("output.y"));
        case.compare("dx", &gradients[0], &case.map("grad.x"));
    });
}

#[test]
fn layer_norms_equal_pytorchs() {
    each_case("layer_norm", |case| {
        assert_eq!(case.number("eps"), 1e-5);
        let inputs = [case.get("input.x"), case.flat(&["weight.scale", "weight.bias"])];
        let (y, gradients) = differentiate(&inputs, &case.get("input.dy"), |t| layer_norm(&t[0], &t[1]));
        case.compare("y", &y, &case.get("output.y"));
        case.compare("dx", &gradients[0], &case.get("grad.x"));
        case.compare_parts(&gradients[1], &["grad.scale", "grad.bias"]);
    });
}

#[test]
fn gelu_equals_pytorchs() {
    each_case("gelu", |case| {
        let (y, gradients) = differentiate(&[case.get("input.x")], &case.get("input.dy"), |t| gelu(&t[0]));
        case.compare("y", &y, &case.get("output.y"));
        case.compare("dx", &gradients[0], &case.get("grad.x"));
    });
}

#[test]
fn linear_layers_equal_pytorchs() {
    each_case("linear", |case| {
        let out = case.get("weight.b").elem_count();
        let inputs = [case.get("input.x"), case.flat(&["weight.w", "weight.b"])];
        let (y, gradients) =
            differentiate(&inputs, &case.get("input.dy"), |t| linear(&t[0], &t[1], out, Precision::Full));
        case.compare("y", &y, &case.get("output.y"));
        case.compare("dx", &gradients[0], &case.get("grad.x"));
        case.compare_parts(&gradients[1], &["grad.w", "grad.b"]);
    });
}

#[test]
fn multi_head_attention_between_its_projections_equals_pytorchs() {
    each_case("attention", |case| {
        let x = case.get("input.x");
        let width = x.dims()[2];
        let in_projection = case.flat(&["weight.in_proj_weight", "weight.in_proj_bias"]);
        let out_projection = case.flat(&["weight.out_proj.weight", "weight.out_proj.bias"]);
        let attend = |t: &[Tensor]| {
            let qkv = linear(&t[0], &t[1], 3 * width, Precision::Full)?;
            linear(&attention(&qkv, case.size("heads"), None)?, &t[2], width, Precision::Full)
        };
        let (y, gradients) = differentiate(&[x, in_projection, out_projection], &case.get("input.dy"), attend);
        case.compare("y", &y, &case.get("output.y"));
        case.compare("dx", &gradients[0], &case.get("grad.x"));
        case.compare_parts(&gradients[1], &["grad.in_proj_weight", "grad.in_proj_bias"]);
        case.compare_parts(&gradients[2], &["grad.out_proj.weight", "grad.out_proj.bias"]);
    });
}

#[test]
fn cross_entropies_with_and_without_smoothing_equal_pytorchs() {
    each_case("cross_entropy", |case| {
        let labels: Vec<u32> = values(&case.get("input.labels")).into_iter().map(|label| label as u32).collect();
        let smoothing = case.number("label_smoothing");
        let one = Tensor::ones((), case.dtype, device()).unwrap();
        let entropy = |t: &[Tensor]| cross_entropy(&t[0], &labels, smoothing);
        let (loss, gradients) = differentiate(&[case.get("input.logits")], &one, entropy);
        case.compare("loss", &loss.reshape(1).unwrap(), &case.get("output.loss"));
        case.compare("d_logits", &gradients[0], &case.get("grad.logits"));
    });
}

/// The factor that clips a gradient of this norm as PyTorch's `clip_grad_norm_` does.
fn clipping(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

#[test]
fn optimizer_steps_with_decay_on_a_range_and_clipping_equal_pytorchs() {
    each_case("optimizer", |case| {
        let constants = &case.constants;
        let parameter = Var::from_tensor(&case.flat(&["weight.matrix", "weight.vector"])).unwrap();
        let [first, second] = [0, 1].map(|_| Var::from_tensor(&parameter.zeros_like().unwrap()).unwrap());
        let decayed = 0..case.get("weight.matrix").elem_count();
        assert_eq!(constants["weight_decay"]["vector"].as_f64(), Some(0.0));
        let weight_decay = constants["weight_decay"]["matrix"].as_f64().unwrap();
        for (i, lr) in constants["lr"].as_array().unwrap().iter().enumerate() {
            let (step, lr) = (i as u32 + 1, lr.as_f64().unwrap());
            let of_step = ["matrix", "vector"].map(|name| format!("{step}.{name}"));
            let gradients = of_step.each_ref().map(|name| case.get(&format!("input.{name}")).flatten_all().unwrap());
            let mut gradient_scale = 1.0;
            if let Some(max_norm) = constants["max_norm"].as_f64() {
                let norm = global_norm(&gradients).unwrap();
                let got = Tensor::new(&[norm], device()).unwrap().to_dtype(case.dtype).unwrap();
                case.compare("norm", &got, &case.get(&format!("output.{step}.norm")));
                gradient_scale = clipping(norm, max_norm);
            }
            let gradient = Tensor::cat(&gradients, 0).unwrap();
            if let Some(betas) = constants["betas"].as_array() {
                let (beta1, beta2) = (betas[0].as_f64().unwrap(), betas[1].as_f64().unwrap());
                let epsilon = case.number("eps");
                let rule = AdamW { lr, beta1, beta2, epsilon, weight_decay, gradient_scale, step };
                adamw(&parameter, (&first, &second), &gradient, rule, from_ref(&decayed)).unwrap();
            } else {
                let rule = SgdNesterov { lr, momentum: case.number("momentum"), weight_decay, gradient_scale };
                sgd_nesterov(&parameter, &first, &gradient, rule, from_ref(&decayed)).unwrap();
            }
            let after = of_step.map(|name| format!("after.{name}"));
            case.compare_parts(&parameter, &after.each_ref().map(String::as_str));
        }
    });
}
