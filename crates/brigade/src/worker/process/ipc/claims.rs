//! Which of the tasks that lie in a worker's mailbox it has begun, and which it may begin.
//!
//! Tasks are counted in the order in which they were offered. One 64-bit word holds how many of
//! them were begun (the low half) and how many are offered (the high half). The worker begins a
//! task by moving the low half on, the host offers by moving the high half on, and takes back by
//! moving it down: each by one atomic step on the same word, so a task is either begun or taken
//! back.
//!
//! **Hostile memory.** The worker can write the word. The host checks what it reads against its own
//! counts, tries a bounded number of times, and takes anything else for a broken protocol.

use crate::sim::claims::{AtomicU64, Ordering, fence_after_rmw};
use crate::transport::ring::Corrupt;

/// All zero is the beginning.
#[derive(Debug, Default)]
pub(in crate::worker::process) struct Claims(AtomicU64);

fn pack(begun: u32, offered: u32) -> u64 {
    u64::from(begun) | u64::from(offered) << 32
}

fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// More tasks than a mailbox has room for.
const MAX_OFFERED: u32 = 1 << 20;

/// How often the host tries to change the claim. An honest worker changes it once for each task.
const MAX_CLAIM_TRIES: u32 = 10_000;

impl Claims {
    // ---- the worker

    /// Begins the next task, the one after `begun` others, if there is one.
    pub(in crate::worker::process) fn begin(&self, begun: u32) -> Result<bool, Corrupt> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let (_, offered) = unpack(word);
            if offered == begun {
                return Ok(false);
            }
            // The task before has written over this.
            if offered.wrapping_sub(begun) > MAX_OFFERED {
                return Err(Corrupt);
            }
            match self.0.compare_exchange_weak(
                word,
                pack(begun.wrapping_add(1), offered),
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    fence_after_rmw();
                    return Ok(true);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Whether there is a task after `begun` others.
    pub(in crate::worker::process) fn has_more(&self, begun: u32) -> bool {
        unpack(self.0.load(Ordering::Acquire)).1 != begun
    }

    /// The task that was begun last, counted from 0. A worker of a single task has no claims.
    #[cfg(feature = "tracing")]
    pub(in crate::worker::process) fn begun_last(&self) -> u32 {
        unpack(self.0.load(Ordering::Relaxed)).0.wrapping_sub(1)
    }

    /// A hostile worker: one less was begun.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(in crate::worker::process) fn unsay(&self) {
        let less = |word: u64| Some(word & !0xffff_ffff | u64::from((word as u32).wrapping_sub(1)));
        let _ = (self.0).fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// How many are offered and not begun.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(in crate::worker::process) fn ahead(&self) -> u32 {
        let (begun, offered) = unpack(self.0.load(Ordering::SeqCst));
        offered.wrapping_sub(begun)
    }

    // ---- the host

    /// Offers `count` more tasks.
    pub(in crate::worker::process) fn offer(&self, count: u32) {
        self.0.fetch_add(u64::from(count) << 32, Ordering::SeqCst);
        fence_after_rmw();
    }

    /// How many were begun, where `finished` results were taken and `offered` tasks offered.
    pub(in crate::worker::process) fn begun(
        &self,
        finished: u32,
        offered: u32,
    ) -> Result<u32, Corrupt> {
        let (begun, there) = unpack(self.0.load(Ordering::Acquire));
        check(begun, there, finished, offered)?;
        Ok(begun)
    }

    /// Takes back what was offered and not begun, but for the first `keep` tasks of all. Gives how
    /// many are offered now.
    pub(in crate::worker::process) fn take_back(
        &self,
        keep: u32,
        finished: u32,
        offered: u32,
    ) -> Result<u32, Corrupt> {
        let mut word = self.0.load(Ordering::Acquire);
        for _ in 0..MAX_CLAIM_TRIES {
            let (begun, there) = unpack(word);
            check(begun, there, finished, offered)?;
            // In order of age: what was finished, what was begun, what is kept.
            let kept = begun
                .wrapping_sub(finished)
                .max(beyond(keep, finished))
                .min(offered.wrapping_sub(finished));
            let left = finished.wrapping_add(kept);
            match self.0.compare_exchange(
                word,
                pack(begun, left),
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(left),
                Err(now) => word = now,
            }
        }
        Err(Corrupt)
    }
}

/// By how much a running count is beyond another; 0, if it is behind.
pub(super) fn beyond(count: u32, other: u32) -> u32 {
    (count.wrapping_sub(other) as i32).max(0) as u32
}

/// Whether a worker can have begun `begun` tasks, and left the offers alone.
fn check(begun: u32, there: u32, finished: u32, offered: u32) -> Result<(), Corrupt> {
    let most = offered.wrapping_sub(finished);
    if there == offered && begun.wrapping_sub(finished) <= most {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_wrap() {
        let claims = Claims::default();
        let start = u32::MAX - 1;
        claims.0.store(pack(start, start), Ordering::Relaxed);
        claims.offer(4);
        let offered = start.wrapping_add(4);
        assert_eq!(claims.begin(start), Ok(true));
        assert_eq!(claims.begun(start, offered), Ok(u32::MAX));
        assert_eq!(claims.begin(u32::MAX), Ok(true));
        // One is kept that was not begun, though its number is the smaller one.
        assert_eq!(claims.take_back(1, start, offered), Ok(1));
        assert_eq!((claims.begin(0), claims.begin(1)), (Ok(true), Ok(false)));
        assert!(!claims.has_more(1));
    }

    #[test]
    fn a_claim_that_makes_no_sense_is_corrupt() {
        let claims = Claims::default();
        claims.offer(2);
        for (begun, offered) in [(3, 2), (u32::MAX, 2), (0, 1), (0, 3)] {
            claims.0.store(pack(begun, offered), Ordering::Relaxed);
            assert_eq!(claims.begun(0, 2), Err(Corrupt));
            assert_eq!(claims.take_back(0, 0, 2), Err(Corrupt));
        }
    }
}
