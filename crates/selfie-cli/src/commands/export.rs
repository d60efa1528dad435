//! `selfie export`

use std::path::{Path, PathBuf};

use clap::Args;
use selfie_eval::card::Card;
use selfie_model::{Architecture, ClassifierKind, Metadata, SelfieConfig, Stem, WeightsFile};
use selfie_train::checkpoint::{EXPORTED_FILES, EXPORTED_WEIGHTS};
use selfie_train::run_folder::{read_record, read_result};
use selfie_train::{TrainError, hash_bytes, hash_file, write_atomic};
use serde_json::{Value, json};

use crate::context;
use crate::output;

#[cfg(test)]
mod tests;

/// The model card.
const CARD: &str = "README.md";
const CONFIG: &str = "config.json";
const ONNX: &str = "model.onnx";
/// The key of the card's hash: whoever changed the card does not lose it.
const CARD_HASH: &str = "card_blake3";

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
    #[arg(long, value_parser = license)]
    pub(crate) license: Option<String>,
    /// Replace another network's export, or a model card that was changed
    #[arg(long)]
    pub(crate) replace: bool,
}

/// A licence's name on the hub.
fn license(text: &str) -> Result<String, String> {
    let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.+".contains(&byte);
    let is_name = !text.is_empty() && text.bytes().all(is_of_names);
    let expected =
        "expected a licence as the hub names it, of lowercase letters, digits, '.' and '-', such as apache-2.0";
    if is_name { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
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

    let mut files = files(&file, &weights, arguments.onnx)?;
    let default_name = run.file_name().map_or_else(|| "selfie".to_owned(), |name| name.to_string_lossy().into_owned());
    let listed: Vec<(String, String)> = files.iter().map(|file| (file.name.to_owned(), file.what.clone())).collect();
    let name = arguments.name.as_ref().unwrap_or(&default_name);
    let card = Card {
        name,
        metadata: &file.metadata,
        n_parameters: file.tensors.values().map(candle_core::Tensor::elem_count).sum(),
        weights_hash: &weights_hash,
        record: record.as_ref(),
        result: result.as_ref(),
        license: arguments.license.as_deref(),
        files: &listed,
    };
    let card = card.text();
    let config = serde_json::to_string_pretty(&config(&file, &card))? + "\n";
    files.push(File { name: CONFIG, what: String::new(), bytes: config.into_bytes() });
    files.push(File { name: CARD, what: String::new(), bytes: card.into_bytes() });

    make_folder(&arguments.out)?;
    if !arguments.replace {
        require_replaceable(&arguments.out, &weights_hash, &files)?;
    }
    let lost = lost(arguments, &weights_hash, name);
    for file in &files {
        let path = arguments.out.join(file.name);
        if std::fs::read(&path).is_ok_and(|was| was != file.bytes) {
            output::note(&format!("replaced {}", path.display()));
        }
        write_atomic(&path, &file.bytes)?;
    }
    lost.iter().for_each(|lost| output::note(lost));
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    remove_others(&arguments.out, &names)?;
    output::print(&format!("{}: {}", arguments.out.display(), names.join(", ")))?;
    Ok(0)
}

/// A file of the folder.
struct File {
    name: &'static str,
    /// What the card says of it.
    what: String,
    bytes: Vec<u8>,
}

/// The files that hold the network.
fn files(file: &WeightsFile, weights: &Path, onnx: bool) -> anyhow::Result<Vec<File>> {
    let what = about_weights(&file.metadata);
    let mut files = vec![File { name: EXPORTED_WEIGHTS, what, bytes: std::fs::read(weights)? }];
    if let Some(bytes) = file.convolutional().map_err(output::model)? {
        files.push(File { name: "resnet.safetensors", what: about_stages(file.metadata.network()), bytes });
    }
    if onnx {
        let to = match &file.metadata {
            Metadata::Pretraining(_) => "the output `embedding`",
            Metadata::Classifier(_) => "the outputs `embedding` and `logits`",
        };
        let what = format!("from u8 pixels `[B, H, W, 3]` to {to}, for any runtime");
        files.push(File { name: ONNX, what, bytes: file.to_onnx().map_err(output::model)? });
    }
    Ok(files)
}

/// Whose names the weights have, and who loads them.
fn about_weights(metadata: &Metadata) -> String {
    let network = metadata.network();
    if is_whole(metadata) {
        let into = if has_their_shapes(network) { "which loads them" } else { "in other shapes than its own" };
        return format!("the weights, under the names of {}, {into}", theirs(network));
    }
    let ours = "the weights, under Selfie's own names, for `selfie` and its crate selfie-model alone";
    match metadata {
        Metadata::Pretraining(_) => format!("{ours}; `selfie finetune --from model.safetensors` goes on from them"),
        Metadata::Classifier(_) => ours.to_owned(),
    }
}

/// Whose names the stem and stages 1 to 3 have once they are alone.
fn about_stages(network: &SelfieConfig) -> String {
    // PyTorch refuses other shapes even where it is not strict.
    let of = if has_their_shapes(network) { "" } else { " of a network with this width, these depths and this stem" };
    format!(
        "stem and stages 1 to 3 alone, under the names of {}, for `load_state_dict(…, strict=False)`{of}",
        theirs(network)
    )
}

/// Refuses to replace the export of another network, and a card that is not as an export wrote it.
fn require_replaceable(out: &Path, weights_hash: &str, files: &[File]) -> anyhow::Result<()> {
    let weights = out.join(EXPORTED_WEIGHTS);
    if weights.exists() && hash_file(&weights)? != weights_hash {
        return Err(TrainError::WouldReplace { path: weights, why: "is of another network" }.into());
    }
    let path = out.join(CARD);
    let Ok(card) = std::fs::read(&path) else { return Ok(()) };
    let as_written = std::fs::read(out.join(CONFIG))
        .ok()
        .and_then(|config| serde_json::from_slice::<Value>(&config).ok()?[CARD_HASH].as_str().map(str::to_owned));
    let is_as_written = as_written.is_some_and(|hash| hash == hash_bytes(&card));
    if is_as_written || files.iter().any(|file| file.name == CARD && file.bytes == card) {
        return Ok(());
    }
    Err(TrainError::WouldReplace { path, why: "was changed since it was exported" }.into())
}

/// What the card of an earlier export of this network says and the new one will not, and the flags that keep it.
fn lost(arguments: &Export, weights_hash: &str, name: &str) -> Vec<String> {
    let is_same = hash_file(&arguments.out.join(EXPORTED_WEIGHTS)).is_ok_and(|hash| hash == weights_hash);
    let Some(card) = std::fs::read_to_string(arguments.out.join(CARD)).ok().filter(|_| is_same) else {
        return Vec::new();
    };
    let value = |start: &str| card.lines().find_map(|line| line.strip_prefix(start)).map(|text| text.trim_matches('"'));
    let lost = |what: &str, flag: &str, was: &str| {
        format!(
            "{}: the {what} `{was}` of the earlier export is gone; {flag} '{was}' keeps it",
            arguments.out.join(CARD).display()
        )
    };
    let license =
        value("license: ").filter(|_| arguments.license.is_none()).map(|was| lost("licence", "--license", was));
    let named =
        value("# ").filter(|was| arguments.name.is_none() && *was != name).map(|was| lost("name", "--name", was));
    license.into_iter().chain(named).collect()
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
            let keep = if *name == ONNX { "; --onnx keeps it" } else { "" };
            output::note(&format!("removed {}, of an earlier export{keep}", path.display()));
            std::fs::remove_file(&path).map_err(|source| TrainError::CannotCreate { path, source })?;
        }
    }
    Ok(())
}

fn parent(file: &Path) -> PathBuf {
    std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default()
}

/// Whether every tensor is named as in another program's network: only the whole ResNet is one of theirs.
fn is_whole(metadata: &Metadata) -> bool {
    matches!(metadata, Metadata::Classifier(classifier) if classifier.kind == ClassifierKind::Stage4)
}

/// Whether the network has the width, the depths and the stem of timm's and torchvision's.
fn has_their_shapes(network: &SelfieConfig) -> bool {
    network.width == 64 && network.depths == [3, 4, 6, 3] && network.stem == Stem::SevenBySeven
}

/// The network whose names ours are.
fn theirs(network: &SelfieConfig) -> &'static str {
    match network.architecture {
        Architecture::Resnet50V2 => "timm's `resnetv2_50`",
        Architecture::Resnet50V15 => "torchvision's `resnet50`",
    }
}

/// What timm's `hf-hub:` loader reads, and our own metadata. That loader is strict: where it would fail, there is no
/// `architecture` for it.
fn config(file: &WeightsFile, card: &str) -> Value {
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
        CARD_HASH: hash_bytes(card.as_bytes()),
    });
    if is_whole(&file.metadata) && has_their_shapes(network) {
        config["architecture"] = match network.architecture {
            Architecture::Resnet50V2 => "resnetv2_50".into(),
            Architecture::Resnet50V15 => "resnet50".into(),
        };
    }
    config
}
