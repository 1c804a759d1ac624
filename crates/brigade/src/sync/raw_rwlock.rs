//! Many readers or one writer, without the value: what [`RwLock`](super::RwLock) stands on.
//!
//! 1. To read: see that no thread writes; take a share; see that *still* no thread writes. Else
//!    give the share back and wait for the writer. To let go: give the share back; if a thread
//!    writes, or waits for a slot, wake it.
//! 2. To write: take the writers' lock; then wait until no living process has a share. To let go:
//!    let go of the lock, wake all.
//!
//! A reader stores (its share) and then loads (the writer's word), a writer stores (the word) and
//! then loads (the counts), all in one total order (`SeqCst`): one of the two sees the other
//! (store–fence–load, see the README). The same holds when a reader leaves, for the writer that
//! sleeps until it does.
//!
//! Death: a reader's share does not count once its process is dead, and has done no harm. A
//! writer's word is found by the next reader or writer, which takes it over and poisons; also if
//! the dead one was still waiting for readers, for nothing in the word shows that.

use std::time::Instant;

use super::DeathWatch;
use super::poison::Poison;
use super::process_counts::{CountSlot, ProcessCounts};
use super::raw_lock::{Acquired, RawLock, WaitedFor};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering, fence_in_models};

/// As many processes may read at a time. Every writer looks at every slot: in models there are few.
pub(super) const PROCESSES: usize = if cfg!(loom) { 2 } else { 32 };

/// All zero bytes: no thread reads or writes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RawRwLock {
    writer: RawLock,
    /// Counts what a writer that waits for readers, and a reader that waits for a slot, should look
    /// at.
    drain: AtomicU32,
    /// Not zero: a reader waits for a slot.
    crowded: AtomicU32,
    pub(super) poison: Poison,
    counts: ProcessCounts<PROCESSES>,
}

enum TryRead {
    In(CountSlot),
    /// A thread writes.
    Held,
    /// Too many processes read.
    Full,
}

impl RawRwLock {
    const_but_in_models! {
        pub(super) const fn new() -> RawRwLock {
            RawRwLock {
                writer: RawLock::new(),
                drain: AtomicU32::new(0),
                crowded: AtomicU32::new(0),
                poison: Poison::new(),
                counts: ProcessCounts::new(),
            }
        }
    }

    /// To read. `None`: the deadline has passed.
    #[inline]
    pub(super) fn read(&self, deadline: Option<Instant>) -> Option<CountSlot> {
        match self.enter() {
            TryRead::In(slot) => Some(slot),
            _ => self.read_contended(deadline),
        }
    }

    /// To read now. `None`: a living process writes, or too many processes read.
    #[inline]
    pub(super) fn try_read(&self) -> Option<CountSlot> {
        loop {
            match self.enter() {
                TryRead::In(slot) => return Some(slot),
                TryRead::Full => return None,
                TryRead::Held => self.look_after(self.writer.look_if_free()?),
            }
        }
    }

    /// Reads no more.
    #[inline]
    pub(super) fn leave(&self, slot: CountSlot) {
        // As long as others of this process read, nothing has changed for the waiters.
        if self.counts.give_back(slot, 1) != 0 {
            return;
        }
        fence_in_models();
        if self.writer.is_held() || self.crowded.load(Ordering::SeqCst) != 0 {
            self.stir();
        }
    }

    /// To write. `None`: the deadline has passed.
    #[inline]
    pub(super) fn write(&self, deadline: Option<Instant>) -> Option<()> {
        let acquired = self.writer.acquire(deadline)?;
        self.drain(acquired, |death_watch, seen| {
            death_watch.sleep(&self.drain, seen, deadline) != Wake::TimedOut
        })
    }

    /// To write now. `None`: a living process reads or writes.
    #[inline]
    pub(super) fn try_write(&self) -> Option<()> {
        let acquired = self.writer.try_acquire()?;
        self.drain(acquired, |_, _| false)
    }

    /// Writes no more.
    #[inline]
    pub(super) fn leave_writer(&self) {
        self.writer.release_to_all();
    }

    #[inline]
    fn enter(&self) -> TryRead {
        // Not needed, but a share that is taken in vain wakes the writer.
        if self.writer.is_held() {
            return TryRead::Held;
        }
        let Some(slot) = self.counts.take(1) else {
            return TryRead::Full;
        };
        fence_in_models();
        if self.writer.is_held() {
            self.leave(slot);
            return TryRead::Held;
        }
        TryRead::In(slot)
    }

    #[cold]
    fn read_contended(&self, deadline: Option<Instant>) -> Option<CountSlot> {
        loop {
            match self.enter() {
                TryRead::In(slot) => return Some(slot),
                TryRead::Held => self.look_after(self.writer.wait_until_free(deadline)?),
                TryRead::Full => self.wait_for_a_slot(deadline)?,
            }
        }
    }

    /// A reader that finds the writer dead has its lock, and no use for it.
    fn look_after(&self, freed: WaitedFor) {
        if freed == WaitedFor::TakenOver {
            self.poison.set();
            self.writer.release_to_all();
        }
    }

    #[cold]
    fn wait_for_a_slot(&self, deadline: Option<Instant>) -> Option<()> {
        let mut death_watch = DeathWatch::begin();
        let seen = self.drain.load(Ordering::SeqCst);
        self.crowded.store(1, Ordering::SeqCst);
        fence_in_models();
        if !self.counts.has_room(&mut death_watch)
            && death_watch.sleep(&self.drain, seen, deadline) == Wake::TimedOut
        {
            return None;
        }
        Some(())
    }

    #[cold]
    fn stir(&self) {
        // A thread that sets it again after this has not slept yet, or sees the count change.
        self.crowded.store(0, Ordering::SeqCst);
        self.drain.fetch_add(1, Ordering::SeqCst);
        futex::wake_all(&self.drain);
    }

    /// With the writers' lock: until no thread reads. Gives the lock up when `sleep` says so.
    #[inline]
    fn drain(&self, acquired: Acquired, sleep: impl Fn(&DeathWatch, u32) -> bool) -> Option<()> {
        self.poison.note(acquired);
        fence_in_models();
        if self.counts.is_empty() {
            return Some(());
        }
        self.drain_slowly(&sleep)
    }

    #[cold]
    fn drain_slowly(&self, sleep: &dyn Fn(&DeathWatch, u32) -> bool) -> Option<()> {
        loop {
            let mut death_watch = DeathWatch::begin();
            let seen = self.drain.load(Ordering::SeqCst);
            if self.counts.of_the_living(&mut death_watch) == 0 {
                return Some(());
            }
            if !sleep(&death_watch, seen) {
                self.writer.release_to_all();
                return None;
            }
        }
    }

    /// As if that process wrote.
    #[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
    pub(super) fn pretend_writer(&self, token: super::Token) {
        self.writer.pretend(token);
    }

    /// As if that process read.
    #[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
    pub(super) fn pretend_reader(&self, at: usize, token: super::Token) {
        self.counts.pretend(at, token, 1);
    }
}
