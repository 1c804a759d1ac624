//! Which process owns a range of a region, said in memory that all of its owners-to-be map.
//!
//! Problem: a message is bytes, and bytes can be decoded twice: a task that is run again, a message
//! that was kept. A range of memory must not have two owners. So each range has an entry in a
//! table, and a message that carries it names the entry and a *ticket*, which is good for one
//! decode.
//!
//! 1. An entry is a [`RawLock`], held by the process that owns the range: a holder that dies lets
//!    go of it, and cannot be taken for a living process.
//! 2. To encode: a new ticket goes into the entry and the message, and the entry is `Leaving`. The
//!    sender's value is alive, and may be borrowed: it stays the owner.
//! 3. The sender's value is dropped: the entry is `OnItsWay`, and the lock let go of.
//! 4. To decode: wait for that (it is a moment: the sender drops what was sent), take the lock,
//!    compare the ticket, and the entry is `Owned`. With another ticket, or in another state, the
//!    message does not decode.
//! 5. A value that is dropped and was not encoded leaves the entry `Dropped`, or `Poisoned` in a
//!    panic. One that was split, joined or frozen leaves it `Retired`, for ever.
//! 6. [`Recovery`](super::Recovery) takes the lock if no live process has it; in which state it
//!    finds the entry, and whether its last owner died, says whether the range is poisoned.
//!
//! Only the holder of the lock changes the entry. A process that scribbles over the table can give
//! itself what it can write to anyway; that it does not give *this* process the same bytes twice is
//! seen to by [`OwnedRanges`](super::owned_ranges::OwnedRanges).

#![expect(
    unsafe_code,
    reason = "the table is in shared memory, and its entries are ShmSafe"
)]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Shared, ShmSafe};
use crate::sim::shared::{AtomicU32, AtomicU64, Ordering};
use crate::sync::Token;
use crate::sync::raw_lock::{Acquired, RawLock};

/// How long a message waits for its sender to drop what it has sent.
const SENDER_DROPS_WITHIN: Duration = Duration::from_secs(5);
/// How often it looks meanwhile whether another process has the range by now.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const RETIRED: u32 = 0;
const OWNED: u32 = 1;
const LEAVING: u32 = 2;
const ON_ITS_WAY: u32 = 3;
const DROPPED: u32 = 4;
const POISONED: u32 = 5;

/// One range's. All zero: it has no owner, for ever.
#[derive(Debug)]
pub(super) struct OwnerEntry {
    lock: RawLock,
    state: AtomicU32,
    ticket: AtomicU64,
}

// SAFETY: words of which every pattern is tolerated: a garbage holder is a dead one, an unknown
// state is as `RETIRED`, and a ticket is a number. It has no pointers and nothing to drop, and is
// written through shared references.
unsafe impl ShmSafe for OwnerEntry {}

/// Why a range is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerRefusal {
    /// The ticket is an old one, or was used.
    Used,
    /// The sender has not let go of it.
    Kept,
    /// A live process owns it.
    Owned,
    /// The range was split, joined or frozen.
    Consumed,
}

impl OwnerRefusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            OwnerRefusal::Used => {
                "a part of a region that has arrived already, or was sent again since"
            }
            OwnerRefusal::Kept => {
                "a part of a region that its sender keeps: to send it is to give it away"
            }
            OwnerRefusal::Owned => "a part of a region that a live worker has",
            OwnerRefusal::Consumed => {
                "a part of a region that was split, joined or frozen meanwhile"
            }
        }
    }
}

impl OwnerEntry {
    /// This process owns it, from now on.
    fn begin(&self) {
        self.lock.try_acquire();
        self.state.store(OWNED, Ordering::Relaxed);
    }

    /// The ticket for a message that carries it. The caller is the owner.
    pub(super) fn send(&self) -> Result<u64, OwnerRefusal> {
        // Not so if a peer has scribbled over it, or in a fork of the owner.
        if self.lock.holder() != Some(Token::mine()) {
            return Err(OwnerRefusal::Owned);
        }
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.state.store(LEAVING, Ordering::Relaxed);
        Ok(ticket)
    }

    /// The owner is gone. `clean`: not in a panic.
    pub(super) fn leave(&self, clean: bool) {
        self.end(match (self.state.load(Ordering::Relaxed), clean) {
            (LEAVING, _) => ON_ITS_WAY,
            (_, true) => DROPPED,
            (_, false) => POISONED,
        });
    }

    /// The range is no range of its own any more.
    pub(super) fn retire(&self) {
        self.end(RETIRED);
    }

    fn end(&self, state: u32) {
        if self.lock.holder() == Some(Token::mine()) {
            self.state.store(state, Ordering::Relaxed);
            self.lock.release_to_all();
        }
    }

    /// Makes this process the owner, for a message with this ticket.
    pub(super) fn receive(&self, ticket: u64) -> Result<(), OwnerRefusal> {
        let patience = Instant::now() + SENDER_DROPS_WITHIN;
        let is_on_its_way = || {
            let state = self.state.load(Ordering::Relaxed);
            self.ticket.load(Ordering::Relaxed) == ticket && matches!(state, LEAVING | ON_ITS_WAY)
        };
        loop {
            if !is_on_its_way() {
                return Err(OwnerRefusal::Used);
            }
            let now = Instant::now();
            if now >= patience {
                return Err(OwnerRefusal::Kept);
            }
            let Some(acquired) = self.lock.acquire(Some(now + LOOK_EVERY)) else {
                continue;
            };
            if is_on_its_way() {
                self.state.store(OWNED, Ordering::Relaxed);
                return Ok(());
            }
            self.note_death(acquired);
            self.lock.release_to_all();
            return Err(OwnerRefusal::Used);
        }
    }

    /// Makes this process the owner, if no live process is. Whether the range is whole.
    pub(super) fn recover(&self) -> Result<bool, OwnerRefusal> {
        let Some(acquired) = self.lock.try_acquire() else {
            return Err(OwnerRefusal::Owned);
        };
        self.note_death(acquired);
        let whole = match self.state.load(Ordering::Relaxed) {
            LEAVING | ON_ITS_WAY | DROPPED => true,
            POISONED => false,
            _ => {
                self.lock.release_to_all();
                return Err(OwnerRefusal::Consumed);
            }
        };
        // A message that carries it is good for nothing now.
        self.ticket.fetch_add(1, Ordering::Relaxed);
        self.state.store(OWNED, Ordering::Relaxed);
        Ok(whole)
    }

    /// The range was this process's for a moment, which no other process saw.
    pub(super) fn put_back(&self, whole: bool) {
        self.end(if whole { DROPPED } else { POISONED });
    }

    #[cfg(all(test, target_os = "linux", not(brigade_portable)))]
    pub(super) fn set_ticket(&self, ticket: u64) {
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    fn note_death(&self, acquired: Acquired) {
        if acquired == Acquired::OwnerDied && self.state.load(Ordering::Relaxed) == OWNED {
            self.state.store(POISONED, Ordering::Relaxed);
        }
    }
}

/// The entries of ranges that were made together. There is no table before one of them is sent.
#[derive(Debug)]
pub(super) struct Owners {
    count: usize,
    table: Mutex<Option<Shared<[OwnerEntry]>>>,
}

impl Owners {
    /// The owners of `count` ranges, all of this process.
    pub(super) fn new(count: usize) -> Arc<Owners> {
        Arc::new(Owners {
            count,
            table: Mutex::new(None),
        })
    }

    /// Of a range that has arrived.
    pub(super) fn of(table: Shared<[OwnerEntry]>) -> Arc<Owners> {
        Arc::new(Owners {
            count: table.len(),
            table: Mutex::new(Some(table)),
        })
    }

    /// The table, if there is one.
    pub(super) fn get(&self) -> Option<Shared<[OwnerEntry]>> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The table, made if there is none. All that was not sent is this process's.
    pub(super) fn make(&self) -> io::Result<Shared<[OwnerEntry]>> {
        let mut made = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = &*made {
            return Ok(table.clone());
        }
        let table = Shared::<[OwnerEntry]>::zeroed(self.count)?;
        table.iter().for_each(OwnerEntry::begin);
        *made = Some(table.clone());
        Ok(table)
    }
}
