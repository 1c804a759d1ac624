//! A task's error as a value that can be sent.

use std::panic::Location;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::crash::Death;
use crate::task::name::TaskName;
use crate::task::symbols::Frames;
use crate::task::time_limit::TimeLimit;
use crate::task::whereabouts::Whereabouts;
use crate::{Cause, Crash, JoinError, Panic, Phase, Timeout};

/// A [`JoinError`] as a value that can be sent to another machine, which makes a `JoinError` of it
/// again.
///
/// All that is known of the error goes along, with the names of its backtrace, which are looked up
/// for that; but not the [file of a crash](Crash::file), which is on its own machine.
///
/// # Examples
/// ```
/// use std::panic::Location;
/// use brigade::JoinError;
/// use brigade::exported::{self, Failure};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let error = brigade::process::spawn(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
/// let bytes = exported::encode(&Failure::of(&error))?;
///
/// let failure = exported::decode::<Failure>(&bytes)?;
/// let error = failure.into_error("render", Location::caller());
/// assert!(matches!(error, JoinError::Crashed(crash) if crash.task() == "render"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure(FailureKind);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum FailureKind {
    Panicked {
        message: String,
        location: Option<String>,
        backtrace: Option<String>,
    },
    Crashed {
        cause: Cause,
        pid: u32,
        phase: Phase,
        stderr: String,
        address: Option<u64>,
        backtrace: Option<String>,
        innermost: Option<String>,
    },
    TimedOut {
        limit: TimeLimit,
        place: Option<OverrunPlace>,
        stderr: String,
    },
    Cancelled,
    Undeliverable(String),
    Closed,
}

/// Where a task was that ran over its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OverrunPlace {
    pid: Option<u32>,
    phase: Option<Phase>,
    blocked: String,
    backtrace: Option<String>,
    innermost: Option<String>,
}

impl Failure {
    /// This error, with all that is known of it, as a value.
    pub fn of(error: &JoinError) -> Failure {
        Failure(match error {
            JoinError::Panicked(panic) => FailureKind::Panicked {
                message: panic.message().to_owned(),
                location: panic.location().map(str::to_owned),
                backtrace: panic.backtrace().map(str::to_owned),
            },
            JoinError::Crashed(crash) => FailureKind::Crashed {
                cause: crash.cause().clone(),
                pid: crash.pid(),
                phase: crash.phase(),
                stderr: crash.stderr().to_owned(),
                address: crash.0.address.map(|address| address as u64),
                backtrace: crash.backtrace().map(str::to_owned),
                innermost: crash.0.frames.innermost(),
            },
            JoinError::TimedOut(timeout) => FailureKind::TimedOut {
                limit: timeout.limit(),
                place: timeout.place().map(|place| OverrunPlace {
                    pid: place.pid,
                    phase: place.phase,
                    blocked: place.blocked.clone(),
                    backtrace: place.backtrace().map(str::to_owned),
                    innermost: place.frames.innermost(),
                }),
                stderr: timeout.stderr().to_owned(),
            },
            JoinError::Cancelled => FailureKind::Cancelled,
            JoinError::Undeliverable(why) => FailureKind::Undeliverable(why.clone()),
            JoinError::Closed => FailureKind::Closed,
        })
    }

    /// A crash of which nothing is known but that it was one: the machine that ran the task, or the
    /// program on it, is gone.
    pub fn lost() -> Failure {
        Failure(FailureKind::Crashed {
            cause: Cause::Lost,
            pid: 0,
            phase: Phase::Running,
            stderr: String::new(),
            address: None,
            backtrace: None,
            innermost: None,
        })
    }

    /// The [deadline](crate::pool::TaskBuilder::deadline) of a task has passed, the time `after`
    /// it was submitted; whether it had begun to run.
    pub fn deadline(after: Duration, had_begun: bool) -> Failure {
        Failure(FailureKind::TimedOut {
            limit: TimeLimit::Deadline { after, had_begun },
            place: None,
            stderr: String::new(),
        })
    }

    /// This failure, of a task that was submitted the time `by` before this machine's pool got it:
    /// a deadline that has passed says how long after that it was. Other errors stay what they are.
    pub fn submitted_earlier(mut self, by: Duration) -> Failure {
        if let FailureKind::TimedOut {
            limit: TimeLimit::Deadline { after, .. },
            ..
        } = &mut self.0
        {
            *after = after.saturating_add(by);
        }
        self
    }

    /// The error of the task of this name, which was started there.
    pub fn into_error(self, task: &str, started_at: &'static Location<'static>) -> JoinError {
        let task = TaskName::told(task, started_at);
        match self.0 {
            FailureKind::Panicked {
                message,
                location,
                backtrace,
            } => JoinError::Panicked(Panic::told(task, message, location, backtrace)),
            FailureKind::Crashed {
                cause,
                pid,
                phase,
                stderr,
                address,
                backtrace,
                innermost,
            } => JoinError::Crashed(Crash(Box::new(Death {
                cause,
                pid,
                task,
                phase,
                stderr,
                // Programs are 64-bit ones.
                address: address.map(|address| address as usize),
                frames: Frames::told(backtrace, innermost),
                backtrace: OnceLock::new(),
                file: None,
                file_error: None,
            }))),
            FailureKind::TimedOut {
                limit,
                place,
                stderr,
            } => JoinError::TimedOut(match place {
                None => Timeout::new(task, limit),
                Some(place) => {
                    let frames = Frames::told(place.backtrace, place.innermost);
                    let mut at = Whereabouts::new(place.pid, place.phase, frames);
                    at.blocked = place.blocked;
                    Timeout::at(task, limit, at, stderr)
                }
            }),
            FailureKind::Cancelled => JoinError::Cancelled,
            FailureKind::Undeliverable(why) => JoinError::Undeliverable(why),
            FailureKind::Closed => JoinError::Closed,
        }
    }
}
