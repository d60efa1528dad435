//! `selfie demo`: a small study of drawn shapes.

use selfie_data::SetName;
use selfie_eval::record::{Arm, Outcome, Task};
use selfie_train::NumberType;
use selfie_train::config::{Base, Overrides, resolve};
use selfie_train::progress::Mode;
use selfie_train::run_folder::read_result;
use selfie_train::session::Session;
use selfie_train::signals::Signals;
use selfie_train::study::{self, Study, StudyEnded};

use crate::arguments::Demo;
use crate::choice;
use crate::commands::pretrain::finish;
use crate::context;
use crate::output;

/// The share of the labels that it fine-tunes on.
const FRACTION: f64 = 0.05;

pub(crate) fn run(arguments: &Demo) -> anyhow::Result<u8> {
    let session = Session {
        out: arguments.out.clone(),
        data_dir: None,
        seed: 1,
        stop_after: None,
        device: context::device(&arguments.compute)?,
        number_type: NumberType::F32,
        progress: Mode::detect(arguments.quiet),
        signals: Some(Signals::install()?),
        allow_change: Vec::new(),
        inject: Vec::new(),
    };
    let base = Base::from_argument(SetName::Shapes32.as_str())?;
    let recipe = resolve(Task::Finetune, &base, &Overrides::default())?;
    let study = Study {
        base,
        overrides: Overrides::default(),
        fractions: vec![FRACTION],
        n_seeds: arguments.seeds,
        arms: vec![Arm::Pretrained, Arm::Scratch],
        // Minutes, not an hour: the recipe's rate, no choice.
        learning_rates: vec![recipe.config.finetune.training.learning_rate],
        pretrained: None,
        pretrain_seeds: false,
    };
    let data = choice::data_set(SetName::Shapes32.as_str(), None)?;
    let table = match study::run(&study, &data, &session)? {
        StudyEnded::Finished(table) => table,
        StudyEnded::Stopped { folder, ended } => return finish(&ended, &folder, arguments.json),
    };
    let pretraining = read_result(&session.out.join("pretrain-s1"))?.map(|result| result.outcome);
    if let (Some(Outcome::Pretext { accuracy, chance, .. }), false) = (pretraining, arguments.json) {
        output::print(&format!(
            "Pretraining on 10,000 drawn images without labels: the right patch is chosen in {:.1} % of cases; chance is {:.0} %.\n",
            100.0 * accuracy,
            100.0 * chance
        ))?;
    }
    super::study::print(&table, &session.out, arguments.json)
}
