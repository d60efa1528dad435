//! `selfie probe`

use std::path::PathBuf;

use clap::Args;
use selfie_data::{BadSample, DataSet, Splits, folds, labelled_subset, require_few};
use selfie_eval::probe::linear::LinearSettings;
use selfie_eval::probe::report::{Examples, ProbeReport, ProbeSettings, Share, SplitEmbeddings, probe};
use selfie_model::{EmbeddingAt, InferenceModel};
use serde_json::{Value, json};

use crate::arguments::Compute;
use crate::choice::OtherData;
use crate::context;
use crate::output::{self, Usage};

/// Below so many training images, one tenth is too few to measure on: folds are measured in its place.
const TINY: usize = 1000;
const TINY_FOLDS: usize = 5;

#[derive(Args, Debug)]
pub(crate) struct Probe {
    /// A run folder or a weights file
    pub(crate) weights: PathBuf,
    #[command(flatten)]
    pub(crate) other_data: OtherData,
    /// Where in the network to read: stage1 to stage4, h or u, several with commas [default: the network's end, before the
    /// attention pooling of a pretraining network]
    #[arg(long, value_delimiter = ',', value_parser = crate::arguments::place)]
    pub(crate) at: Vec<EmbeddingAt>,
    /// Numbers of neighbours that vote
    #[arg(long, value_delimiter = ',', default_value = "1,5,20,100", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) k: Vec<u32>,
    /// Learning rates of the linear probe, all fitted at once
    #[arg(long, value_delimiter = ',', default_value = "0.3,1,3,10,30", value_name = "RATE")]
    pub(crate) learning_rates: Vec<f32>,
    /// Penalty on the linear probe's weights
    #[arg(long, default_value_t = 1e-5)]
    pub(crate) l2: f32,
    /// Share of the labels to fit to, above 0 and at most 1, as `finetune` counts it [default: all but the validation split]
    #[arg(long, value_parser = crate::arguments::fraction)]
    pub(crate) fraction: Option<f64>,
    /// Seed of that share
    #[arg(long, default_value_t = 1, env = "SELFIE_SEED")]
    pub(crate) seed: u64,
    /// Parts of the training set that are each measured once, fitted to the others [default: 5 below 1000 images, else the
    /// validation split is measured]
    #[arg(long, value_name = "N", conflicts_with = "fraction")]
    pub(crate) folds: Option<usize>,
    /// Measure on the test set, which is for final figures, in the place of the validation split
    #[arg(long, conflicts_with = "folds")]
    pub(crate) test: bool,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The examples that are fitted to, and those that are measured on.
type Fold = (Vec<u32>, Vec<u32>);

pub(crate) fn run(arguments: &Probe) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::weights_file(&arguments.weights)?;
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    let data = arguments.other_data.open(&arguments.weights)?;
    data.require_classes().map_err(output::data)?;
    if arguments.test {
        data.require_test_images().map_err(output::data)?;
    }
    let places = if arguments.at.is_empty() { vec![model.default_at()] } else { arguments.at.clone() };
    let (folds, measured_on) = folds_of(arguments, &data)?;
    let mut reports = Vec::new();
    for at in places {
        let embedded = |images, name| SplitEmbeddings::of(&model, images, name, at).map_err(output::eval);
        let train = embedded(&data.train, "train")?;
        let test = arguments.test.then(|| embedded(&data.test, "test")).transpose()?;
        let pairs: Vec<(Examples, Examples)> = match &test {
            Some(test) => vec![(train.select(&folds[0].0), test.all().clone())],
            None => folds.iter().map(|(fitted, measured)| (train.select(fitted), train.select(measured))).collect(),
        };
        let bad: Vec<BadSample> =
            std::iter::once(&train).chain(&test).flat_map(SplitEmbeddings::bad).cloned().collect();
        require_both(&pairs, &bad, data.train.len() + if arguments.test { data.test.len() } else { 0 })?;
        let settings = ProbeSettings {
            ks: arguments.k.iter().map(|&k| k as usize).collect(),
            linear: LinearSettings {
                learning_rates: arguments.learning_rates.clone(),
                l2: arguments.l2,
                ..LinearSettings::default()
            },
            n_classes: data.train.n_classes(),
            width: model.width_at(at).map_err(output::model)?,
        };
        let report = probe(&pairs, &settings).map_err(output::eval)?;
        note_fewer(&settings.ks, &report);
        if let (Some(first), false) = (bad.first(), arguments.json) {
            let images = output::count(bad.len(), "image");
            output::note(&format!("{images} cannot be read, first {}: {}", first.path, first.reason));
        }
        reports.push((at, report));
    }
    let text =
        if arguments.json { as_json(&data.name, measured_on, &reports)? } else { as_text(measured_on, &reports) };
    output::print(&text)?;
    Ok(0)
}

/// Refuses to measure where nothing is left to fit to or to measure.
fn require_both(pairs: &[(Examples, Examples)], bad: &[BadSample], n_images: usize) -> anyhow::Result<()> {
    if pairs.iter().all(|(fitted, measured)| !fitted.labels.is_empty() && !measured.labels.is_empty()) {
        return Ok(());
    }
    if let Some(first) = bad.first() {
        require_few(bad.len(), n_images, 0.0, first).map_err(output::data)?;
    }
    let hint = "measure parts of the training set with --folds, or the test set with --test";
    Err(Usage(format!("expected training images to hold out and measure, got too few of any class; {hint}")).into())
}

/// Says so where more neighbours were asked for than have labels.
fn note_fewer(asked: &[usize], report: &ProbeReport) {
    let most = report.knn.iter().map(|knn| knn.k).max().unwrap_or(0);
    let more: Vec<String> = asked.iter().filter(|k| **k > most).map(usize::to_string).collect();
    if !more.is_empty() {
        output::note(&format!("--k: {} neighbours asked for, {most} have labels and all vote", more.join(", ")));
    }
}

/// The folds, and in words what is measured.
fn folds_of(arguments: &Probe, data: &DataSet) -> anyhow::Result<(Vec<Fold>, &'static str)> {
    let (labels, n) = (data.train.labels(), data.train.len());
    let tiny = n < TINY && !arguments.test && arguments.fraction.is_none();
    if let Some(got) = arguments.folds.filter(|n_folds| !(2..=n).contains(n_folds)) {
        return Err(Usage(format!("--folds: expected 2 to {n}, the number of training images, got {got}")).into());
    }
    if let Some(n_folds) = arguments.folds.or(tiny.then_some(TINY_FOLDS.min(n))) {
        let parts = folds(labels, n_folds).map_err(output::data)?;
        let rest = |part: usize| parts.iter().enumerate().filter(move |(other, _)| *other != part);
        let fold = |part: usize| (rest(part).flat_map(|(_, rest)| rest.clone()).collect(), parts[part].clone());
        return Ok(((0..n_folds).map(fold).collect(), "the training set, each part in turn"));
    }
    let splits = Splits::new(labels);
    let fitted = match arguments.fraction {
        Some(fraction) if fraction < 1.0 || arguments.test => {
            labelled_subset(labels, &splits.train, n, fraction, arguments.seed).map_err(output::data)?.examples
        }
        // Of the whole set, or as much of it as is not measured.
        _ if arguments.test => (0..n as u32).collect(),
        _ => splits.train,
    };
    let measured_on = if arguments.test { "the test set" } else { "the validation split of the training set" };
    Ok((vec![(fitted, splits.validation)], measured_on))
}

fn as_json(set: &str, measured_on: &str, reports: &[(EmbeddingAt, ProbeReport)]) -> anyhow::Result<String> {
    let places: Result<Vec<Value>, serde_json::Error> = reports
        .iter()
        .map(|(at, report)| {
            let mut place = serde_json::to_value(report)?;
            place["at"] = serde_json::to_value(at)?;
            Ok(place)
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "set": set, "measured_on": measured_on, "places": places? }))?)
}

fn as_text(measured_on: &str, reports: &[(EmbeddingAt, ProbeReport)]) -> String {
    let mut lines = Vec::new();
    if let Some((_, first)) = reports.first() {
        let (n_measured, n_fitted, chance) = (first.n_measured, first.n_fitted, 100.0 * first.chance);
        lines.push(format!(
            "share of right answers on {n_measured} images of {measured_on}, from the labels of {n_fitted}; always \
             answering the most frequent class: {chance:.2} %"
        ));
    }
    let percent = |share: Share| {
        let std = share.std.map_or_else(String::new, |std| format!(" ± {:.2}", 100.0 * std));
        format!("{:.2} %{std}", 100.0 * share.accuracy)
    };
    for (at, report) in reports {
        lines.push(format!("{at}"));
        let rates: Vec<String> = report.linear.learning_rates.iter().map(f32::to_string).collect();
        let chosen = if rates.len() > 1 { "learning rates of the folds:" } else { "learning rate" };
        lines.push(format!("  linear layer    {} ({chosen} {})", percent(report.linear.share), rates.join(", ")));
        lines.extend(report.knn.iter().map(|knn| format!("  {:<3} neighbours  {}", knn.k, percent(knn.share))));
        lines.push(format!(
            "  embeddings      spread {:.3} (0: all images alike, 1: as random directions), mean cosine {:.3}, as wide as {:.1} \
             equal dimensions",
            report.spread, report.mean_cosine, report.participation_ratio
        ));
    }
    lines.join("\n")
}
