//! Keep decisions by element index. The counter of element `i` is (low word of `i / 4`, purpose and high word of
//! `i / 4`, step, layer), its random number word `i % 4` of that block: a piece can start anywhere.

use crate::philox::{N_LANES, philox4x32, philox4x32_lanes, seed_key};
use crate::stream::Purpose;

#[cfg(test)]
mod tests;

const WORDS_PER_BLOCK: usize = 4;
/// The elements computed together.
const GROUP: usize = N_LANES * WORDS_PER_BLOCK;

/// Dropout's key: whether element `i` of a tensor is kept is a function of (seed, step, layer, `i`).
///
/// Any division of the elements into pieces, on any number of threads, gives the same decisions; so a backward pass
/// draws them again instead of storing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step, or anything else that changes with every draw of the same layer.
    pub step: u32,
    /// Which dropout of the network this is.
    pub layer: u32,
}

impl DropoutKey {
    /// Writes for the elements `offset..offset + out.len()` whether each is kept, which has probability `1 - p`.
    ///
    /// `p` is rounded to a multiple of 2⁻³²; `p <= 0` keeps everything and `p >= 1` nothing.
    pub fn keep_mask(&self, p: f64, offset: u64, out: &mut [bool]) {
        self.fill(p, offset, out, [false, true]);
    }

    /// Writes for the elements `offset..offset + out.len()` the factor dropout multiplies by: 0, or `1 / (1 - p)`.
    ///
    /// The decisions are [`DropoutKey::keep_mask`]'s.
    pub fn fill_keep_scale_f32(&self, p: f64, offset: u64, out: &mut [f32]) {
        self.fill(p, offset, out, [0.0, (1.0 / (1.0 - p)) as f32]);
    }

    /// [`DropoutKey::fill_keep_scale_f32`] in double precision.
    pub fn fill_keep_scale_f64(&self, p: f64, offset: u64, out: &mut [f64]) {
        self.fill(p, offset, out, [0.0, 1.0 / (1.0 - p)]);
    }

    /// `values`: what to write for a dropped and for a kept element.
    #[inline(always)]
    fn fill<T: Copy>(&self, p: f64, offset: u64, out: &mut [T], values: [T; 2]) {
        let Some(threshold) = Self::drop_below(p) else {
            out.fill(values[0]);
            return;
        };
        let choose = |word: u32| {
            if word < threshold { values[0] } else { values[1] }
        };
        let misalignment = (offset % WORDS_PER_BLOCK as u64) as usize;
        let n_head = ((WORDS_PER_BLOCK - misalignment) % WORDS_PER_BLOCK).min(out.len());
        let (head, rest) = out.split_at_mut(n_head);
        let mut block_idx = offset / WORDS_PER_BLOCK as u64;
        if n_head > 0 {
            let words = self.block(block_idx);
            for (slot, word) in head.iter_mut().zip(&words[misalignment..]) {
                *slot = choose(*word);
            }
            block_idx += 1;
        }
        let mut groups = rest.chunks_exact_mut(GROUP);
        for group in &mut groups {
            let words = self.group(block_idx);
            for (slot, word) in group.iter_mut().zip(words.as_flattened()) {
                *slot = choose(*word);
            }
            block_idx += N_LANES as u64;
        }
        for (slots, block_idx) in groups.into_remainder().chunks_mut(WORDS_PER_BLOCK).zip(block_idx..) {
            for (slot, word) in slots.iter_mut().zip(self.block(block_idx)) {
                *slot = choose(word);
            }
        }
    }

    /// Words below this are dropped; `None` if all are. What draws elsewhere, on a GPU, needs it.
    #[must_use]
    pub fn drop_below(p: f64) -> Option<u32> {
        let threshold = (p.max(0.0) * (1_u64 << 32) as f64).round();
        (threshold < (1_u64 << 32) as f64).then_some(threshold as u32)
    }

    fn counter(&self, block_idx: u64) -> [u32; 4] {
        // 56 bits of block index beside the purpose: more elements than any memory holds.
        let high = ((block_idx >> 32) as u32) << 8;
        [block_idx as u32, high | Purpose::Dropout as u32, self.step, self.layer]
    }

    fn block(&self, block_idx: u64) -> [u32; WORDS_PER_BLOCK] {
        philox4x32(self.counter(block_idx), seed_key(self.seed))
    }

    /// The words of [`N_LANES`] neighbouring blocks, element by element.
    #[inline(always)]
    fn group(&self, first_block_idx: u64) -> [[u32; WORDS_PER_BLOCK]; N_LANES] {
        let mut counters = [[0; N_LANES]; 4];
        for lane in 0..N_LANES {
            let counter = self.counter(first_block_idx + lane as u64);
            for (word, lanes) in counter.into_iter().zip(&mut counters) {
                lanes[lane] = word;
            }
        }
        philox4x32_lanes(&mut counters, seed_key(self.seed));
        std::array::from_fn(|lane| std::array::from_fn(|word| counters[word][lane]))
    }
}
