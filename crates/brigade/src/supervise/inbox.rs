//! What a supervisor's thread sleeps on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Instant;

use super::exit::Report;
use super::request::HandleRequest;

/// Which run of which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunId {
    /// Of the child, for as long as its supervisor knows it.
    pub(super) child: u64,
    /// Of that child's runs.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum Note {
    /// The run's task may have ended, or may have said that it is ready.
    Look(RunId),
    /// A supervisor: all its children are up.
    Ready(RunId),
    /// A supervisor has ended.
    Ended(RunId, Report),
    Request(HandleRequest),
}

/// A queue with one reader.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    notes: Mutex<Notes>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Notes {
    queue: VecDeque<Note>,
    is_closed: bool,
}

impl Inbox {
    /// Puts a note in. The note comes back if the supervisor has ended.
    pub(super) fn put(&self, note: Note) -> Result<(), Note> {
        let mut notes = self.lock();
        if notes.is_closed {
            return Err(note);
        }
        notes.queue.push_back(note);
        drop(notes);
        self.came.notify_one();
        Ok(())
    }

    /// All that is there; waits for it, but no longer than until the deadline.
    pub(super) fn take(&self, deadline: Option<Instant>) -> VecDeque<Note> {
        let mut notes = self.lock();
        while notes.queue.is_empty() {
            notes = match deadline {
                None => self
                    .came
                    .wait(notes)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.came.wait_timeout(notes, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::take(&mut notes.queue)
    }

    /// Takes no more. Gives what was not read.
    pub(super) fn close(&self) -> VecDeque<Note> {
        let mut notes = self.lock();
        notes.is_closed = true;
        std::mem::take(&mut notes.queue)
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Nothing of the program's runs under it.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where notes of one run go.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) inbox: Arc<Inbox>,
    pub(super) run: RunId,
}

impl Address {
    pub(super) fn look(&self) {
        drop(self.inbox.put(Note::Look(self.run)));
    }

    pub(super) fn is_ready(&self) {
        drop(self.inbox.put(Note::Ready(self.run)));
    }

    pub(super) fn has_ended(&self, report: Report) {
        drop(self.inbox.put(Note::Ended(self.run, report)));
    }
}

/// Wakes a supervisor for one of its runs.
#[derive(Debug)]
pub(super) struct LookAgain {
    supervisor: Address,
    /// There is a note in the inbox already.
    is_noted: AtomicBool,
}

impl LookAgain {
    pub(super) fn new(supervisor: Address) -> Arc<LookAgain> {
        Arc::new(LookAgain {
            supervisor,
            is_noted: AtomicBool::new(false),
        })
    }

    /// The supervisor looks now: what comes from here on is worth another note.
    pub(super) fn is_looked_at(&self) {
        self.is_noted.store(false, Ordering::SeqCst);
    }

    /// As a waker would.
    pub(super) fn note(&self) {
        if !self.is_noted.swap(true, Ordering::SeqCst) {
            let Address { inbox, run } = &self.supervisor;
            drop(inbox.put(Note::Look(*run)));
        }
    }
}

impl Wake for LookAgain {
    fn wake(self: Arc<Self>) {
        self.note();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
    }
}
