//! Code of the program's that may panic where no caller gets the panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the program's whose panic no caller gets: a destructor, a waker, a subscriber.
pub(crate) fn contained(f: impl FnOnce()) {
    attempt(f);
}

/// As [`contained`], of code that has a result. `None`: it panicked.
pub(crate) fn attempt<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) => {
            discard(payload);
            None
        }
    }
}

/// The payload of a panic is the program's own type: its destructor may panic too, with a payload
/// of which the same is true.
pub(super) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        leak(another);
    }
}

#[expect(
    clippy::mem_forget,
    reason = "dropping it could panic again, without end"
)]
fn leak(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}
