//! How long it pays to look before sleeping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::sys::{processors, spin};

/// Threads of all pools that are awake: they run tasks, or look for some.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// A pool has so many more of them, or fewer.
pub(super) fn awake_changed(from: usize, to: usize) {
    if to >= from {
        AWAKE.fetch_add(to - from, Ordering::Relaxed);
    } else {
        AWAKE.fetch_sub(from - to, Ordering::Relaxed);
    }
}

/// Whether a processor is free for a thread that only looks: one that has nothing to do, while
/// another gives the pool something to do; or one that waits for a pool, while threads of it run.
pub(super) fn has_idle_processor() -> bool {
    AWAKE.load(Ordering::Relaxed) < processors::usable()
}

/// Looks of a [`glance`].
const BRIEF_SPINS: u32 = 16;

/// Every so many times that it would not have looked, it looks: what did not pay then may pay now.
const RETRY_EVERY: u32 = 64;

/// Looks for less than a microsecond.
pub(super) fn spin_briefly(is_so: impl Fn() -> bool) -> bool {
    if cfg!(shuttle) || !spin::pays() {
        return is_so();
    }
    (0..BRIEF_SPINS).any(|_| {
        std::hint::spin_loop();
        is_so()
    })
}

/// What one that waits has learned: after it has looked in vain some times it sleeps at once.
#[derive(Debug, Default)]
pub(super) struct AdaptiveSpin {
    /// Times in a row that it looked in vain, or did not look.
    failures: u32,
}

impl AdaptiveSpin {
    pub(super) const fn new() -> AdaptiveSpin {
        AdaptiveSpin { failures: 0 }
    }

    /// It slept for so long, and was woken. If that was soon, it had better looked.
    pub(super) fn on_wake(&mut self, time: Duration) {
        if time < spin::LIMIT {
            self.failures = 0;
        }
    }

    /// Looks until it is so, for a moment, if there is a processor for it. `false`: it was not.
    pub(super) fn spin_until(&mut self, has_processor: bool, is_so: impl Fn() -> bool) -> bool {
        if is_so() {
            return true;
        }
        if cfg!(shuttle) || !has_processor || !spin::pays() {
            return false;
        }
        if self.failures >= 4 && self.failures % RETRY_EVERY != 0 {
            self.failures = self.failures.wrapping_add(1);
            return false;
        }
        let is_so = spin::until(is_so);
        self.failures = if is_so {
            0
        } else {
            self.failures.wrapping_add(1)
        };
        is_so
    }
}
