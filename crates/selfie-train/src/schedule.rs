//! The learning rate of each update: linear warm-up, then a cosine to 0.

use std::f64::consts::PI;

#[cfg(test)]
mod tests;

/// The learning rate as a function of the update.
///
/// Paper: linear warm-up over the first steps (as recalled), cosine decay to 0, changed every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    warmup_steps: u64,
    steps: u64,
}

impl Schedule {
    /// A schedule of `steps` updates that reaches `peak` at update `warmup_steps`.
    #[must_use]
    pub fn new(peak: f64, warmup_steps: u64, steps: u64) -> Self {
        Self { peak, warmup_steps, steps }
    }

    /// The highest learning rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// The learning rate of update `step_idx`, counted from 0: `peak / warmup_steps` first, never 0 before the end, 0
    /// from `steps` on.
    #[must_use]
    pub fn at(&self, step_idx: u64) -> f64 {
        if step_idx < self.warmup_steps {
            return self.peak * (step_idx + 1) as f64 / self.warmup_steps as f64;
        }
        if step_idx >= self.steps {
            return 0.0;
        }
        let progress = (step_idx - self.warmup_steps) as f64 / (self.steps - self.warmup_steps) as f64;
        // The same bits on every system.
        self.peak * 0.5 * (1.0 + libm::cos(PI * progress))
    }

    /// Updates in all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates of warm-up.
    #[must_use]
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }
}
