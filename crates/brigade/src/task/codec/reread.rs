//! Reading a message once more, for [visitors that were written for JSON only](super::json).

use super::error::{Error, Result};
use super::json::{self, AsJson, BARE, KEYS, OPTIONS, TRUSTED};

/// More visitors than any type has.
const MAX_VISITORS: usize = 64;

/// Has a message that could not be read read once more, or more often, where something was learned
/// by that. What has descriptors is read once: they are taken.
///
/// `is_written`: whether that value is written as the message is. It is asked where one of serde's
/// buffers was given a `Some`, and a type has refused an option: `untagged` goes on to its next
/// type then, and either may be the one that was written.
#[cold]
#[inline(never)]
pub(super) fn again<R>(
    may_repeat: bool,
    mut error: Error,
    read: impl Fn() -> Result<R>,
    is_written: impl Fn(&R) -> bool,
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
    let read_as = |filling| {
        let _reset = AsJson::begin(filling | TRUSTED);
        read()
    };
    let mut kept = None;
    let plain = match read_as(0) {
        Ok(value) => Some(value),
        Err(e) => {
            // Where nothing else is better, the error is that of what was written.
            error = e;
            None
        }
    };
    // Not those of before: they may have been of other messages.
    let doubts = json::take_doubts();
    let is_certain = doubts & (BARE | OPTIONS) != BARE | OPTIONS;
    if is_certain && plain.is_some() {
        return plain.ok_or(error);
    }
    if !is_certain {
        // Of two that are written alike, the type that comes first is read, as from JSON.
        for value in [read_as(BARE).ok(), plain].into_iter().flatten() {
            if is_written(&value) {
                return Ok(value);
            }
            kept = kept.or(Some(value));
        }
    }
    // A visitor that lacks a method for `Some` is given what is bare.
    for filling in [KEYS, KEYS | BARE, OPTIONS, KEYS | OPTIONS] {
        if doubts & filling == filling {
            match read_as(filling) {
                Ok(value) if is_certain || is_written(&value) => return Ok(value),
                Ok(value) => kept = kept.or(Some(value)),
                Err(_) => {}
            }
        }
    }
    // Maps without an order are written otherwise each time: it may be right all the same.
    kept.ok_or(error)
}
