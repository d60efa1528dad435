//! Pictures of what networks do. Everything here takes pixels and numbers and draws; where they come from is not its business.
//!
//! [`Canvas`] has the strokes, the other modules a picture each.

mod canvas;
mod colour;
mod error;
mod maps;
mod masked;
mod mistakes;
mod neighbours;
mod page;
mod scatter;
mod text;

pub use canvas::{Area, Canvas, Style, fitted, text_width};
pub use colour::Colour;
pub use error::PictureError;
pub use maps::{AttendedImage, Filters, attention_sheet, filters_sheet, positions_sheet};
pub use masked::{MaskedImage, masked_sheet};
pub use mistakes::{Mistake, mistakes_sheet};
pub use neighbours::{NeighbourRow, Tile, neighbour_sheet};
pub use page::Heading;
pub use scatter::{Scatter, scatter};

#[cfg(test)]
mod tests;
