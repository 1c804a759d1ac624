//! An error that travels to another process, with what it is about.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::error::{MOST_SENTENCE, MOST_TEXT, Subject, SystemError, truncate};

/// An error that travels to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RemoteError {
    System(Box<Subject>),
    Other {
        /// An error of this number is of the same kind.
        errno: i32,
        what: String,
    },
}

impl From<&io::Error> for RemoteError {
    fn from(error: &io::Error) -> RemoteError {
        if let Some(SystemError(subject)) = SystemError::of(error) {
            let mut subject = subject.clone();
            truncate(&mut subject.place, MOST_TEXT);
            return RemoteError::System(Box::new(subject));
        }
        let of_kind = || match error.kind() {
            io::ErrorKind::PermissionDenied => libc::EPERM,
            io::ErrorKind::Unsupported => libc::EOPNOTSUPP,
            io::ErrorKind::InvalidInput => libc::EINVAL,
            io::ErrorKind::NotFound => libc::ENOENT,
            io::ErrorKind::OutOfMemory => libc::ENOMEM,
            _ => 0,
        };
        let mut what = error.to_string();
        truncate(&mut what, MOST_SENTENCE);
        RemoteError::Other {
            errno: error.raw_os_error().unwrap_or_else(of_kind),
            what,
        }
    }
}

impl From<RemoteError> for io::Error {
    fn from(failure: RemoteError) -> io::Error {
        match failure {
            RemoteError::System(subject) => SystemError(*subject).into(),
            RemoteError::Other { errno: 0, what } => io::Error::other(what),
            RemoteError::Other { errno, what } => {
                io::Error::new(io::Error::from_raw_os_error(errno).kind(), what)
            }
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::System(subject) => SystemError(Subject::clone(subject)).fmt(f),
            RemoteError::Other { what, .. } => f.write_str(what),
        }
    }
}

impl RemoteError {
    /// Of no call.
    pub(crate) fn other(what: impl Into<String>) -> RemoteError {
        let mut what = what.into();
        truncate(&mut what, MOST_SENTENCE);
        RemoteError::Other { errno: 0, what }
    }

    /// The number of its error; 0 where it has none.
    #[cfg(test)]
    pub(crate) fn errno(&self) -> i32 {
        match self {
            RemoteError::System(subject) => subject.errno,
            RemoteError::Other { errno, .. } => *errno,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::sys::error::{MOST_TEXT, placed};

    #[test]
    fn it_travels_and_fits_a_datagram() {
        let longest = "x".repeat(1000);
        let mut subject = SystemError::new("prctl(PR_SET_CHILD_SUBREAPER)", libc::EPERM);
        subject.0.limit = Some(longest[..MOST_TEXT].to_owned());
        subject.0.purpose = Cow::Owned(longest[..MOST_TEXT].to_owned());
        let error: io::Error = subject.clone().into();
        let error = placed(&longest, error);
        let failure = RemoteError::from(&error);
        let bytes = postcard::to_stdvec(&failure).expect("encoded");
        assert!(bytes.len() < 450, "{}", bytes.len());
        let back: RemoteError = postcard::from_bytes(&bytes).expect("decoded");
        assert_eq!(back, failure);
        let back = io::Error::from(back);
        let back = SystemError::of(&back).expect("a system call's");
        assert_eq!(
            (back.call(), back.raw_os_error()),
            (subject.call(), libc::EPERM)
        );

        let other = io::Error::new(io::ErrorKind::Unsupported, longest);
        let failure = RemoteError::from(&other);
        assert!(postcard::to_stdvec(&failure).expect("encoded").len() < 450);
        assert_eq!(io::Error::from(failure).kind(), io::ErrorKind::Unsupported);
    }
}
