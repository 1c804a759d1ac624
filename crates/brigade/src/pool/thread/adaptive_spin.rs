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
const GLANCE: u32 = 16;

/// Every so many times that it would not have looked, it looks: what did not pay then may pay now.
const AGAIN: u32 = 64;

/// Looks for less than a microsecond.
pub(super) fn glance(is_so: impl Fn() -> bool) -> bool {
    if cfg!(shuttle) || !spin::pays() {
        return is_so();
    }
    (0..GLANCE).any(|_| {
        std::hint::spin_loop();
        is_so()
    })
}

/// What one that waits has learned: after it has looked in vain some times it sleeps at once.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Times in a row that it looked in vain, or did not look.
    in_vain: u32,
}

impl Patience {
    pub(super) const fn new() -> Patience {
        Patience { in_vain: 0 }
    }

    /// It slept for so long, and was woken. If that was soon, it had better looked.
    pub(super) fn slept(&mut self, time: Duration) {
        if time < spin::LIMIT {
            self.in_vain = 0;
        }
    }

    /// Looks until it is so, for a moment, if there is a processor for it. `false`: it was not.
    pub(super) fn until(&mut self, free: bool, is_so: impl Fn() -> bool) -> bool {
        if is_so() {
            return true;
        }
        if cfg!(shuttle) || !free || !spin::pays() {
            return false;
        }
        if self.in_vain >= 4 && self.in_vain % AGAIN != 0 {
            self.in_vain = self.in_vain.wrapping_add(1);
            return false;
        }
        let is_so = spin::until(is_so);
        self.in_vain = if is_so {
            0
        } else {
            self.in_vain.wrapping_add(1)
        };
        is_so
    }
}
