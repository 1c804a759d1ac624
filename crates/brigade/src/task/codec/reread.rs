//! Reading a message once more, for [visitors that were written for JSON only](super::json).

use super::error::{Error, Result};
use super::json::{self, AsJson};

/// More visitors than any type has.
const MAX_VISITORS: usize = 64;

/// Has a message that could not be read read once more, or more often, where something was learned
/// by that. What has descriptors is read once: they are taken.
#[cold]
#[inline(never)]
pub(super) fn again<R>(
    may_repeat: bool,
    mut error: Error,
    read: impl Fn() -> Result<R>,
) -> Result<R> {
    if !may_repeat {
        return Err(error);
    }
    for _ in 0..MAX_VISITORS {
        if !error.is_learned() {
            break;
        }
        match read() {
            Err(e) => error = e,
            read => return read,
        }
    }
    if !json::take_refusal() {
        return Err(error);
    }
    let _reset = AsJson::begin();
    // Where this is no better, the error is that of what was written.
    read().map_err(|_| error)
}
