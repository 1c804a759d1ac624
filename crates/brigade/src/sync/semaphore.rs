//! A limit to how many threads and processes do something at a time: [`Semaphore`].

use std::fmt;
use std::time::{Duration, Instant};

use super::process_counts::{CountSlot, ProcessCounts};
use super::raw_lock::{Acquired, RawLock};
use super::{DeathWatch, deadline};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering};

/// How long a call that does not wait may take to get in.
const INSTANT: Duration = Duration::from_millis(50);

/// As many processes may hold permits of one semaphore at a time.
const PROCESSES: usize = if cfg!(loom) { 2 } else { 128 };

/// Lets a fixed number in at a time, of however many threads and processes.
///
/// A [permit](SemaphorePermit) is given back when it is dropped, or when the process that has it
/// dies; so permits are never lost, and a thread that waits for one goes on. Not fair: a thread
/// that comes along may be faster than one that waits, and one that wants many may wait long among
/// those that want few.
///
/// All zero bytes are a semaphore without permits, to which [`add_permits`](Self::add_permits)
/// adds.
///
/// Limits: permits may be held by 128 processes at a time, with as many each as there are; the next
/// one waits, though there be permits. A process that is stopped (SIGSTOP) in the few instructions
/// in which it counts its permits holds up those that add, give back or count theirs without a time
/// limit.
///
/// # Examples
///
/// ```
/// use brigade::sync::Semaphore;
///
/// let two = Semaphore::new(2);
/// let first = two.acquire();
/// let second = two.acquire();
/// assert!(two.try_acquire().is_none());
/// drop(first);
/// assert!(two.try_acquire().is_some());
/// ```
#[repr(C)]
pub struct Semaphore {
    /// Guards all that follows.
    lock: RawLock,
    /// Counts the changes that the waiters should look at.
    event: AtomicU32,
    /// Not zero: a thread waits.
    waiting: AtomicU32,
    total: AtomicU32,
    /// `total` without what the living have, as far as is known; made anew from them when it
    /// may be wrong.
    available: AtomicU32,
    counts: ProcessCounts<PROCESSES>,
}

impl Semaphore {
    const_but_in_models! {
        /// A semaphore with `permits` permits.
        pub const fn new(permits: u32) -> Semaphore {
            Semaphore {
                lock: RawLock::new(),
                event: AtomicU32::new(0),
                waiting: AtomicU32::new(0),
                total: AtomicU32::new(permits),
                available: AtomicU32::new(permits),
                counts: ProcessCounts::new(),
            }
        }
    }

    /// Takes a permit, waiting until there is one.
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Takes `permits` permits at once, waiting until there are as many; for ever, if there never
    /// are.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(5);
    /// let three = semaphore.acquire_many(3);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// drop(three);
    /// assert_eq!(semaphore.available_permits(), 5);
    /// ```
    pub fn acquire_many(&self, permits: u32) -> SemaphorePermit<'_> {
        loop {
            // Without a deadline there is always an answer.
            if let Some(permit) = self.take(permits, None) {
                return permit;
            }
        }
    }

    /// Takes a permit if there is one. `None`: there is not.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits at once if there are as many. `None`: there are not.
    pub fn try_acquire_many(&self, permits: u32) -> Option<SemaphorePermit<'_>> {
        // Others are inside for an instant only; unless one of them was stopped there.
        self.enter(Some(Instant::now() + INSTANT))?;
        let slot = self.take_now(permits).or_else(|| {
            self.recount(&mut DeathWatch::begin());
            self.take_now(permits)
        });
        self.lock.release();
        Some(self.permit(slot?, permits))
    }

    /// Takes a permit, and gives up after this long. `None`: the time is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::Semaphore;
    ///
    /// let one = Semaphore::new(1);
    /// let _permit = one.acquire();
    /// assert!(one.acquire_timeout(Duration::from_millis(10)).is_none());
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Takes `permits` permits at once, and gives up after this long. `None`: the time is over.
    pub fn acquire_many_timeout(
        &self,
        permits: u32,
        timeout: Duration,
    ) -> Option<SemaphorePermit<'_>> {
        self.take(permits, deadline(timeout))
    }

    /// Adds permits; at `u32::MAX` of them it stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Semaphore;
    ///
    /// static GATE: Semaphore = Semaphore::new(0);
    ///
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| GATE.acquire().forget()); // waits
    ///     GATE.add_permits(1);
    /// });
    /// assert_eq!(GATE.available_permits(), 0);
    /// ```
    pub fn add_permits(&self, permits: u32) {
        self.enter_without_limit();
        let total = self.total.load(Ordering::Relaxed);
        let added = permits.min(u32::MAX - total);
        self.total.store(total + added, Ordering::Relaxed);
        self.make_available(added);
        self.leave();
    }

    /// How many permits could be taken now. By the time you look, it may be another number.
    pub fn available_permits(&self) -> u32 {
        let mut death_watch = DeathWatch::begin();
        self.enter_without_limit();
        self.recount(&mut death_watch);
        let available = self.available.load(Ordering::Relaxed);
        self.lock.release();
        available
    }

    fn permit(&self, slot: CountSlot, permits: u32) -> SemaphorePermit<'_> {
        SemaphorePermit {
            semaphore: self,
            slot,
            permits,
        }
    }

    fn take(&self, permits: u32, deadline: Option<Instant>) -> Option<SemaphorePermit<'_>> {
        self.enter(deadline)?;
        let slot = self.take_now(permits);
        self.lock.release();
        let slot = match slot {
            Some(slot) => slot,
            None => self.take_slowly(permits, deadline)?,
        };
        Some(self.permit(slot, permits))
    }

    #[cold]
    fn take_slowly(&self, permits: u32, deadline: Option<Instant>) -> Option<CountSlot> {
        loop {
            let mut death_watch = DeathWatch::begin();
            self.enter(deadline)?;
            self.recount(&mut death_watch);
            let slot = self.take_now(permits);
            let seen = self.event.load(Ordering::Relaxed);
            if slot.is_none() {
                self.waiting.store(1, Ordering::Relaxed);
            }
            self.lock.release();
            if slot.is_some() {
                return slot;
            }
            if death_watch.sleep(&self.event, seen, deadline) == Wake::TimedOut {
                return None;
            }
        }
    }

    /// Takes the lock. A holder that died may have left the count wrong.
    #[inline]
    fn enter(&self, deadline: Option<Instant>) -> Option<()> {
        if self.lock.acquire(deadline)? == Acquired::OwnerDied {
            self.recount(&mut DeathWatch::begin());
        }
        Some(())
    }

    fn enter_without_limit(&self) {
        while self.enter(None).is_none() {}
    }

    /// With the lock: the count, from what it is made of. What the dead had is available again.
    #[cold]
    fn recount(&self, death_watch: &mut DeathWatch) {
        let total = self.total.load(Ordering::Relaxed);
        let held = u32::try_from(self.counts.of_the_living(death_watch)).unwrap_or(u32::MAX);
        self.available
            .store(total.saturating_sub(held), Ordering::Relaxed);
    }

    /// With the lock: takes them, if there are as many.
    #[inline]
    fn take_now(&self, permits: u32) -> Option<CountSlot> {
        let left = self
            .available
            .load(Ordering::Relaxed)
            .checked_sub(permits)?;
        // First the share: if we die in between, the next process that counts finds it, and that
        // its process is dead.
        let slot = self.counts.take(permits)?;
        self.available.store(left, Ordering::Relaxed);
        Some(slot)
    }

    /// With the lock.
    #[inline]
    fn make_available(&self, permits: u32) {
        let available = self.available.load(Ordering::Relaxed);
        self.available
            .store(available.saturating_add(permits), Ordering::Relaxed);
    }

    /// Lets go of the lock, and wakes the waiters: all, as it is not known how many each wants.
    #[inline]
    fn leave(&self) {
        let waiting = self.waiting.load(Ordering::Relaxed) != 0;
        if waiting {
            self.waiting.store(0, Ordering::Relaxed);
            self.event.fetch_add(1, Ordering::Relaxed);
        }
        self.lock.release();
        if waiting {
            futex::wake_all(&self.event);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("total", &self.total.load(Ordering::Relaxed))
            .field("available", &self.available.load(Ordering::Relaxed))
            .finish()
    }
}

/// One or more permits; dropped, they are given back. From [`Semaphore::acquire`] and its kin.
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct SemaphorePermit<'s> {
    semaphore: &'s Semaphore,
    slot: CountSlot,
    permits: u32,
}

impl SemaphorePermit<'_> {
    /// How many they are.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Never gives them back: the semaphore has as many fewer from now on.
    pub fn forget(mut self) {
        let semaphore = self.semaphore;
        semaphore.enter_without_limit();
        // In this order: if we die in between, the share went back with us and nothing was
        // forgotten.
        semaphore.counts.give_back(self.slot, self.permits);
        let total = semaphore.total.load(Ordering::Relaxed);
        let left = total.saturating_sub(self.permits);
        semaphore.total.store(left, Ordering::Relaxed);
        semaphore.leave();
        self.permits = 0;
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        if self.permits == 0 {
            return;
        }
        self.semaphore.enter_without_limit();
        self.semaphore.counts.give_back(self.slot, self.permits);
        self.semaphore.make_available(self.permits);
        self.semaphore.leave();
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn no_more_than_there_are_permits_are_inside() {
        let semaphore = Semaphore::new(3);
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for n in 0..6 {
                let (semaphore, inside) = (&semaphore, &inside);
                scope.spawn(move || {
                    let want = n % 2 + 1;
                    for _ in 0..2_000 {
                        let permit = semaphore.acquire_many(want);
                        assert!(inside.fetch_add(want, Ordering::SeqCst) + want <= 3);
                        inside.fetch_sub(want, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(semaphore.available_permits(), 3);
    }

    #[test]
    fn permits_are_added_and_forgotten() {
        let semaphore = Semaphore::new(0);
        assert!(semaphore.try_acquire().is_none());
        assert!(semaphore.acquire_timeout(SOON).is_none());
        std::thread::scope(|scope| {
            semaphore.add_permits(1);
            let waits = waiting(scope, || semaphore.acquire_many_timeout(3, LONG).is_some());
            // It is woken for one, too few, and for another.
            semaphore.add_permits(1);
            assert!(!waits.is_finished());
            semaphore.add_permits(1);
            assert!(waits.join().unwrap());
        });
        semaphore.acquire().forget();
        assert_eq!(semaphore.available_permits(), 2);
        semaphore.add_permits(u32::MAX);
        assert_eq!(semaphore.available_permits(), u32::MAX);
        let all = semaphore.acquire_many(u32::MAX);
        assert!(semaphore.try_acquire().is_none());
        drop(all);
        assert!(semaphore.try_acquire_many(0).is_some());
    }

    #[test]
    fn the_dead_give_back_what_they_had() {
        let process = FakeProcess::new();
        let semaphore = Semaphore::new(2);
        semaphore.counts.pretend(9, process.token(), 2);
        assert_eq!(semaphore.available_permits(), 0);
        std::thread::scope(|scope| {
            let waits = waiting(scope, || semaphore.acquire_timeout(LONG).is_some());
            assert!(!waits.is_finished());
            process.kill();
            assert!(waits.join().unwrap());
        });
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    fn who_dies_with_the_lock_leaves_nothing_wrong() {
        let semaphore = Semaphore::new(2);
        let mine = semaphore.acquire();
        // In the middle of taking the other one.
        let dead = FakeProcess::dead();
        semaphore.counts.pretend(9, dead, 1);
        semaphore.available.store(0xdead, Ordering::Relaxed);
        semaphore.lock.pretend(dead);
        let other = semaphore.try_acquire().unwrap();
        assert!(semaphore.try_acquire().is_none());
        drop((mine, other));
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    fn garbage_is_survived() {
        for garbage in [1, 1 << 31, u32::MAX, 0xdead_beef] {
            let semaphore = Semaphore::new(1);
            semaphore.total.store(garbage, Ordering::Relaxed);
            semaphore.available.store(garbage, Ordering::Relaxed);
            semaphore.waiting.store(garbage, Ordering::Relaxed);
            semaphore.event.store(garbage, Ordering::Relaxed);
            let wide = u64::from(garbage);
            (0..PROCESSES).for_each(|at| semaphore.counts.scribble(at, wide << 32 | wide));
            drop(semaphore.acquire_timeout(LONG));
            semaphore.add_permits(7);
            semaphore.available_permits();
        }
    }
}
