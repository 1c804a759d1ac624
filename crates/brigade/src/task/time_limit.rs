//! Which time of a task was over.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which time of a task was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TimeLimit {
    /// How long it may run.
    Timeout(Duration),
    /// The task's deadline: the time `after` its submission.
    Deadline { after: Duration, had_begun: bool },
}

impl TimeLimit {
    /// The time that the task had.
    pub(crate) fn time(self) -> Duration {
        match self {
            TimeLimit::Timeout(time) | TimeLimit::Deadline { after: time, .. } => time,
        }
    }

    pub(crate) fn had_begun(self) -> bool {
        match self {
            TimeLimit::Timeout(_) => true,
            TimeLimit::Deadline { had_begun, .. } => had_begun,
        }
    }
}

/// What the task did, behind its name.
impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeLimit::Timeout(time) => write!(f, "ran longer than its timeout of {time:?}"),
            TimeLimit::Deadline { after, had_begun } => {
                let what = if *had_begun {
                    "still ran"
                } else {
                    "had not begun"
                };
                write!(
                    f,
                    "{what} at its deadline, {after:?} after it was submitted"
                )
            }
        }
    }
}
