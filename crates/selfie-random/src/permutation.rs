//! Random orders in constant memory: a Feistel network with cycle walking (Black and Rogaway 2002, "Ciphers with
//! arbitrary finite domains").

use crate::philox::{philox4x32, seed_key};
use crate::stream::Purpose;

#[cfg(test)]
mod tests;

const N_ROUNDS: u32 = 8;
/// Set in the counter word of the purpose, so that a permutation shares no block with the stream of the same key.
const PERMUTATION_FLAG: u32 = 1 << 31;

/// A keyed permutation of `0..n`: any position can be asked for, at any time, without a table.
///
/// One look-up takes on average at most four walks through the network, well under a microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permutation {
    key: [u32; 2],
    purpose: u32,
    major: u32,
    n: u32,
    half_bits: u32,
}

impl Permutation {
    /// The permutation of `0..n` with this key; `major` is usually the epoch.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, major: u32, n: u32) -> Self {
        let bits = u32::BITS - n.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        Self { key: seed_key(seed), purpose: purpose as u32, major, n, half_bits }
    }

    /// How many numbers are permuted.
    #[must_use]
    pub fn n(&self) -> u32 {
        self.n
    }

    /// The number at position `i`.
    ///
    /// # Panics
    ///
    /// If `i >= n`.
    #[must_use]
    pub fn at(&self, i: u32) -> u32 {
        assert!(i < self.n, "position {i} of a permutation of {}", self.n);
        // The network permutes a power of four that is at least n. Following the cycle that starts inside 0..n comes
        // back inside, at the latest at its start.
        let mut value = self.walk(i);
        while value >= self.n {
            value = self.walk(value);
        }
        value
    }

    fn walk(&self, value: u32) -> u32 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..N_ROUNDS {
            let counter = [right, PERMUTATION_FLAG | round << 8 | self.purpose, self.major, 0];
            let mixed = philox4x32(counter, self.key)[0] & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}
