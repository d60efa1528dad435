//! A profile of steps as lines of a table.

use std::ops::Range;
use std::time::{Duration, Instant};

use candle_core::Device;
use selfie_ops::profile::{self, ProfileRow};
use serde::Serialize;

use super::per_second;
use crate::TrainError;

/// What no class of operations accounts for: candle's graph, zero-fills, copies, the generation of the patches' order.
const OUTSIDE: &str = "outside selfie-ops";

/// What one class of operations takes of a step, mean over the profiled steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileLine {
    /// The class.
    pub op: String,
    /// Calls a step; none for the time outside of every class.
    pub calls: Option<f64>,
    /// Wall time a step, ms.
    pub ms: f64,
    /// Share of the step, in 0–1; all lines together are 1.
    pub share: f64,
    /// Floating-point operations that the result needs, 10⁹ a second of the class's own time; none where they are not counted.
    pub gflop_per_s: Option<f64>,
    /// Operands read and results written, each once, 10⁹ bytes a second of the class's own time; none where they are not counted.
    pub gb_per_s: Option<f64>,
}

/// Makes the steps of these numbers with the profile on.
pub(super) fn profiled_steps(
    steps: Range<u32>,
    device: &Device,
    mut make: impl FnMut(u32) -> Result<(), TrainError>,
) -> Result<Vec<ProfileLine>, TrainError> {
    let n_steps = steps.len() as u32;
    profile::start();
    let clock = Instant::now();
    let made = steps.into_iter().try_for_each(&mut make).and_then(|()| Ok(device.synchronize()?));
    let wall = clock.elapsed();
    // Whatever happened: a profile left on would slow down and mix up what comes next.
    let rows = profile::finish();
    made.map(|()| lines(&rows, wall, n_steps))
}

/// The line of each class, the longest first, and last what is outside of them.
pub(super) fn lines(rows: &[ProfileRow], wall: Duration, n_steps: u32) -> Vec<ProfileLine> {
    let ms = |time: Duration| 1e3 * time.as_secs_f64() / f64::from(n_steps);
    let share = |time: Duration| time.as_secs_f64() / wall.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| std::cmp::Reverse(row.time));
    let line = |row: &ProfileRow| ProfileLine {
        op: row.class.to_string(),
        calls: Some(row.calls as f64 / f64::from(n_steps)),
        ms: ms(row.time),
        share: share(row.time),
        gflop_per_s: per_second(row.flop as f64 / 1e9, row.time),
        gb_per_s: per_second(row.bytes as f64 / 1e9, row.time),
    };
    let outside = wall.saturating_sub(rows.iter().map(|row| row.time).sum());
    let outside = ProfileLine {
        op: OUTSIDE.to_owned(),
        calls: None,
        ms: ms(outside),
        share: share(outside),
        gflop_per_s: None,
        gb_per_s: None,
    };
    rows.iter().map(line).chain([outside]).collect()
}
