//! A result's bytes, decoded in the host.

use std::os::fd::OwnedFd;

use crate::JoinError;
use crate::task::entry::caught;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;

/// From a result's bytes and descriptors. The error says what is wrong with the bytes.
pub(crate) type Decode<R> = fn(&[u8], Vec<OwnedFd>) -> Result<R, String>;

/// The result of the task `name`. Decoding is the user's code, which may panic.
pub(crate) fn decoded<R>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
    decode: Decode<R>,
    name: impl FnOnce() -> TaskName,
) -> Result<R, JoinError> {
    match caught(|| decode(bytes, descriptors)) {
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
