//! Sequences of draws: integers, floats, normals, shuffles. Draws that must be found by index without drawing the ones
//! before them are [`crate::DropoutKey`]'s and [`crate::Permutation`]'s.

use crate::philox::{philox4x32, seed_key};

#[cfg(test)]
mod tests;

/// What a draw is for: two purposes never share a number, whatever their other keys.
///
/// The discriminants are part of every run's results: add new ones at the end, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Initial parameters.
    Initialization = 1,
    /// The order of the examples of an epoch.
    Shuffle = 2,
    /// Shifted crops and flips.
    Augmentation = 3,
    /// Which patches of an image are targets.
    Mask = 4,
    /// Which elements dropout keeps; only [`crate::DropoutKey`] draws these.
    Dropout = 5,
    /// Which examples a labelled subset holds.
    Subset = 6,
    /// Which examples are held out for validation.
    Validation = 7,
    /// The drawn data set.
    Shapes = 8,
    /// Synthetic batches of benchmarks.
    Synthetic = 9,
    /// Windows of resized crops.
    ResizedCrop = 10,
    /// RandAugment's operations and their signs.
    RandAugment = 11,
    /// Order and factors of colour jitter.
    ColourJitter = 12,
    /// Which images lose their colours.
    Grayscale = 13,
    /// Which patches lose colour channels.
    PatchColour = 14,
    /// Where patches are cropped.
    PatchJitter = 15,
    /// How the images of a batch are mixed.
    Mixing = 16,
    /// Which example stands in for one that cannot be read.
    Replacement = 20,
}

/// Draws keyed by (seed, purpose, major, minor): major = epoch, step or class; minor = example or tensor index.
///
/// Equal keys give equal sequences on every machine and thread. A sequence holds 2³⁴ words, after which it repeats.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    purpose: u32,
    major: u32,
    minor: u32,
    block_idx: u32,
    words: [u32; 4],
    n_used: usize,
    spare_normal: Option<f64>,
}

impl Stream {
    /// The sequence of one key, from its beginning.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, major: u32, minor: u32) -> Self {
        Self {
            key: seed_key(seed),
            purpose: purpose as u32,
            major,
            minor,
            block_idx: 0,
            words: [0; 4],
            n_used: 4,
            spare_normal: None,
        }
    }

    /// Uniform in 0..2³².
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.n_used == self.words.len() {
            self.words = philox4x32([self.block_idx, self.purpose, self.major, self.minor], self.key);
            self.block_idx = self.block_idx.wrapping_add(1);
            self.n_used = 0;
        }
        let word = self.words[self.n_used];
        self.n_used += 1;
        word
    }

    /// Uniform in `0..n` without bias (Lemire 2019, "Fast random integer generation in an interval").
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a draw below 0: expected n >= 1");
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let rejected_below = n.wrapping_neg() % n;
            while (product as u32) < rejected_below {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        ((high << 32 | low) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in [`lo`, `hi`).
    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit_f64()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit_f64() < p
    }

    /// Standard normal (Box–Muller).
    ///
    /// The logarithm and the sine come from libm rather than from the system, whose last bits differ; a square root is
    /// exact everywhere.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let radius = (-2.0 * libm::log(1.0 - self.unit_f64())).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.unit_f64());
        self.spare_normal = Some(radius * sin);
        radius * cos
    }

    /// Beta distributed, in [0, 1], from two gamma draws.
    ///
    /// # Panics
    ///
    /// If `a` or `b` is not above 0.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (first, second) = (self.log_gamma_variate(a), self.log_gamma_variate(b));
        1.0 / (1.0 + libm::exp(second - first))
    }

    /// The logarithm of a gamma distributed number of scale 1: for small shapes the number itself is below every float.
    ///
    /// Source: Marsaglia and Tsang 2000, "A simple method for generating gamma variables".
    fn log_gamma_variate(&mut self, shape: f64) -> f64 {
        assert!(shape > 0.0, "a draw with shape {shape}: expected it above 0");
        if shape < 1.0 {
            let larger = self.log_gamma_variate(shape + 1.0);
            return larger + libm::log(1.0 - self.unit_f64()) / shape;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            if libm::log(1.0 - self.unit_f64()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return libm::log(d * v);
            }
        }
    }

    /// Puts `items` in uniformly random order (Fisher–Yates).
    ///
    /// # Panics
    ///
    /// If there are more than `u32::MAX` items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        let n = items.len();
        assert!(n <= u32::MAX as usize, "shuffling {n} items: expected at most {}", u32::MAX);
        for last in (1..n).rev() {
            let other = self.below(last as u32 + 1);
            items.swap(last, other as usize);
        }
    }
}
