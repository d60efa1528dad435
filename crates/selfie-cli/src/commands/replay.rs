//! `selfie replay`

use selfie_train::replay::{Replayed, replay};

use crate::arguments::Replay;
use crate::context;
use crate::output;

/// The exit code when the fault does not come again.
const NOT_REPEATED: u8 = 1;

pub(crate) fn run(arguments: &Replay) -> anyhow::Result<u8> {
    let replayed = replay(&arguments.capture, &context::device(&arguments.compute)?)?;
    let repeated = replayed.again.as_ref() == Some(&replayed.captured);
    let text = if arguments.json {
        serde_json::json!({ "repeated": repeated, "captured": replayed.captured, "again": replayed.again }).to_string()
    } else {
        as_text(&replayed, repeated)
    };
    output::print(&text)?;
    Ok(if repeated { 0 } else { NOT_REPEATED })
}

fn as_text(Replayed { captured, again }: &Replayed, repeated: bool) -> String {
    match again {
        Some(_) if repeated => format!("repeated: {captured}"),
        Some(again) => format!("captured: {captured}\nanother fault: {again}"),
        None => format!("captured: {captured}\nnot repeated: every number is finite here"),
    }
}
