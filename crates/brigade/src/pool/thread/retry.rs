//! The input of a task that may run again, encoded before it was moved into the task.
//!
//! Inputs are moved, not copied, so a task runs again only if its input can be encoded and decoded.
//! One that cannot, or that has descriptors, which exist only once, does not run again: it ends as
//! if the pool had no retries.

use std::sync::Arc;
use std::time::Duration;

use crate::Message;
use crate::pool::config::Options;
use crate::pool::policy::limits::Attempts;
use crate::task::codec;
use crate::task::entry::caught;

/// What a task runs on.
pub(super) enum TaskInput<A> {
    Value(A),
    /// The input encoded, for a task that runs again.
    Bytes(Arc<[u8]>),
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

    /// The same, of a task that is run again so often, where its time is over.
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

    pub(super) fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }
}

/// The input again.
pub(super) fn decode<A: Message>(bytes: &[u8]) -> Option<A> {
    codec::decode(bytes, Vec::new()).ok()
}
