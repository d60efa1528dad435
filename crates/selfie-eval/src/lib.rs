//! What a run measured and how it is written down: accuracy, statistics over runs, the run record's formats, tables.
//!
//! Nothing here trains, reads a data set or touches a folder: `selfie-train` decides when these values are computed and
//! where they are stored.

pub mod accuracy;
mod collapse;
mod error;
mod evaluate;
pub mod paper;
pub mod record;
pub mod statistics;
pub mod table;

pub use accuracy::AccuracyMeter;
pub use collapse::collapse;
pub use error::EvalError;
pub use evaluate::{Evaluation, evaluate};
