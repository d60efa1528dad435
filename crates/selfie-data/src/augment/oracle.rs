//! Against torchvision: `testdata/augment.py` says how the golden images were made.

use std::sync::LazyLock;

use safetensors::SafeTensors;
use serde_json::Value;

use super::colour::{adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, grayscale};
use super::tone::{adjust_sharpness, autocontrast, equalize};
use super::*;

static FILE: &[u8] = include_bytes!("../../tests/golden/augment.safetensors");

static CONFIG: LazyLock<Value> = LazyLock::new(|| {
    let (_, metadata) = SafeTensors::read_metadata(FILE).unwrap();
    serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap()
});

/// A tensor's sides and bytes.
fn tensor(name: &str) -> (Vec<usize>, Vec<u8>) {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let view = file.tensor(name).unwrap();
    (view.shape().to_vec(), view.data().to_vec())
}

/// An image that torchvision changed: its sides, its bytes and what they became.
struct Case {
    name: String,
    parameters: Value,
    height: usize,
    width: usize,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Case {
    fn number(&self, key: &str) -> f64 {
        self.parameters[key].as_f64().unwrap()
    }

    fn count(&self, key: &str) -> usize {
        self.parameters[key].as_u64().unwrap() as usize
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        self.parameters[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    /// The input, changed in place.
    fn changed(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut image = self.input.clone();
        change(&mut image);
        image
    }
}

/// The cases of an operation; at least one.
fn cases(op: &str) -> Vec<Case> {
    let all = CONFIG["cases"].as_object().unwrap();
    let of_op = all.iter().filter(|(_, parameters)| parameters["op"] == op);
    let cases: Vec<Case> = of_op
        .map(|(name, parameters)| {
            let (shape, input) = tensor(&format!("input.{}", parameters["image"].as_str().unwrap()));
            let (_, output) = tensor(&format!("output.{name}"));
            let [.., height, width, _] = shape[..] else { panic!("{name}: {shape:?}") };
            Case { name: name.clone(), parameters: parameters.clone(), height, width, input, output }
        })
        .collect();
    assert!(!cases.is_empty(), "{op}");
    cases
}

/// How many values differ, and by how many levels at most.
fn distance(ours: &[u8], theirs: &[u8]) -> (usize, u8) {
    assert_eq!(ours.len(), theirs.len());
    let levels: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).collect();
    (levels.iter().filter(|level| **level > 0).count(), levels.into_iter().max().unwrap_or(0))
}

fn assert_same(case: &Case, ours: &[u8]) {
    assert_eq!(distance(ours, &case.output), (0, 0), "{}: differing values, levels", case.name);
}

#[test]
fn adjustments_of_colour_are_torchvisions_to_the_byte() {
    type Adjust = fn(&mut [u8], f64);
    let adjustments: [(&str, Adjust); 4] = [
        ("brightness", adjust_brightness),
        ("contrast", adjust_contrast),
        ("saturation", adjust_saturation),
        ("hue", adjust_hue),
    ];
    for (op, adjust) in adjustments {
        for case in cases(op) {
            assert_same(&case, &case.changed(|image| adjust(image, case.number("factor"))));
        }
    }
}

#[test]
fn tones_sharpness_and_grayscale_are_torchvisions_to_the_byte() {
    for (op, change) in
        [("grayscale", grayscale as fn(&mut [u8])), ("autocontrast", autocontrast), ("equalize", equalize)]
    {
        for case in cases(op) {
            assert_same(&case, &case.changed(change));
        }
    }
    for case in cases("sharpness") {
        assert_same(&case, &case.changed(|image| adjust_sharpness(image, case.width, case.number("factor"))));
    }
}

#[test]
fn colour_jitter_is_torchvisions_to_the_byte() {
    let adjustments = [Adjustment::Brightness, Adjustment::Contrast, Adjustment::Saturation, Adjustment::Hue];
    for case in cases("jitter") {
        let (order, factors) = (case.numbers("order"), case.numbers("factors"));
        let steps = std::array::from_fn(|at| (adjustments[order[at] as usize], factors[order[at] as usize]));
        assert_same(&case, &case.changed(|image| Adjustments(steps).apply(image)));
    }
}

#[test]
fn flips_and_padded_crops_are_torchvisions_to_the_byte() {
    for case in cases("flip") {
        assert_same(&case, &case.changed(|image| flip(image, case.width)));
    }
    for case in cases("pad_crop") {
        let padding = serde_json::from_value(case.parameters["padding"].clone()).unwrap();
        let crop = PaddedCrop { pad: case.count("pad"), padding };
        let shift = Shift { top: case.count("top"), left: case.count("left"), flip: false };
        let mut out = vec![0; case.input.len()];
        crop.apply(&case.input, case.width, shift, &mut out);
        assert_same(&case, &out);
    }
}

/// Three resizers that round between their two passes, each its own way: a sixth of torchvision's and Pillow's own values differ.
#[test]
fn resized_crops_are_within_one_level_of_torchvisions_and_pillows() {
    for case in cases("resized_crop") {
        let window = Window {
            top: case.count("top"),
            left: case.count("left"),
            height: case.count("height"),
            width: case.count("width"),
        };
        let side = case.count("side");
        let mut out = vec![0; side * side * 3];
        resize(&case.input, (case.height, case.width), window, side, &mut out);
        let (_, pillow) = tensor(&format!("output.{}.pillow", case.name));
        for theirs in [&case.output, &pillow] {
            let (n_differing, levels) = distance(&out, theirs);
            assert!(levels <= 1 && n_differing * 4 <= out.len(), "{}: {n_differing} values by {levels}", case.name);
        }
    }
}

/// Rotations and shears compute in f64 where torchvision has f32: a source in the middle between two pixels may go to either.
#[test]
fn operations_of_randaugment_are_torchvisions() {
    let names =
        ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"];
    let names = names.into_iter().chain(["Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"]);
    for (operation, name) in Operation::ALL.into_iter().zip(names) {
        let of_name: Vec<Case> =
            cases("rand_augment").into_iter().filter(|case| case.parameters["name"] == name).collect();
        assert_eq!(of_name.len(), if operation.is_signed() { 4 } else { 2 }, "{name}");
        for case in of_name {
            let negative = case.parameters["negative"].as_bool().unwrap();
            let step = Step { operation, bin: case.count("bin"), negative };
            let ours = case.changed(|image| step.apply(image, case.width));
            let (n_differing, _) = distance(&ours, &case.output);
            let turns = matches!(operation, Operation::ShearX | Operation::ShearY | Operation::Rotate);
            let allowed = if turns { ours.len() / 100 } else { 0 };
            assert!(n_differing <= allowed, "{}: {n_differing} of {} values", case.name, ours.len());
        }
    }
}

#[test]
fn magnitudes_of_randaugment_are_torchvisions() {
    let space = CONFIG["space"].as_array().unwrap();
    let (shape, _) = tensor("input.square");
    assert_eq!(space.len(), Operation::ALL.len());
    for (operation, theirs) in Operation::ALL.into_iter().zip(space) {
        assert_eq!(theirs[2].as_bool().unwrap(), operation.is_signed(), "{operation:?}");
        for (bin, expected) in theirs[1].as_array().unwrap().iter().enumerate() {
            let (expected, ours) = (expected.as_f64().unwrap(), operation.magnitude(bin, shape[0]));
            // torchvision multiplies and adds in one rounding on some processors.
            let rounding = f64::from(f32::EPSILON) * expected.abs();
            assert!((ours - expected).abs() <= rounding, "{operation:?} {bin}: {ours}, {expected}");
        }
    }
    assert_eq!(space[0][1].as_array().unwrap().len(), N_BINS);
}

/// torchvision mixes f32 after normalisation, we bytes: half a level and the sixteenth bit of the share.
#[test]
fn mixup_is_within_one_level_of_torchvisions_and_cutmix_is_the_same() {
    for case in cases("mixup") {
        let mix = Mix::Blend(case.number("share"));
        let (_, levels) = distance(&case.changed(|images| mix.apply_to_images(images, case.width)), &case.output);
        assert!(levels <= 1, "{}: {levels}", case.name);
    }
    for case in cases("cutmix") {
        let corners = case.numbers("box");
        let mix = Mix::Paste(std::array::from_fn(|at| corners[at] as usize));
        assert_same(&case, &case.changed(|images| mix.apply_to_images(images, case.width)));
    }
}

/// Means of as many windows as torchvision's, within five standard deviations of the difference.
#[test]
fn windows_are_distributed_as_torchvisions() {
    for row in CONFIG["windows"].as_array().unwrap() {
        let theirs: Vec<f64> = row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        let [height, width, min_scale, n_draws, area, ratio, whole] = theirs[..] else { panic!("{theirs:?}") };
        let (height, width) = (height as usize, width as usize);
        let crop = ResizedCrop { min_scale };
        let windows: Vec<Window> = (0..n_draws as u32)
            .map(|example| crop.draw(height, width, &mut Stream::new(3, Purpose::ResizedCrop, 0, example)))
            .collect();
        let mean = |of: &dyn Fn(&Window) -> f64| windows.iter().map(of).sum::<f64>() / n_draws;
        let image = (height * width) as f64;
        let differences = [
            mean(&|window| (window.height * window.width) as f64 / image) - area,
            mean(&|window| (window.width as f64 / window.height as f64).ln()) - ratio,
            mean(&|window| f64::from(u8::from(window.height == height && window.width == width))) - whole,
        ];
        // Standard deviations of one draw: an area uniform over the whole range, a ratio over its own, a rare event.
        let deviations = [0.29, 0.17, 0.06];
        for (difference, deviation) in differences.into_iter().zip(deviations) {
            let bound = 5.0 * deviation * (2.0 / n_draws).sqrt();
            assert!(difference.abs() < bound, "{height} × {width}: {differences:?}, bound {bound}");
        }
    }
}
