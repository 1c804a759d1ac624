//! Errors of system calls, with what they are about.
//!
//! A number alone ("os error 11") says neither which call failed, nor what it was for, nor what is
//! in the way. So:
//!
//! - the code that makes a call names it: [`Call::call`], at the place of the call, once;
//! - the code that needs it says for what: [`Call::needed_to`], at the boundary of what is being
//!   done (a channel is made, a worker is started). The first to say so is the most exact, and
//!   stands;
//! - what is probably in the way is found out here, at that moment, in the process that it failed
//!   in, and travels with the error: from the fork server and the workers too
//!   ([`remote_error`](super::remote_error)).

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::limits;
pub(crate) use super::limits::THREAD;

/// A system call that failed: which one, what it was needed for, and what is probably in the way.
///
/// It is inside the [`io::Error`] that a function of this crate gives, where that came from the
/// operating system:
///
/// ```
/// use brigade::SystemError;
///
/// fn explain(error: &std::io::Error) -> String {
///     match SystemError::of(error) {
///         // ("memfd_create(2)", "make a channel", libc::EMFILE, "RLIMIT_NOFILE is 64")
///         Some(e) => format!(
///             "{} to {}: error {}; {}",
///             e.call(), e.purpose(), e.raw_os_error(), e.limit().unwrap_or("no limit known"),
///         ),
///         None => error.to_string(),
///     }
/// }
/// # let _ = explain(&std::io::Error::other("another"));
/// ```
///
/// [`io::Error::kind`] is that of the call's error. [`io::Error::raw_os_error`] is `None`, for an
/// `io::Error` has either a number or a text: [`raw_os_error`](SystemError::raw_os_error) is here.
/// Displayed, it is one sentence with all of it, and what can be done.
#[derive(Clone, PartialEq, Eq)]
pub struct SystemError(pub(super) Subject);

/// What a system call's error is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// Where it happened, if that is worth to be said: empty otherwise.
    pub(super) place: String,
    pub(super) call: Cow<'static, str>,
    pub(super) purpose: Cow<'static, str>,
    pub(super) errno: i32,
    pub(super) limit: Option<String>,
}

/// The longest part of an error that travels, in bytes: it has to fit a datagram.
pub(super) const MOST_TEXT: usize = 120;

/// The longest sentence that travels without a call.
pub(super) const MOST_SENTENCE: usize = 400;

impl SystemError {
    /// The one inside this error, if there is one.
    pub fn of(error: &io::Error) -> Option<&SystemError> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn new(call: &'static str, errno: i32) -> SystemError {
        SystemError(Subject {
            place: String::new(),
            call: Cow::Borrowed(call),
            purpose: Cow::Borrowed(""),
            errno,
            limit: limits::in_the_way(call, errno).map(|mut limit| {
                truncate(&mut limit, MOST_TEXT);
                limit
            }),
        })
    }

    /// The call, and the section of its manual page: `"memfd_create(2)"`.
    pub fn call(&self) -> &str {
        &self.0.call
    }

    /// What it was needed for, as it goes on after "to": `"make a channel"`.
    pub fn purpose(&self) -> &str {
        &self.0.purpose
    }

    /// The error's number, as of errno(3).
    pub fn raw_os_error(&self) -> i32 {
        self.0.errno
    }

    /// What kind of error that is.
    pub fn kind(&self) -> io::ErrorKind {
        io::Error::from_raw_os_error(self.0.errno).kind()
    }

    /// The limit that is probably in the way, with its value: `"RLIMIT_NOFILE is 64"`. `None`:
    /// none is known.
    pub fn limit(&self) -> Option<&str> {
        self.0.limit.as_deref()
    }

    /// What can be done about it, where something can.
    pub fn advice(&self) -> Option<&'static str> {
        limits::advice(&self.0.call, self.0.errno)
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject {
            place,
            call,
            purpose,
            errno,
            limit,
        } = &self.0;
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        f.write_str(call)?;
        if !purpose.is_empty() {
            write!(f, ", which is needed to {purpose},")?;
        }
        let what = if limits::is_denial(*errno) {
            "is refused"
        } else {
            "has failed"
        };
        let why = io::Error::from_raw_os_error(*errno);
        write!(f, " {what}: {why}")?;
        match (limit, self.advice()) {
            (Some(limit), Some(advice)) => write!(f, "; {limit}: {advice}"),
            (Some(only), None) => write!(f, "; {only}"),
            (None, Some(only)) => write!(f, "; {only}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemError")
            .field("call", &self.0.call)
            .field("purpose", &self.0.purpose)
            .field("errno", &self.0.errno)
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for SystemError {}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

/// The number of an error of the operating system, bare or with its subject.
pub(crate) fn errno_of(error: &io::Error) -> Option<i32> {
    let subject = || SystemError::of(error).map(SystemError::raw_os_error);
    error.raw_os_error().or_else(subject)
}

/// The error of the C library's last call, which was this one.
pub(crate) fn last(call: &'static str) -> io::Error {
    named(call, io::Error::last_os_error())
}

/// An error of this call that the kernel did not give itself: a limit that is kept to beforehand,
/// or descriptors that it could not deliver.
pub(crate) fn as_if(call: &'static str, errno: i32) -> io::Error {
    SystemError::new(call, errno).into()
}

#[cold]
pub(crate) fn named(call: &'static str, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => SystemError::new(call, errno).into(),
        None => error,
    }
}

/// Says what a system call's error is about.
pub(crate) trait Call<T> {
    /// Names the call, in an error that names none yet.
    fn call(self, call: &'static str) -> io::Result<T>;

    /// Says what the call was for, in words that go on after "to", unless the error says so
    /// already.
    fn needed_to(self, purpose: &'static str) -> io::Result<T>;

    /// Says where it happened, in front of the rest.
    fn at(self, place: impl FnOnce() -> String) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Call<T> for Result<T, E> {
    #[inline]
    fn call(self, call: &'static str) -> io::Result<T> {
        self.map_err(|e| named(call, e.into()))
    }

    #[inline]
    fn needed_to(self, purpose: &'static str) -> io::Result<T> {
        self.map_err(|e| needed(purpose, e.into()))
    }

    #[inline]
    fn at(self, place: impl FnOnce() -> String) -> io::Result<T> {
        self.map_err(|e| placed(&place(), e.into()))
    }
}

fn subject(error: &mut io::Error) -> Option<&mut Subject> {
    let error: &mut SystemError = error.get_mut()?.downcast_mut()?;
    Some(&mut error.0)
}

/// As [`Call::needed_to`].
#[cold]
pub(crate) fn needed(purpose: &'static str, mut error: io::Error) -> io::Error {
    if let Some(subject) = subject(&mut error).filter(|subject| subject.purpose.is_empty()) {
        subject.purpose = Cow::Borrowed(purpose);
    }
    error
}

/// As [`Call::at`].
#[cold]
pub(crate) fn placed(place: &str, mut error: io::Error) -> io::Error {
    match subject(&mut error) {
        Some(subject) if subject.place.is_empty() => subject.place = place.to_owned(),
        Some(subject) => subject.place = format!("{place}: {}", subject.place),
        None => return io::Error::new(error.kind(), format!("{place}: {error}")),
    }
    error
}

pub(super) fn truncate(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_call_purpose_limit_and_advice_and_keeps_kind_and_number() {
        let made: io::Result<()> =
            Err(io::Error::from_raw_os_error(libc::EMFILE)).call("eventfd(2)");
        let error = made
            .call("another(2)")
            .needed_to("hear of ends")
            .needed_to("do more")
            .at(|| "inner".to_owned())
            .at(|| "outer".to_owned())
            .expect_err("it failed");
        let subject = SystemError::of(&error).expect("a system call's");
        assert_eq!(subject.call(), "eventfd(2)");
        assert_eq!(subject.purpose(), "hear of ends");
        assert_eq!(subject.raw_os_error(), libc::EMFILE);
        assert_eq!(errno_of(&error), Some(libc::EMFILE));
        assert_eq!(
            error.kind(),
            io::Error::from_raw_os_error(libc::EMFILE).kind()
        );
        let text = error.to_string();
        let start = "outer: inner: eventfd(2), which is needed to hear of ends, has failed: ";
        assert!(text.starts_with(start), "{text}");
        if cfg!(any(not(target_os = "linux"), brigade_portable)) {
            assert_eq!(subject.limit(), None, "no limits are looked up");
            return;
        }
        let limit = subject.limit().expect("RLIMIT_NOFILE");
        assert!(limit.starts_with("RLIMIT_NOFILE is "), "{limit}");
        let end = format!("; {limit}: {}", subject.advice().expect("raise it"));
        assert!(text.ends_with(&end), "{text}");
    }

    #[test]
    fn what_is_no_system_calls_error_is_left_as_it_is() {
        let other: io::Result<()> = Err(io::Error::other("no call"));
        let error = other
            .call("open(2)")
            .needed_to("read")
            .expect_err("it failed");
        assert_eq!(error.to_string(), "no call");
        assert!(SystemError::of(&error).is_none() && errno_of(&error).is_none());
    }
}
