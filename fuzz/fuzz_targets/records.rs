//! The records of a run folder: metrics, events, the run's record and its result.
#![no_main]

use selfie_eval::record::{Event, ResultRecord, RunRecord, StepMetrics, from_json};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(metrics) = StepMetrics::parse_lines(text) {
        // What is read can be written, or is refused.
        metrics.iter().for_each(|line| drop(line.to_line()));
    }
    let _ = Event::parse_lines(text);
    if let Ok(record) = from_json::<RunRecord>("run.json", text) {
        let _ = selfie_train::resume::identity_hash(&record);
        let _ = selfie_train::resume::differences(&record, &record);
    }
    if let Ok(result) = from_json::<ResultRecord>("result.json", text) {
        let _ = result.to_json();
    }
});
