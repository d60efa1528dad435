//! Against Pillow's decoder and torchvision's resized crop: `testdata/jpeg.py` says how the golden images were made.

use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::augment::{Window, resize};

static FILE: &[u8] = include_bytes!("../../tests/golden/jpeg.safetensors");

fn tensor(name: &str) -> Vec<u8> {
    SafeTensors::deserialize(FILE).unwrap().tensor(name).unwrap().data().to_vec()
}

fn decoded(name: &str) -> Rgb<'static> {
    decode(&tensor(&format!("file.{name}")), Path::new(name)).unwrap()
}

/// Mean and largest difference, levels.
fn distance(ours: &[u8], theirs: &[u8]) -> (f64, u8) {
    assert_eq!(ours.len(), theirs.len());
    let levels = || ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
    (levels().map(f64::from).sum::<f64>() / ours.len() as f64, levels().max().unwrap_or(0))
}

/// Two decoders round their inverse transforms and their colours each its own way; the standard allows it.
#[test]
fn pixels_of_a_jpeg_are_within_a_few_levels_of_pillows() {
    for name in ["half_chroma", "full_chroma", "progressive", "grey"] {
        let (mean, most) = distance(&decoded(name).pixels, &tensor(&format!("pixels.{name}")));
        assert!(mean <= 0.5 && most <= 4, "{name}: {mean} levels on average, {most} at most");
    }
}

#[test]
fn crops_of_a_jpeg_are_within_a_few_levels_of_torchvisions() {
    let (_, metadata) = SafeTensors::read_metadata(FILE).unwrap();
    let config: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
    for (case, parameters) in config.as_object().unwrap() {
        let number = |key: &str| parameters[key].as_u64().unwrap() as usize;
        let (height, width) = (number("height"), number("width"));
        let window = Window { top: number("top"), left: number("left"), height, width };
        let (image, side) = (decoded(parameters["file"].as_str().unwrap()), number("side"));
        let mut out = vec![0; side * side * N_CHANNELS];
        resize(&image.pixels, (image.height, image.width), window, side, &mut out);
        let (mean, most) = distance(&out, &tensor(&format!("output.{case}")));
        assert!(mean <= 0.5 && most <= 4, "{case}: {mean} levels on average, {most} at most");
    }
}
