//! Why something could not be measured, in words for the reader.
//!
//! Nobody branches on these: they are carried to the table. They also travel as results of tasks,
//! so they are plain text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason, complete with what was attempted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
}
