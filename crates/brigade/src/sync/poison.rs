//! The mark that what a lock guards may be half-written.

use std::thread;

use super::raw_lock::Acquired;
use crate::sim::shared::{AtomicU32, Ordering};

/// Not zero: poisoned. Only the holder of the lock writes it.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct Poison(AtomicU32);

impl Poison {
    const_but_in_models! {
        pub(super) const fn new() -> Poison {
            Poison(AtomicU32::new(0))
        }
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    #[cold]
    pub(super) fn set(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Notes how the lock came to us.
    #[inline]
    pub(super) fn note(&self, acquired: Acquired) {
        if acquired == Acquired::OwnerDied {
            self.set();
        }
    }
}

/// Whether the thread was panicking already when it took the lock: only a panic that begins under
/// the lock poisons it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PanickingBefore {
    panicking: bool,
}

impl PanickingBefore {
    #[inline]
    pub(super) fn now() -> PanickingBefore {
        PanickingBefore {
            panicking: thread::panicking(),
        }
    }

    /// When the lock is let go.
    #[inline]
    pub(super) fn end(self, poison: &Poison) {
        if !self.panicking && thread::panicking() {
            poison.set();
        }
    }
}
