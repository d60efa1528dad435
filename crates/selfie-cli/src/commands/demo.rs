//! `selfie demo`

use selfie_eval::record::Outcome;
use selfie_train::progress::Mode;
use selfie_train::session::Session;
use selfie_train::signals::Signals;
use selfie_train::{NumberType, demo};

use crate::arguments::Demo;
use crate::commands::pretrain::finish;
use crate::context;
use crate::output;

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
    let demonstration = match demo::run(arguments.seeds, &session)? {
        Ok(demonstration) => demonstration,
        Err(ended) => return finish(&ended, &session.out, arguments.json),
    };
    if arguments.json {
        output::print(&serde_json::to_string_pretty(&demonstration)?)?;
        return Ok(0);
    }
    if let Outcome::Pretext { accuracy, chance, .. } = demonstration.pretext {
        output::print(&format!(
            "Pretraining on 10,000 drawn images without labels: the right patch is chosen in {:.1} % of cases; chance is {:.0} %.\n",
            100.0 * accuracy,
            100.0 * chance
        ))?;
    }
    output::print(demonstration.table.trim_end())?;
    output::print(&format!("\nThe runs are in {}.", session.out.display()))?;
    Ok(0)
}
