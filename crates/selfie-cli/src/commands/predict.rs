//! `selfie predict`

use std::path::Path;

use selfie_model::{InferenceModel, RgbImage};
use selfie_train::TrainError;

use crate::arguments::Predict;
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Predict) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::weights_file(&arguments.weights)?;
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    let pictures: anyhow::Result<Vec<RgbImage>> = arguments.images.iter().map(|path| picture(path)).collect();
    let probabilities = model.probabilities(&pictures?).map_err(output::model)?;
    for (path, probs) in arguments.images.iter().zip(probabilities) {
        let mut ranked: Vec<(&String, f32)> = model.classes().iter().zip(probs).collect();
        if arguments.json {
            let probs: serde_json::Map<String, serde_json::Value> =
                ranked.into_iter().map(|(class, prob)| (class.clone(), prob.into())).collect();
            let image = path.display().to_string();
            output::print(&serde_json::json!({ "image": image, "probabilities": probs }).to_string())?;
            continue;
        }
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let top = ranked.iter().take(arguments.top).map(|(class, prob)| format!("{class} {:.1} %", 100.0 * prob));
        output::print(&format!("{}: {}", path.display(), top.collect::<Vec<_>>().join(", ")))?;
    }
    Ok(0)
}

fn picture(path: &Path) -> anyhow::Result<RgbImage> {
    if !path.exists() {
        let hint = "expected an image file: JPEG, PNG, WebP or BMP".to_owned();
        return Err(TrainError::Missing { path: path.to_owned(), hint }.into());
    }
    RgbImage::open(path).map_err(output::model)
}
