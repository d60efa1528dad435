//! How alike two pictures are: `similarity WEIGHTS PICTURE PICTURE`.

#![expect(clippy::print_stdout, reason = "a program's result")]

use selfie_model::{InferenceModel, ModelError, RgbImage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, first, second] = arguments.as_slice() else {
        return Err("usage: similarity WEIGHTS PICTURE PICTURE".into());
    };
    println!("{:.4}", similarity(weights, first, second)?);
    Ok(())
}

/// The cosine of the angle between two pictures' embeddings, −1 to 1.
fn similarity(weights: &str, first: &str, second: &str) -> Result<f32, ModelError> {
    let model = InferenceModel::load(weights)?;
    let embeddings = model.embed(&[RgbImage::open(first)?, RgbImage::open(second)?])?;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (a, b) = (&embeddings[0], &embeddings[1]);
    Ok(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
}
