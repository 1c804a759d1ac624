//! The input of a task that may run again, encoded before it was moved into the task.
//!
//! Inputs are moved, not copied, so a task runs again only if its input can be encoded and decoded.
//! One that cannot, or that has descriptors, which exist only once, does not run again: it ends as
//! if the pool had no retries.

use std::sync::Arc;
use std::time::Duration;

use crate::pool::config::Options;
use crate::pool::policy::queue_and_retries::Attempts;
use crate::task::attempt;
use crate::task::codec;
use crate::task::entry::caught;
use crate::task::panic::Unwound;
use crate::{JoinError, Message};

/// What a task runs on.
pub(super) enum TaskInput<A> {
    Value(A),
    /// The input encoded, for a task that runs again; and which run it is.
    Bytes(Arc<[u8]>, u32),
}

impl<A: Message> TaskInput<A> {
    /// Runs the task on it. What was encoded here is decoded here: if that fails the task ends as
    /// it would have without a retry.
    #[inline]
    pub(super) fn run<R>(
        self,
        task: impl FnOnce(A) -> R,
        timed_out: impl FnOnce() -> JoinError,
    ) -> Result<Result<R, JoinError>, Unwound> {
        match self {
            TaskInput::Value(input) => caught(move || task(input)).map(Ok),
            TaskInput::Bytes(bytes, attempt) => {
                attempt::set(attempt);
                let result = caught(move || codec::decode(&bytes, Vec::new()).ok().map(task));
                attempt::set(1);
                result.map(|result| result.ok_or_else(timed_out))
            }
        }
    }
}

pub(super) struct Retry {
    attempts: Attempts,
    bytes: Arc<[u8]>,
}

impl Retry {
    /// `None`: the pool has no retries, or the input cannot be kept.
    pub(super) fn of<A: Message>(options: &Options, input: &A) -> Option<Box<Retry>> {
        Retry::for_task(options.retries, options.timeout, input)
    }

    /// As the constructor above, of a task that is run again `retries` times, where its time is
    /// over.
    pub(super) fn for_task<A: Message>(
        retries: u32,
        timeout: Option<Duration>,
        input: &A,
    ) -> Option<Box<Retry>> {
        if retries == 0 || timeout.is_none() {
            return None;
        }
        let mut bytes = Vec::new();
        let descriptors = caught(|| codec::encode(input, &mut bytes)).ok()?.ok()?;
        descriptors.is_empty().then(|| {
            Box::new(Retry {
                attempts: Attempts::default(),
                bytes: bytes.into(),
            })
        })
    }

    /// Whether the task may run once more. It counts as run then.
    pub(super) fn again(&mut self, retries: u32) -> bool {
        self.attempts.retry(retries)
    }

    /// Which run of the task is next.
    pub(super) fn attempt(&self) -> u32 {
        self.attempts.current()
    }

    pub(super) fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }
}
