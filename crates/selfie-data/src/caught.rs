//! Calls into other people's readers: a panic of theirs is the fault of the file they read.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs such a reader.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns, or `None` if it panics, which is not printed.
pub(crate) fn caught<T>(read: impl FnOnce() -> T) -> Option<T> {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                before(info);
            }
        }));
    });
    INSIDE.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    INSIDE.set(false);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn a_panic_is_none() {
        assert_eq!(caught(|| 3), Some(3));
        assert_eq!(caught(|| [0u8; 0].first().copied().unwrap()), None);
    }
}
