//! Training: configuration → plan → loop → run folder.
//!
//! [`config`] layers what the user wrote, [`plan`] checks it and turns every length into steps, [`run_folder`] and
//! [`checkpoint`] keep what a run wrote so that nothing half-written is ever read, [`progress`] and [`signals`] talk to
//! the user. [`pretrain::run`] and [`finetune::run`] are the two loops, each read from top to bottom; what they share
//! around a step is in [`session`]; [`study`] makes many runs of them and one table. To the run folder a model's tensors are bytes; this crate defines no operation and
//! no network.

mod bad_samples;
pub mod bench;
pub mod checkpoint;
pub mod config;
mod error;
pub mod estimate;
pub mod fault;
mod files;
pub mod finetune;
pub mod machine;
mod network;
mod number_type;
mod optimizer;
pub mod plan;
pub mod pretrain;
mod probe;
pub mod progress;
pub mod recipes;
pub mod replay;
pub mod report;
pub mod resume;
pub mod run_folder;
pub mod schedule;
pub mod session;
pub mod signals;
pub mod study;

pub use error::TrainError;
pub use files::{NewFile, hash_bytes, hash_file, make_folder, write_atomic};
pub use number_type::NumberType;
