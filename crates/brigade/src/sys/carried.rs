//! What travels beside the bytes of a message: descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::error::Call;
use super::opened;

/// A channel's end, a region of memory, a file.
pub(crate) type Carried = OwnedFd;

/// One of a descriptor that stays where it is.
pub(crate) fn copy(descriptor: impl AsFd) -> io::Result<Carried> {
    opened::copy(descriptor).needed_to("send it")
}

/// What came, as a descriptor.
pub(crate) fn into_descriptor(carried: Carried) -> io::Result<OwnedFd> {
    Ok(carried)
}
