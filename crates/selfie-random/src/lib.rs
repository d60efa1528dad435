//! Randomness as a function: a draw is the value of a key (seed, purpose, major, minor), not the state of a generator.
//!
//! All draws come from Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy
//! as 1, 2, 3"), whose block function is the same few integer operations on a CPU and on a GPU. No thread, worker or
//! resumed run changes a draw, and no generator is stored in a checkpoint.
//!
//! - [`Stream`]: a sequence of draws for one key (an augmentation, an initial weight tensor, one image's mask)
//! - [`Permutation`]: the order of an epoch in constant memory
//! - [`DropoutKey`]: the keep decision of every element of a tensor, in pieces of any size
//! - [`philox4x32`]: the block function itself
//!
//! Not here: what the draws are used for.
//!
//! ```
//! use selfie_random::{Permutation, Purpose, Stream};
//!
//! let mut draws = Stream::new(7, Purpose::Augmentation, 0, 42);
//! let again = Stream::new(7, Purpose::Augmentation, 0, 42).next_u32();
//! assert_eq!(draws.next_u32(), again);
//!
//! let epoch = Permutation::new(7, Purpose::Shuffle, 0, 50_000);
//! assert!(epoch.at(0) < 50_000);
//! ```

mod dropout;
mod permutation;
mod philox;
mod stream;

pub use dropout::DropoutKey;
pub use permutation::Permutation;
pub use philox::philox4x32;
pub use stream::{Purpose, Stream};
