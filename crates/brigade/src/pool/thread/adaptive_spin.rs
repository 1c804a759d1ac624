//! Whether and how long a thread looks before it sleeps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::sys::{processors, spin};

/// Threads of all pools that are awake: they run tasks, or search for some.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// The number of a pool's threads that are awake has changed.
pub(super) fn awake_changed(from: usize, to: usize) {
    if to >= from {
        AWAKE.fetch_add(to - from, Ordering::Relaxed);
    } else {
        AWAKE.fetch_sub(from - to, Ordering::Relaxed);
    }
}

/// Whether a processor is free for a thread that only looks: one that searches for work while
/// another thread submits some, or one that waits for a pool while the pool's threads run.
pub(super) fn has_idle_processor() -> bool {
    AWAKE.load(Ordering::Relaxed) < processors::usable()
}

/// How often [`spin_briefly`] looks.
const BRIEF_SPINS: u32 = 16;

/// After this many waits without a look a thread looks again: what did not pay may pay now.
const RETRY_EVERY: u32 = 64;

/// Looks until it is so, for less than a microsecond.
pub(super) fn spin_briefly(is_so: impl Fn() -> bool) -> bool {
    if cfg!(shuttle) || !spin::pays() {
        return is_so();
    }
    (0..BRIEF_SPINS).any(|_| {
        std::hint::spin_loop();
        is_so()
    })
}

/// What a thread has learned of its waits: after some looks in vain it sleeps at once.
#[derive(Debug, Default)]
pub(super) struct AdaptiveSpin {
    /// Waits in a row in which it looked in vain, or did not look.
    failures: u32,
}

impl AdaptiveSpin {
    pub(super) const fn new() -> AdaptiveSpin {
        AdaptiveSpin { failures: 0 }
    }

    /// The thread slept for `time` and was woken. If that was short, looking would have paid.
    pub(super) fn on_wake(&mut self, time: Duration) {
        if time < spin::LIMIT {
            self.failures = 0;
        }
    }

    /// Looks until it is so, for a moment, if a processor is free for it. `false`: it was not.
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
