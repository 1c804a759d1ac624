//! What it takes to run a task again: its input, encoded before it was moved into the task.
//!
//! Inputs are moved, not copied, so a task can be run again only if its input can be encoded and
//! decoded again. One that cannot, or that has descriptors, which are there only once, is not run
//! again: it ends as if no retries had been asked for.

use std::sync::Arc;

use crate::Message;
use crate::pool::config::Options;
use crate::pool::policy::limits::Attempts;
use crate::task::codec;
use crate::task::entry::caught;

/// What a task is run on.
pub(super) enum TaskInput<A> {
    Value(A),
    /// The same again.
    Bytes(Arc<[u8]>),
}

pub(super) struct Retry {
    attempts: Attempts,
    bytes: Arc<[u8]>,
}

impl Retry {
    /// `None`: the options do not ask for it, or it cannot be.
    pub(super) fn of<A: Message>(options: &Options, input: &A) -> Option<Box<Retry>> {
        if options.retries == 0 || options.timeout.is_none() {
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

    /// Whether it may be run once more; it counts as run then.
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
