//! Why a task of a key was not taken.

use std::error::Error;
use std::fmt;

use crate::pool::policy::keys::NotTaken;

/// The worker that had the tasks of a key is gone, and what they have left there with it: see
/// [`Pool::worker_for`](crate::Pool::worker_for). It has the input of the task that was not taken.
pub struct WorkerLost<A> {
    pub(super) input: A,
}

impl<A> WorkerLost<A> {
    /// The input of the task that was not taken.
    pub fn input(&self) -> &A {
        &self.input
    }

    /// The input, to be submitted again.
    pub fn into_input(self) -> A {
        self.input
    }
}

impl<A> fmt::Display for WorkerLost<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the worker that had the tasks of this key is gone; the next call chooses another",
        )
    }
}

impl<A> fmt::Debug for WorkerLost<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLost").finish_non_exhaustive()
    }
}

impl<A> Error for WorkerLost<A> {}

/// Why a task of a key was not taken at once: from
/// [`WorkerFor::try_submit`](super::WorkerFor::try_submit). It has the input.
#[non_exhaustive]
pub enum TrySubmitError<A> {
    /// The pool's queue is at its limit, or the pool is closed.
    Full(A),
    /// The worker that had the tasks of the key is gone; the next call chooses another.
    Lost(WorkerLost<A>),
}

impl<A> TrySubmitError<A> {
    /// The input of the task that was not taken.
    pub fn into_input(self) -> A {
        match self {
            TrySubmitError::Full(input) => input,
            TrySubmitError::Lost(lost) => lost.into_input(),
        }
    }
}

impl<A> From<NotTaken<A>> for TrySubmitError<A> {
    fn from(why: NotTaken<A>) -> TrySubmitError<A> {
        match why {
            NotTaken::Full(input) => TrySubmitError::Full(input),
            NotTaken::Lost(input) => TrySubmitError::Lost(WorkerLost { input }),
        }
    }
}

impl<A> fmt::Display for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySubmitError::Full(_) => {
                f.write_str("the pool's queue is at its limit, or the pool is closed")
            }
            TrySubmitError::Lost(lost) => lost.fmt(f),
        }
    }
}

impl<A> fmt::Debug for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySubmitError::Full(_) => "Full(..)",
            TrySubmitError::Lost(_) => "Lost(..)",
        })
    }
}

impl<A> Error for TrySubmitError<A> {}
