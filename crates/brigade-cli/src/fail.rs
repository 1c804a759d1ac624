//! Why something could not be measured, in words for the reader.
//!
//! Nobody branches on these: they are carried to the table. They also travel as results of tasks,
//! so they are plain text.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// A reason, complete with what was attempted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    reason: String,
    /// The other side of the measurement was gone, or did not do its part: see [`first_cause`].
    by_other_side: bool,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            by_other_side: false,
        }
    }

    /// The other side was gone, or was waited for in vain.
    pub(crate) fn by_other_side(reason: impl Into<String>) -> Self {
        Self {
            by_other_side: true,
            ..Self::new(reason)
        }
    }

    /// An error of a connection to another side.
    pub(crate) fn of_line(what: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof,
        };
        let gone = [
            BrokenPipe,
            ConnectionRefused,
            ConnectionReset,
            TimedOut,
            UnexpectedEof,
        ];
        Self {
            reason: format!("{what}: {error}"),
            by_other_side: gone.contains(&error.kind()),
        }
    }

    /// `the reason: why`.
    pub(crate) fn because(self, why: &str) -> Self {
        Self {
            reason: format!("{}: {why}", self.reason),
            ..self
        }
    }

    /// `what: the reason`.
    pub(crate) fn during(self, what: &str) -> Self {
        Self {
            reason: format!("{what}: {}", self.reason),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What came of a measurement with two sides, by what came of each.
///
/// When one side fails, the other fails too: it finds the line dead, or waits in vain. The reason
/// to tell is that of the side which failed by itself, and the near one's where neither or both
/// did.
pub(crate) fn first_cause<T>(
    near: Result<T, Failure>,
    far: Result<(), Failure>,
) -> Result<T, Failure> {
    match (near, far) {
        (Ok(value), Ok(())) => Ok(value),
        (Err(near), Err(far)) if near.by_other_side && !far.by_other_side => Err(far),
        (Err(near), _) => Err(near),
        (Ok(_), Err(far)) => Err(far),
    }
}

/// Says of any error what was attempted when it came.
pub(crate) trait OrFail<T> {
    /// The value, or `what: the error`.
    fn or_fail(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_attempted() {
        let failed: Result<(), _> = Err(std::io::Error::from_raw_os_error(libc::EPERM));
        let reason = failed.or_fail("opening the gate").unwrap_err().to_string();
        assert!(reason.starts_with("opening the gate: "), "{reason}");
        assert!(reason.contains("not permitted"), "{reason}");
    }

    #[test]
    fn of_two_sides_the_one_that_failed_by_itself_is_told_of() {
        let own = |reason: &str| Failure::new(reason);
        let dead = || Failure::of_line("reading", &io::ErrorKind::UnexpectedEof.into());
        let told = |near, far| first_cause::<()>(near, far).map_err(|reason| reason.to_string());
        assert_eq!(told(Ok(()), Ok(())), Ok(()));
        assert_eq!(told(Err(own("near")), Err(dead())), Err("near".into()));
        assert_eq!(told(Err(dead()), Err(own("far"))), Err("far".into()));
        assert_eq!(told(Err(own("near")), Err(own("far"))), Err("near".into()));
        assert_eq!(told(Ok(()), Err(own("far"))), Err("far".into()));
        let in_vain = Failure::by_other_side("waited").during("counting");
        assert_eq!(told(Err(in_vain), Ok(())), Err("counting: waited".into()));
    }
}
