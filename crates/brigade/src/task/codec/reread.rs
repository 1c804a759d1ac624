//! Reading a message once more, for [visitors that were written for JSON only](super::json).

use super::error::{Error, Result};
use super::json::{self, AsJson, BARE, KEYS, OPTIONS};

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
        // It may have been learned by an error that was passed over.
        if !(json::take_learned() | error.is_learned()) {
            break;
        }
        match read() {
            Err(e) => error = e,
            read => return read,
        }
    }
    if json::take_doubts() == 0 {
        return Err(error);
    }
    // There may have been doubts in messages before this one.
    match read() {
        Err(e) => error = e,
        read => return read,
    }
    let doubts = json::take_doubts();
    // What is least unlike what was written comes first. A visitor that lacks a method for `Some`
    // is given what is bare.
    for as_json in [
        BARE,
        KEYS,
        KEYS | BARE,
        OPTIONS,
        OPTIONS | BARE,
        KEYS | OPTIONS,
        KEYS | OPTIONS | BARE,
    ] {
        if doubts & as_json == as_json {
            let _reset = AsJson::begin(as_json);
            if let Ok(read) = read() {
                return Ok(read);
            }
        }
    }
    // Where that is no better, the error is that of what was written.
    Err(error)
}
