//! Waiting for something that a process holds which may die.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::token::PID_BITS;
use super::token::{ProcessLife, Token, life_of};
use super::{LivenessTable, has_ended, slot_word};
use crate::sys::futex::{self, Wake};

/// How long one sleep lasts where nothing would end it: the holder is an outsider, or there is no
/// table.
const SLICE: Duration = Duration::from_millis(5);

/// A watch over the living, to be begun *before* looking at which process holds what: a death after
/// that ends the sleep.
#[derive(Debug)]
pub(crate) struct DeathWatch {
    liveness: Option<&'static LivenessTable>,
    epoch: u32,
    /// A process that was looked up ends no sleep when it dies.
    sliced: bool,
}

impl DeathWatch {
    /// Begins to watch.
    pub(crate) fn begin() -> DeathWatch {
        // Without one (no descriptors left) the sleep is cut into slices, and there are no workers
        // to look up.
        let liveness = LivenessTable::get().ok();
        DeathWatch {
            epoch: liveness.map_or(0, |r| r.epoch().load(Ordering::Acquire)),
            sliced: liveness.is_none(),
            liveness,
        }
    }

    /// Whether this process is dead. Of one that lives and may die unseen, the sleep takes note.
    pub(crate) fn is_dead(&mut self, token: Token) -> bool {
        if token == Token::mine() {
            return false;
        }
        if token == Token::HOST {
            let host = self.liveness.and_then(|liveness| liveness.host);
            self.sliced |= host.is_some();
            return host.is_some_and(has_ended);
        }
        if token.is_outsider() {
            let pid = token.0 & ((1 << PID_BITS) - 1);
            let digest = token.0 >> PID_BITS & 0xff;
            let is_dead = match life_of(pid) {
                // Another process has its number now.
                ProcessLife::Started(other) => other != digest,
                ProcessLife::Ended => true,
                ProcessLife::Unknown => false,
            };
            self.sliced |= !is_dead;
            return is_dead;
        }
        let Some(liveness) = self.liveness else {
            return false;
        };
        token.place().is_none_or(|(slot, generation)| {
            slot_word(&liveness.mapping, slot).load(Ordering::Acquire) != generation << 1
        })
    }

    /// Whether a process has died between the beginnings of that one and of this.
    pub(crate) fn saw_a_death_since(&self, earlier: &DeathWatch) -> bool {
        self.epoch != earlier.epoch
    }

    /// As [`sleep`](Self::sleep), on a word of this process's own, and on any number of shared
    /// ones. It looks up no process, so it knows of none that may die unseen.
    pub(crate) fn sleep_on_all(
        &self,
        own: (&AtomicU32, u32),
        shared: &[(&AtomicU32, u32)],
        deadline: Option<Instant>,
    ) -> Wake {
        let mut words = Vec::with_capacity(shared.len() + 2);
        words.push(own);
        words.extend(self.liveness.map(|table| (table.epoch(), self.epoch)));
        words.extend(shared);
        futex::wait_any(&words, deadline)
    }

    /// Sleeps while `word` is `expected` and no process has died, and no longer than until the
    /// deadline. May come back early.
    pub(crate) fn sleep(&self, word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
        let now = Instant::now();
        if deadline.is_some_and(|at| at <= now) {
            return Wake::TimedOut;
        }
        let slice = self.sliced.then(|| now + SLICE);
        let (until, cut) = match (deadline, slice) {
            (Some(at), Some(slice)) if slice < at => (Some(slice), true),
            (None, Some(slice)) => (Some(slice), true),
            (at, _) => (at, false),
        };
        let woken = match self.liveness {
            Some(liveness) => {
                futex::wait_either((word, expected), (liveness.epoch(), self.epoch), until)
            }
            None => futex::wait_shared(word, expected, until),
        };
        if cut { Wake::Look } else { woken }
    }
}
