//! What a run measured and how it is written down: accuracy, statistics over runs, the run record's formats, tables.
//!
//! Nothing here trains, reads a data set or touches a folder: `selfie-train` decides when these values are computed and
//! where they are stored.

pub mod accuracy;
pub mod card;
mod collapse;
mod embed;
pub mod embedding_file;
mod error;
mod evaluate;
pub mod inspect;
mod matrix;
pub mod neighbours;
pub mod paper;
pub mod probe;
pub mod projection;
pub mod record;
pub mod spread;
pub mod statistics;
pub mod table;

pub use accuracy::AccuracyMeter;
pub use collapse::{collapse, collapse_of_sums};
pub use embed::{EmbeddedBatch, embed};
pub use error::EvalError;
pub use evaluate::{Evaluation, evaluate};
pub use matrix::Matrix;
