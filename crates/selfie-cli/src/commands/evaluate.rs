//! `selfie evaluate`

use candle_core::DType;
use selfie_data::{classes_in_words, require_few};
use selfie_eval::evaluate;
use selfie_eval::record::Split;
use selfie_model::{Classifier, Metadata, ModelError, WeightsFile};
use selfie_train::config::LoaderConfig;
use selfie_train::finetune::outcome;

use crate::arguments::Evaluate;
use crate::context;
use crate::output::{self, Usage};

pub(crate) fn run(arguments: &Evaluate) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::classifier_file(&arguments.run_or_weights)?;
    let file = WeightsFile::read(&weights).map_err(output::model)?;
    let Metadata::Classifier(config) = &file.metadata else {
        let (expected, got) = ("a classifier", file.metadata.kind());
        return Err(output::classifier(ModelError::Kind { path: weights, expected, got }, &arguments.run_or_weights));
    };
    let network = Classifier::of_file(&file, &weights, DType::F32, &device).map_err(output::model)?;
    let data = arguments.other_data.open(&arguments.run_or_weights)?;
    if data.test.class_names() != config.classes {
        let (data, network) = (classes_in_words(data.test.class_names()), classes_in_words(&config.classes));
        let of = format!("expected a data set of the network's classes, {network}; got {data}");
        return Err(Usage(format!("--data or --data-set: {of}")).into());
    }
    data.require_test_images().map_err(output::data)?;
    let evaluated = evaluate(&network, &data.test, None, &device).map_err(output::eval)?;
    if let Some(first) = evaluated.bad.first() {
        let (n_bad, n_images) = (evaluated.bad.len(), data.test.len());
        require_few(n_bad, n_images, LoaderConfig::default().max_bad_share, first).map_err(output::data)?;
    }
    let meter = evaluated.meter;
    let outcome = outcome(&meter, &config.classes, Split::Test)?;
    if arguments.json {
        output::print(&serde_json::to_string(&outcome)?)?;
        return Ok(0);
    }
    let accuracy = meter.top1_accuracy().unwrap_or(0.0);
    let images = output::count(meter.n_examples() as usize, "image");
    let mut text = format!("test accuracy {:.2} % of {images} of {}", 100.0 * accuracy, data.name);
    for bad in &evaluated.bad {
        text.push_str(&format!("\n  left out: {}, {}", bad.path, bad.reason));
    }
    for (class, accuracy) in config.classes.iter().zip(meter.per_class()) {
        let accuracy =
            accuracy.map_or_else(|| "no images".to_owned(), |accuracy| format!("{:5.1} %", 100.0 * accuracy));
        text.push_str(&format!("\n  {accuracy}  {class}"));
    }
    output::print(&text)?;
    Ok(0)
}
