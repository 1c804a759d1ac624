//! A result's bytes, decoded in the host.

use std::os::fd::OwnedFd;

use crate::JoinError;
use crate::task::codec::Encoded;
use crate::task::entry::caught;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;

/// From an encoded result and its descriptors. The error says what is wrong with it.
pub(crate) type Decode<R> = fn(Encoded<'_>, Vec<OwnedFd>) -> Result<R, String>;

/// The result of the task `name`. Decoding is the user's code, which may panic.
pub(crate) fn decoded<R>(
    encoded: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    decode: Decode<R>,
    name: impl FnOnce() -> TaskName,
) -> Result<R, JoinError> {
    match caught(|| decode(encoded, descriptors)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(why)) => Err(JoinError::Undeliverable(format!(
            "task `{}`: its result {why}",
            name()
        ))),
        Err(unwound) => Err(JoinError::panicked(
            name(),
            unwound,
            Symbols::of_this_process(),
        )),
    }
}
