//! `selfie predict`

use selfie_model::{InferenceModel, RgbImage};
use selfie_train::checkpoint::WEIGHTS;

use crate::arguments::Predict;
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Predict) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let path = &arguments.weights;
    let weights = if path.is_dir() { path.join(WEIGHTS) } else { path.clone() };
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    let pictures: Result<Vec<RgbImage>, _> = arguments.images.iter().map(RgbImage::open).collect();
    let probabilities = model.probabilities(&pictures.map_err(output::model)?).map_err(output::model)?;
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
