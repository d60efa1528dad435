//! `selfie export`

use std::path::{Path, PathBuf};

use clap::Args;
use selfie_eval::card::Card;
use selfie_model::{Architecture, Metadata, Stem, WeightsFile};
use selfie_train::checkpoint::{EXPORTED_FILES, EXPORTED_WEIGHTS};
use selfie_train::run_folder::{read_record, read_result};
use selfie_train::{TrainError, hash_file, write_atomic};
use serde_json::{Value, json};

use crate::context;
use crate::output;

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// A run folder or a weights file
    pub(crate) weights: PathBuf,
    /// The folder to make: model.safetensors, config.json, README.md
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Write model.onnx as well: u8 pixels to the embedding and, of a classifier, to its logits
    #[arg(long)]
    pub(crate) onnx: bool,
    /// The model's name in its card [default: the run's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Licence of the weights as the Hugging Face hub names it, e.g. mit, apache-2.0
    #[arg(long)]
    pub(crate) license: Option<String>,
}

pub(crate) fn run(arguments: &Export) -> anyhow::Result<u8> {
    let weights = context::weights_file(&arguments.weights)?;
    let file = WeightsFile::read(&weights).map_err(output::model)?;
    let run = if arguments.weights.is_dir() { arguments.weights.clone() } else { parent(&weights) };
    let (record, result) = (read_record(&run)?, read_result(&run)?);
    let weights_hash = hash_file(&weights)?;
    // Records beside a weights file of another run would tell tales.
    let result = result.filter(|result| result.weights_hash == weights_hash);
    let record = record.filter(|_| result.is_some());

    make_folder(&arguments.out)?;
    let mut files = vec![(
        EXPORTED_WEIGHTS.to_owned(),
        format!("the weights, named as {} names them", if is_v2(&file) { "timm" } else { "torchvision" }),
    )];
    let write = |name: &str, bytes: &[u8]| write_atomic(&arguments.out.join(name), bytes);
    write(EXPORTED_WEIGHTS, &std::fs::read(&weights)?)?;
    if let Some(bytes) = file.convolutional().map_err(output::model)? {
        write("resnet.safetensors", &bytes)?;
        let what = "stem and stages 1 to 3 alone under those names, for `load_state_dict(…, strict=False)`";
        files.push(("resnet.safetensors".to_owned(), what.to_owned()));
    }
    write("config.json", (serde_json::to_string_pretty(&config(&file))? + "\n").as_bytes())?;
    if arguments.onnx {
        write("model.onnx", &file.to_onnx().map_err(output::model)?)?;
        files.push((
            "model.onnx".to_owned(),
            "from u8 pixels `[B, H, W, 3]` to the embedding, for any runtime".to_owned(),
        ));
    }
    let default_name = run.file_name().map_or_else(|| "selfie".to_owned(), |name| name.to_string_lossy().into_owned());
    let card = Card {
        name: arguments.name.as_ref().unwrap_or(&default_name),
        metadata: &file.metadata,
        n_parameters: file.tensors.values().map(candle_core::Tensor::elem_count).sum(),
        weights_hash: &weights_hash,
        record: record.as_ref(),
        result: result.as_ref(),
        license: arguments.license.as_deref(),
        files: &files,
    };
    write("README.md", card.text().as_bytes())?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).chain(["config.json", "README.md"]).collect();
    remove_others(&arguments.out, &names)?;
    output::print(&format!("{}: {}", arguments.out.display(), names.join(", ")))?;
    Ok(0)
}

/// Makes the folder, unless it holds something that is no earlier export.
fn make_folder(out: &Path) -> anyhow::Result<()> {
    let failed = |source| TrainError::CannotCreate { path: out.to_owned(), source };
    selfie_train::make_folder(out)?;
    let entries: Result<Vec<_>, _> = std::fs::read_dir(out).map_err(failed)?.collect();
    let names: Vec<_> = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name()).collect();
    let is_ours = names.is_empty() || names.iter().any(|name| name == EXPORTED_WEIGHTS);
    let other = names.iter().find(|name| !is_ours || !EXPORTED_FILES.iter().any(|file| *name == *file));
    if let Some(other) = other {
        let found = other.display().to_string();
        return Err(TrainError::NotARunFolder { path: out.to_owned(), found }.into());
    }
    Ok(())
}

/// Removes what an earlier export left and this one did not write: it would be of another model. Afterwards, because the
/// weights may be those of the same folder.
fn remove_others(out: &Path, written: &[&str]) -> anyhow::Result<()> {
    for name in EXPORTED_FILES.iter().filter(|name| !written.contains(name)) {
        let path = out.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|source| TrainError::CannotCreate { path, source })?;
        }
    }
    Ok(())
}

fn parent(file: &Path) -> PathBuf {
    std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default()
}

fn is_v2(file: &WeightsFile) -> bool {
    file.metadata.network().architecture == Architecture::Resnet50V2
}

/// What timm's `hf-hub:` loader reads, where the network is one of timm's, and our own metadata.
fn config(file: &WeightsFile) -> Value {
    let network = file.metadata.network();
    let (size, constants) = (network.image_size, network.normalization);
    let classes: &[String] = match &file.metadata {
        Metadata::Pretraining(_) => &[],
        Metadata::Classifier(classifier) => &classifier.classes,
    };
    let mut config = json!({
        "num_classes": classes.len(),
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "mean": constants.mean,
            "std": constants.std,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "label_names": classes,
        },
        "selfie": file.metadata,
    });
    let theirs = network.width == 64 && network.depths == [3, 4, 6, 3] && network.stem == Stem::SevenBySeven;
    if theirs {
        config["architecture"] = if is_v2(file) { "resnetv2_50".into() } else { "resnet50".into() };
    }
    config
}
