//! The Philox4x32-10 block function, for one counter and for many neighbouring counters at once. Nothing here knows how
//! a counter is made of a key: that is the callers' business.

#[cfg(test)]
mod tests;

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_INCREMENT: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const N_ROUNDS: u32 = 10;

/// Counters computed together by [`philox4x32_lanes`]. Measured on x86-64: 8 and 32 are slower.
pub(crate) const N_LANES: usize = 16;

/// Philox4x32-10: four random words that are a function of `counter` and `key` alone.
///
/// Source: the Random123 library, whose published test vectors are in this module's tests.
#[must_use]
#[inline]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..N_ROUNDS {
        let (high0, low0) = multiply(MULTIPLIER[0], c0);
        let (high1, low1) = multiply(MULTIPLIER[1], c2);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
        k0 = k0.wrapping_add(KEY_INCREMENT[0]);
        k1 = k1.wrapping_add(KEY_INCREMENT[1]);
    }
    [c0, c1, c2, c3]
}

/// [`philox4x32`] of [`N_LANES`] counters that lie lane by lane in `counters`: the form a compiler turns into SIMD.
#[inline(always)]
pub(crate) fn philox4x32_lanes(counters: &mut [[u32; N_LANES]; 4], key: [u32; 2]) {
    let [c0, c1, c2, c3] = counters;
    let [mut k0, mut k1] = key;
    for _ in 0..N_ROUNDS {
        for lane in 0..N_LANES {
            let (high0, low0) = multiply(MULTIPLIER[0], c0[lane]);
            let (high1, low1) = multiply(MULTIPLIER[1], c2[lane]);
            c0[lane] = high1 ^ c1[lane] ^ k0;
            c2[lane] = high0 ^ c3[lane] ^ k1;
            c1[lane] = low1;
            c3[lane] = low0;
        }
        k0 = k0.wrapping_add(KEY_INCREMENT[0]);
        k1 = k1.wrapping_add(KEY_INCREMENT[1]);
    }
}

/// The two halves (high, low) of the 64-bit product.
#[inline(always)]
fn multiply(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

/// The key words of a seed.
pub(crate) fn seed_key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}
