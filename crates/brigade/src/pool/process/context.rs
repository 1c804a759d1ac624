//! Contexts: values that many tasks borrow, which are carried once to each worker that needs them.
//!
//! The host alone decides which contexts a worker has. It writes one into the worker's ring in
//! front of the first task that uses it, and notes where: what is taken back from there on takes
//! the context back, too, unless a part of it was sent already and only orders lie before it. A
//! worker has at most [`MAX_CONTEXTS`]; of more, the one that was used least recently goes. Those
//! that the program has dropped go with the next order that changes what tasks run. An order tells
//! the worker what to *keep*, so that an order of that kind which is taken back is made up for by
//! any later one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::input::EncodedInput;
use super::outcome::{Bytes, TransferError};
use crate::Message;
use crate::pool::crash_file::context_file;
use crate::sys::opened;
use crate::worker::process::host::connection::{NotNow, WorkerConnection};
use crate::worker::process::ipc::order::{MAX_CONTEXTS, STATE};
use crate::worker::process::ipc::protocol::EncodedState;

/// Bytes of a context that goes through a ring. A ring holds this much in front of the longest
/// input: a worker takes a context only together with a task that follows it.
const MAX_INLINE: usize = 2 * 1024;

/// Bytes of a state's configuration that go with the setup that a worker gets when it starts. More
/// are in a memory file.
const MAX_INLINE_STATE: usize = 8 * 1024;

/// An encoded context. It is there as long as the program or a task has it.
pub(crate) struct EncodedContext {
    /// No other context of this program has it.
    number: u64,
    value: EncodedInput,
}

impl EncodedContext {
    /// Encodes a value. The error says why that cannot be done.
    pub(in crate::pool) fn encode<C: Message>(value: &C) -> Result<Arc<EncodedContext>, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let encoded = EncodedInput::encode(value, &mut Vec::new());
        let encoded = encoded.and_then(|value| value.in_file_above(MAX_INLINE));
        let value = encoded.map_err(|why| match why {
            TransferError::Why(why) => match why.strip_prefix("its input") {
                Some(rest) => format!("its context{rest}"),
                None => why,
            },
            TransferError::Panicked(unwound) => format!(
                "its context could not be encoded: that panicked: {}",
                unwound.message
            ),
        })?;
        Ok(Arc::new(EncodedContext {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            value,
        }))
    }

    /// What tasks that use their workers' state have in place of a context: what loads it, and from
    /// what.
    pub(in crate::pool) fn of_state(state: &[u8]) -> Result<Arc<EncodedContext>, String> {
        let value = EncodedInput::Inline(Bytes::from_slice(state));
        let value = value
            .in_file_above(MAX_INLINE_STATE)
            .map_err(|why| match why {
                TransferError::Why(why) => why,
                TransferError::Panicked(unwound) => unwound.message,
            })?;
        Ok(Arc::new(EncodedContext {
            number: STATE,
            value,
        }))
    }

    /// The state as each worker's setup has it, and the memory file that the worker then needs.
    pub(super) fn to_setup(&self) -> io::Result<(EncodedState, Option<OwnedFd>)> {
        let (bytes, attachment) = self.value.as_attachment();
        Ok(match attachment.file {
            Some((file, len)) => (EncodedState::InFile(len), Some(opened::copy(file)?)),
            None => (EncodedState::Inline(bytes.to_vec()), None),
        })
    }

    pub(super) fn is_state(&self) -> bool {
        self.number == STATE
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn descriptors(&self) -> usize {
        self.value.descriptors()
    }

    /// Keeps it in a file beside crash files. Returns the name of that.
    pub(super) fn keep_in(&self, dir: &Path) -> io::Result<String> {
        context_file::keep(&self.value.read()?, dir)
    }

    fn write(&self, connection: &mut WorkerConnection) -> Result<(), NotNow> {
        let (bytes, attachment) = self.value.as_attachment();
        connection.write_context(self.number, bytes, attachment)
    }
}

/// The contexts that the worker of a slot has.
#[derive(Default)]
pub(super) struct WorkerContexts {
    /// The one that was used last is the last.
    kept: Vec<KeptContext>,
    /// The worker may have others than those.
    has_more: bool,
    /// The worker was given some.
    has_had: bool,
    /// Contexts that went through its descriptor socket for a task that was taken back.
    left_there: usize,
    /// Bytes of contexts that it was given.
    carried: u64,
}

struct KeptContext {
    number: u64,
    context: Weak<EncodedContext>,
    has_descriptors: bool,
    /// A part of it is in the worker's descriptor socket, or was.
    was_sent: bool,
    /// Where it lies in the worker's ring, or has lain.
    at: u64,
    /// Where it ends there.
    end: u64,
}

impl WorkerContexts {
    /// Bytes of contexts that the worker was given.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Writes what has to come before tasks that use this context, or none.
    pub(super) fn prepare(
        &mut self,
        context: Option<&Arc<EncodedContext>>,
        connection: &mut WorkerConnection,
    ) -> Result<(), NotNow> {
        // A worker has its state from its start.
        let context = context.filter(|context| !context.is_state());
        let number = context.map(|context| context.number);
        self.forget_dropped(number);
        let at = self.kept.iter().position(|it| Some(it.number) == number);
        if let (Some(_), None) = (context, at) {
            let over = (self.kept.len() + 1).saturating_sub(MAX_CONTEXTS);
            self.kept.drain(..over);
            self.has_more |= over > 0;
        }
        if self.has_more {
            // First, so that the worker never has more than it may.
            connection.keep_contexts(self.kept.iter().map(|it| it.number))?;
            self.has_more = false;
        }
        match (context, at) {
            (None, _) => {}
            (Some(_), Some(at)) => self.kept[at..].rotate_left(1),
            (Some(context), None) => {
                let at = connection.position();
                context.write(connection)?;
                self.has_had = true;
                self.carried += context.value.len();
                self.kept.push(KeptContext {
                    number: context.number,
                    context: Arc::downgrade(context),
                    has_descriptors: context.value.descriptors() > 0,
                    was_sent: matches!(context.value, EncodedInput::WithDescriptors(_)),
                    at,
                    end: connection.position(),
                });
            }
        }
        Ok(())
    }

    /// Those that neither the program nor a task has any more are not kept.
    fn forget_dropped(&mut self, but: Option<u64>) {
        let before = self.kept.len();
        let is_used = |it: &KeptContext| it.context.strong_count() > 0 || Some(it.number) == but;
        self.kept.retain(is_used);
        self.has_more |= self.kept.len() < before;
    }

    /// Where what lies in the ring from `begin` on, in front of a task at `at`, can be taken back
    /// from: behind the last context of which a part is in the descriptor socket already. The
    /// worker takes that one when it has another task.
    pub(super) fn end_of_sent(&mut self, begin: u64, at: u64) -> u64 {
        let is_sent = |it: &&KeptContext| it.was_sent && (begin..at).contains(&it.at);
        let sent = self.kept.iter().filter(is_sent).map(|it| it.end).max();
        self.left_there += usize::from(sent.is_some());
        sent.unwrap_or(begin)
    }

    /// What lies in the ring from there on was taken back. Returns whether descriptors of a context
    /// are left in the worker's descriptor socket, or as many contexts as there should be room for.
    pub(super) fn take_back(&mut self, from: u64) -> bool {
        if !self.has_had {
            return false;
        }
        // An order to keep some may have been taken back.
        self.has_more = true;
        let mut left = self.left_there > MAX_CONTEXTS;
        self.kept.retain(|it| {
            let stays = it.at < from;
            left |= !stays && it.has_descriptors;
            stays
        });
        left
    }
}
