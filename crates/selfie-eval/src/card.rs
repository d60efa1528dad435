//! A model card: Markdown for people, with the metadata that the Hugging Face hub reads in front.

use selfie_model::{Architecture, Metadata, Stem};

use crate::record::{Outcome, PRETEXT_STEPS, ResultRecord, RunRecord, Split};

#[cfg(test)]
mod tests;

/// What a card is filled from.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// The model's name.
    pub name: &'a str,
    /// What network it is.
    pub metadata: &'a Metadata,
    /// Numbers in the weights file.
    pub n_parameters: usize,
    /// BLAKE3 of the weights file, hexadecimal.
    pub weights_hash: &'a str,
    /// The run that made it, where it is known.
    pub record: Option<&'a RunRecord>,
    /// How that run ended.
    pub result: Option<&'a ResultRecord>,
    /// Licence of the weights, as the hub names it; none if it was not chosen.
    pub license: Option<&'a str>,
    /// Files beside the card.
    pub files: &'a [(String, String)],
}

impl Card<'_> {
    /// The text of `README.md`.
    #[must_use]
    pub fn text(&self) -> String {
        let sections = [
            self.front_matter(),
            format!("# {}\n\n{}\n", self.name, self.summary()),
            self.results(),
            self.use_it(),
            self.training(),
            self.limits(),
        ];
        sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn classes(&self) -> Option<&[String]> {
        match self.metadata {
            Metadata::Pretraining(_) => None,
            Metadata::Classifier(classifier) => Some(&classifier.classes),
        }
    }

    /// The data set's name: that of the user's own folder, where the recipe's set is only its form.
    fn set(&self) -> Option<&str> {
        let record = self.record?;
        record.data_name.as_deref().or_else(|| record.config.pointer("/data/set")?.as_str())
    }

    /// YAML between lines of dashes. Texts are quoted as JSON does, which YAML reads.
    fn front_matter(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let task = if self.classes().is_some() { "image-classification" } else { "image-feature-extraction" };
        let mut lines = vec!["---".to_owned(), "library_name: selfie".to_owned(), format!("pipeline_tag: {task}")];
        lines.extend(self.license.map(|license| format!("license: {}", quoted(license))));
        lines.extend(["tags:", "- selfie", "- self-supervised-learning", "- resnet"].map(str::to_owned));
        if let Some(set) = self.set().and_then(hub_name) {
            lines.extend(["datasets:".to_owned(), format!("- {set}")]);
        }
        if let (Some(set), Some((split, accuracy))) = (self.set(), self.accuracy()) {
            lines.extend([
                "metrics:".to_owned(),
                "- accuracy".to_owned(),
                "model-index:".to_owned(),
                format!("- name: {}", quoted(self.name)),
                "  results:".to_owned(),
                "  - task:".to_owned(),
                format!("      type: {task}"),
                "    dataset:".to_owned(),
                format!("      name: {}", quoted(set)),
                format!("      type: {}", quoted(hub_name(set).unwrap_or(set))),
                format!("      split: {split}"),
                "    metrics:".to_owned(),
                "    - type: accuracy".to_owned(),
                format!("      value: {accuracy:.4}"),
            ]);
        }
        lines.push("---\n".to_owned());
        lines.join("\n")
    }

    fn accuracy(&self) -> Option<(Split, f64)> {
        match self.result?.outcome {
            Outcome::Classification { split, top1_accuracy, .. } => Some((split, top1_accuracy)),
            Outcome::Pretext { .. } => None,
        }
    }

    fn summary(&self) -> String {
        let network = self.metadata.network();
        let version = match network.architecture {
            Architecture::Resnet50V2 => "v2",
            Architecture::Resnet50V15 => "v1.5",
        };
        // Only these depths make it a ResNet-50.
        let fifty = if network.depths == [3, 4, 6, 3] { "-50" } else { "" };
        let stem = match network.stem {
            Stem::ThreeByThree => "a 3 × 3 stem for small images",
            Stem::SevenBySeven => "a 7 × 7 stem",
        };
        let depths = network.depths.map(|depth| depth.to_string()).join("-");
        let what = match self.classes() {
            Some(classes) => format!("A classifier of {} classes", classes.len()),
            None => "A network pretrained without labels".to_owned(),
        };
        let (size, width, n_parameters) = (network.image_size, network.width, self.n_parameters);
        format!(
            "{what}: ResNet{fifty} {version} of width {width} and depths {depths} with {stem}, for images of {size} × {size} \
             pixels; {:.2} million numbers, running statistics included. Pretraining is Selfie's (Trinh, Luong & Le 2019, arXiv 1906.02940): patches \
             of an image are hidden, and the network chooses for each hidden place the right one among them.",
            n_parameters as f64 / 1e6
        )
    }

    fn results(&self) -> String {
        let Some(result) = self.result else { return String::new() };
        let line = match &result.outcome {
            Outcome::Pretext { loss, accuracy, chance } => format!(
                "Pretext accuracy {:.1} % (chance {:.1} %), loss {loss:.4}, means of the last {} steps.",
                100.0 * accuracy,
                100.0 * chance,
                result.steps.min(PRETEXT_STEPS)
            ),
            Outcome::Classification { split, top1_accuracy, loss, n_examples, .. } => format!(
                "{:.2} % of {n_examples} images of the {split} split are classified right; mean cross entropy {loss:.4}.",
                100.0 * top1_accuracy
            ),
        };
        let labels = self.record.and_then(|record| record.fraction).map_or_else(String::new, |fraction| {
            format!(" {:.4} % of the labels were used.", 100.0 * fraction).replace(".0000", "")
        });
        format!("## Results\n\n{line}{labels} One run with one seed: no error bars.\n")
    }

    fn use_it(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|(name, what)| format!("- `{name}`: {what}")).collect();
        let command = if self.classes().is_some() { "predict" } else { "embed" };
        let out = if self.classes().is_some() { "" } else { " --out embeddings.npy" };
        format!(
            "## Use\n\n{}\n\n```sh\nselfie {command} model.safetensors images/*.jpg{out}\n```\n\nIn a Rust program: \
             `selfie_model::InferenceModel::load(\"model.safetensors\")`.\n",
            files.join("\n")
        )
    }

    fn training(&self) -> String {
        let Some(record) = self.record else {
            return format!("## Training\n\nUnknown. BLAKE3 of the weights: `{}`.\n", self.weights_hash);
        };
        let mut rows = vec![
            ("recipe", record.recipe.clone()),
            ("task", record.task.to_string()),
            ("seed", record.seed.to_string()),
            ("number type", record.dtype.clone()),
            ("device", record.device.clone()),
            ("machine", format!("{}, {} cores", record.machine.cpu, record.machine.n_cores)),
            ("version", format!("selfie {}", record.version)),
            ("begun", record.created.clone()),
        ];
        if let Some(from) = &record.pretrained_from {
            rows.push(("started from", format!("weights of BLAKE3 `{}`", from.hash)));
        }
        if let Some(result) = self.result {
            rows.push(("steps", result.steps.to_string()));
            rows.push(("time", format!("{:.1} min, {:.1} images/s", result.wall_s / 60.0, result.images_per_s)));
        }
        if let Some(warmup) = record.warmup_steps {
            let configured = record.config.get(record.task.name()).and_then(|task| task.get("warmup_steps")?.as_u64());
            let shortened = configured.filter(|&configured| configured != warmup);
            let why = shortened.map_or_else(String::new, |n| format!(", a tenth of all, instead of {n}"));
            rows.push(("warm-up", format!("{warmup} steps{why}")));
        }
        rows.extend(record.data_hashes.iter().map(|(split, hash)| match split.as_str() {
            "train" => ("training data, BLAKE3", format!("`{hash}`")),
            _ => ("test data, BLAKE3", format!("`{hash}`")),
        }));
        rows.push(("weights, BLAKE3", format!("`{}`", self.weights_hash)));
        let rows: Vec<String> = rows.iter().map(|(key, value)| format!("| {key} | {} |", cell(value))).collect();
        let config = serde_json::to_string_pretty(&record.config).unwrap_or_default();
        format!(
            "## Training\n\n| | |\n|---|---|\n{}\n\n<details><summary>Configuration</summary>\n\n```json\n{config}\n```\n\n</details>\n",
            rows.join("\n")
        )
    }

    fn limits(&self) -> String {
        let data = self.set().map_or_else(|| "its training images".to_owned(), |set| format!("the images of {set}"));
        format!(
            "## Limits\n\nIt has learnt from {data} alone and carries whatever bias they have; other images were not tried. \
             It is no basis for decisions about people.\n"
        )
    }
}

/// What the hub calls a data set of ours, where it has it.
fn hub_name(set: &str) -> Option<&'static str> {
    match set {
        "cifar10" => Some("uoft-cs/cifar10"),
        "cifar100" => Some("uoft-cs/cifar100"),
        "imagenet32" | "imagenet224" => Some("ILSVRC/imagenet-1k"),
        _ => None,
    }
}

/// A text that ends no cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
