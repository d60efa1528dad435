//! `events.jsonl`: an object for each step at which something happened that a metrics line does not say.

use serde::{Deserialize, Serialize};

use super::json_error;
use crate::EvalError;

/// What happened at a step. A function of the run's bytes: no times, no paths of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The update that was being made, counted from 1.
    pub step: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
    /// The examples of the step's batch.
    pub examples: Vec<u32>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    /// A number was not finite; the step was not made.
    NonFinite {
        /// Which number, and of which layer.
        place: String,
        /// What was done.
        action: Action,
    },
    /// The loss rose far above its recent values; the step was made.
    LossSpike {
        /// The loss, nats.
        loss: f64,
        /// Median of the losses before, nats.
        median: f64,
        /// Their median absolute deviation from it, nats.
        deviation: f64,
    },
}

/// What was done about a number that was not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The run ended.
    Abort,
    /// The batch was left out.
    Skip,
    /// Weights and optimizer state went back to the last checkpoint; the steps since, and this one, are left out.
    RollBack,
}

impl Event {
    /// The line, newline included.
    ///
    /// # Errors
    ///
    /// If the event has no JSON form.
    pub fn to_line(&self) -> Result<String, EvalError> {
        let line = serde_json::to_string(self).map_err(|source| json_error("an event", source))?;
        Ok(line + "\n")
    }

    /// Every whole line of an `events.jsonl`.
    ///
    /// # Errors
    ///
    /// If a line is not an event; the message names the line.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, EvalError> {
        super::parse_lines("events", text)
    }
}
