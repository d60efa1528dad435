//! The learned vectors: the pool token and the positions of patches.

use crate::config::{Positions, SelfieConfig};
use crate::mode::Mode;
use crate::unit::{Build, ParameterUnit};
use candle_core::{Result, Tensor};
use selfie_ops::{ParameterKind, UnitLayout};

/// Pool token and position embeddings, under the names `u0` and `pos`, or `row` and `col`.
#[derive(Debug)]
pub(crate) struct Embeddings {
    unit: ParameterUnit,
    positions: Positions,
    grid: usize,
    width: usize,
}

impl Embeddings {
    pub(crate) fn new(config: &SelfieConfig, build: Build<'_>) -> Result<Self> {
        let (grid, width) = (config.grid(), config.embedding_width());
        let mut layout = UnitLayout::default();
        layout.push("u0", ParameterKind::Embedding, &[width]);
        match config.positions {
            Positions::PerPatch => {
                layout.push("pos", ParameterKind::Embedding, &[grid * grid, width]);
            }
            Positions::RowColumn => {
                layout.push("row", ParameterKind::Embedding, &[grid, width]);
                layout.push("col", ParameterKind::Embedding, &[grid, width]);
            }
        }
        Ok(Self { unit: ParameterUnit::new("", layout, build)?, positions: config.positions, grid, width })
    }

    /// The pool token `[D]`.
    pub(crate) fn pool_token(&self, mode: Mode<'_>) -> Result<Tensor> {
        self.unit.tensor(mode).narrow(0, 0, self.width)
    }

    /// The position embeddings `[N, D]`, row by row.
    pub(crate) fn positions(&self, mode: Mode<'_>) -> Result<Tensor> {
        let (grid, width) = (self.grid, self.width);
        let all = self.unit.tensor(mode);
        match self.positions {
            Positions::PerPatch => all.narrow(0, width, grid * grid * width)?.reshape((grid * grid, width)),
            Positions::RowColumn => {
                let rows = all.narrow(0, width, grid * width)?.reshape((grid, 1, width))?;
                let columns = all.narrow(0, (1 + grid) * width, grid * width)?.reshape((1, grid, width))?;
                rows.broadcast_add(&columns)?.reshape((grid * grid, width))
            }
        }
    }

    pub(crate) fn unit(&self) -> &ParameterUnit {
        &self.unit
    }
}
