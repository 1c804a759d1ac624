//! What travels beside the bytes of a message: here the thing itself, for it stays in the program.

use std::any::Any;
use std::sync::Arc;

/// An end of a channel, a region of memory, a file.
pub(crate) type Carried = Arc<dyn Any + Send + Sync>;

#[cfg(unix)]
pub(crate) use unix::{copy, into_descriptor};

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;

    use super::Carried;

    /// One of a descriptor that stays where it is.
    pub(crate) fn copy(descriptor: impl AsFd) -> io::Result<Carried> {
        Ok(Arc::new(descriptor.as_fd().try_clone_to_owned()?))
    }

    /// What came, as a descriptor.
    pub(crate) fn into_descriptor(carried: Carried) -> io::Result<OwnedFd> {
        let file = carried.downcast::<OwnedFd>();
        let file = file.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Arc::try_unwrap(file).or_else(|shared| shared.try_clone())
    }
}
