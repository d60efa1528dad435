//! The memory allocator: mimalloc, told to keep what is freed.
//!
//! A training step allocates and frees the same large buffers as the step before. An allocator that gives them back to the
//! system has every page of them faulted in and zeroed again: a quarter of a million faults a step at full width.
#![expect(unsafe_code, reason = "an option of the allocator is set through its C interface")]

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Keeps freed memory for the next step. To be called before any other thread begins.
pub(crate) fn keep_freed_memory() {
    /// `mi_option_purge_delay`: -1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the option is one of the library's and no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
