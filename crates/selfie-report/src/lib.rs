//! A run's records as other readers want them: one HTML page for people, event files for TensorBoard, CSV for spreadsheets.
//!
//! Records and metrics come in, text and bytes go out: nothing here reads a folder, trains or knows a network.

pub mod csv;
pub mod events;
pub mod page;
mod png;
mod series;

pub use series::{Point, Series};
