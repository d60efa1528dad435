//! `selfie predict`

use selfie_data::Pictures;
use selfie_model::{InferenceModel, RgbImage};

use crate::arguments::Predict;
use crate::context;
use crate::output;

/// Images that are decoded before they are classified together.
const PIECE: usize = 64;

pub(crate) fn run(arguments: &Predict) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::weights_file(&arguments.weights)?;
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    // A network without classes is refused before an image is read.
    model.probabilities(&[]).map_err(output::model)?;
    let pictures = Pictures::files(&arguments.images).map_err(output::data)?;
    let mut bad = Vec::new();
    for start in (0..pictures.len()).step_by(PIECE) {
        let (mut names, mut images) = (Vec::new(), Vec::new());
        for idx in start..pictures.len().min(start + PIECE) {
            match pictures.picture(idx) {
                Ok(picture) => {
                    let (width, height) = (picture.width as u32, picture.height as u32);
                    images.push(RgbImage::new(width, height, picture.pixels.into_owned()).map_err(output::model)?);
                    names.push(pictures.name(idx));
                }
                Err(error) => bad.push(error.to_string()),
            }
        }
        let probabilities = model.probabilities(&images).map_err(output::model)?;
        for (name, probs) in names.iter().zip(probabilities) {
            print(arguments, model.classes(), name, &probs)?;
        }
    }
    for error in &bad {
        output::note(&format!("left out: {error}"));
    }
    Ok(if bad.is_empty() { 0 } else { 65 })
}

fn print(arguments: &Predict, classes: &[String], name: &str, probs: &[f32]) -> anyhow::Result<()> {
    let mut ranked: Vec<(&String, f32)> = classes.iter().zip(probs.iter().copied()).collect();
    if arguments.json {
        let probs: serde_json::Map<String, serde_json::Value> =
            ranked.into_iter().map(|(class, prob)| (class.clone(), prob.into())).collect();
        return output::print(&serde_json::json!({ "image": name, "probabilities": probs }).to_string());
    }
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let top = ranked.iter().take(arguments.top).map(|(class, prob)| format!("{class} {:.1} %", 100.0 * prob));
    output::print(&format!("{name}: {}", top.collect::<Vec<_>>().join(", ")))
}
