//! `selfie predict`

use selfie_data::Squares;
use selfie_model::InferenceModel;

use crate::arguments::Predict;
use crate::choice;
use crate::commands::data::exit_code;
use crate::context;
use crate::output;

/// Images that are decoded, on all cores, before they are classified together.
const BATCH: usize = 64;

pub(crate) fn run(arguments: &Predict) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::classifier_file(&arguments.weights)?;
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    // A network without classes is refused before an image is read.
    model.probabilities(&[]).map_err(|error| output::classifier(error, &arguments.weights))?;
    let pictures = choice::files(&arguments.images)?;
    let mut bad = Vec::new();
    for first in (0..pictures.len()).step_by(BATCH) {
        let range = first..pictures.len().min(first + BATCH);
        let squares: Squares = pictures.squares(range, model.image_size());
        let probs = model.probabilities_pixels(&squares.pixels).map_err(output::model)?;
        for (&picture, probs) in squares.pictures.iter().zip(probs.chunks_exact(model.classes().len())) {
            print(arguments, model.classes(), &pictures.name(picture), probs)?;
        }
        bad.extend(squares.bad);
    }
    for bad in &bad {
        output::note(&format!("left out: {}: expected an image, got {}", bad.path, bad.reason));
    }
    Ok(exit_code(&bad))
}

fn print(arguments: &Predict, classes: &[String], name: &str, probs: &[f32]) -> anyhow::Result<()> {
    let mut ranked: Vec<(&String, f32)> = classes.iter().zip(probs.iter().copied()).collect();
    if arguments.json {
        let probs: serde_json::Map<String, serde_json::Value> =
            ranked.into_iter().map(|(class, prob)| (class.clone(), prob.into())).collect();
        return output::print(&serde_json::json!({ "image": name, "probabilities": probs }).to_string());
    }
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let top = ranked.iter().take(arguments.top as usize).map(|(class, prob)| format!("{class} {:.1} %", 100.0 * prob));
    output::print(&format!("{name}: {}", top.collect::<Vec<_>>().join(", ")))
}
