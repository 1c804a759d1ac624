//! Many may look, or one may change: [`RwLock`].

#![expect(unsafe_code, reason = "the lock gives out what it guards")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::Duration;

use super::deadline;
use super::mutex::poisoned_if;
use super::poison::PanickingBefore;
use super::process_counts::CountSlot;
use super::raw_rwlock::RawRwLock;

/// Lets many threads read what it guards or one write it, of however many processes.
///
/// It is [`std::sync::RwLock`] with two additions: in memory that processes share it locks between
/// them, and a process that dies is not waited for. One that dies while it *writes* poisons the
/// lock as a thread does that panics; one that dies while it *reads* has done no harm, and its read
/// locks are gone with it. Every wait can have an end.
///
/// A writer that waits keeps new readers out, so it is never starved; a thread that reads twice may
/// therefore wait for itself. All zero bytes are an unlocked one (if they are a value of `T`).
///
/// Limits: 32 processes may read at a time, with as many threads each as they like; the next one
/// waits. A process that dies while it waits to write, for the readers to leave, poisons as well.
///
/// # Examples
///
/// ```
/// use brigade::sync::RwLock;
///
/// let lock = RwLock::new(vec![1, 2]);
/// {
///     let a = lock.read().unwrap();
///     let b = lock.read().unwrap(); // both look
///     assert_eq!(a.len(), b.len());
/// }
/// lock.write().unwrap().push(3);
/// assert_eq!(*lock.read().unwrap(), [1, 2, 3]);
/// ```
#[repr(C)]
pub struct RwLock<T: ?Sized> {
    readers: RawRwLock,
    data: UnsafeCell<T>,
}

// SAFETY: as std's: the owner of the lock owns the value, and may send it on.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: a shared lock gives `&T` to many threads at a time (`Sync`) and `&mut T` to one (`Send`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// The next holder sees a writer's panic: it is poisoned.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    const_but_in_models! {
        /// Unlocked, and not poisoned.
        #[inline]
        pub const fn new(value: T) -> RwLock<T> {
            RwLock {
                readers: RawRwLock::new(),
                data: UnsafeCell::new(value),
            }
        }
    }

    /// The value. Not locked: the lock is consumed.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.is_poisoned();
        poisoned_if(poisoned, self.data.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks to read, waiting for as long as a live process writes, or waits to.
    ///
    /// # Errors
    ///
    /// The lock is poisoned: a writer panicked or died. The error has the guard.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        loop {
            // Without a deadline there is always an answer.
            if let Some(slot) = self.readers.read(None) {
                return self.reads(slot);
            }
        }
    }

    /// Locks to read if no live process writes, or waits to.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): one does, or 32 other processes read.
    /// [`Poisoned`](TryLockError::Poisoned): as in [`read`](Self::read).
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let slot = self.readers.try_read().ok_or(TryLockError::WouldBlock)?;
        Ok(self.reads(slot)?)
    }

    /// Locks to read, and gives up after this long.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): the time is over.
    /// [`Poisoned`](TryLockError::Poisoned): as in [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::TryLockError, time::Duration};
    /// use brigade::sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// let _writes = lock.write().unwrap();
    /// let late = lock.read_timeout(Duration::from_millis(10));
    /// assert!(matches!(late, Err(TryLockError::WouldBlock)));
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let slot = self.readers.read(deadline(timeout));
        Ok(self.reads(slot.ok_or(TryLockError::WouldBlock)?)?)
    }

    /// Locks to write, waiting for as long as a live process holds the lock.
    ///
    /// # Errors
    ///
    /// The lock is poisoned: a writer panicked or died. The error has the guard; the lock *is*
    /// locked.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        loop {
            if let Some(()) = self.readers.write(None) {
                return self.writes();
            }
        }
    }

    /// Locks to write if no live process holds the lock.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): one does.
    /// [`Poisoned`](TryLockError::Poisoned): as in [`write`](Self::write).
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.readers.try_write().ok_or(TryLockError::WouldBlock)?;
        Ok(self.writes()?)
    }

    /// Locks to write, and gives up after this long.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): the time is over.
    /// [`Poisoned`](TryLockError::Poisoned): as in [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::TryLockError, time::Duration};
    /// use brigade::sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// let _reads = lock.read().unwrap();
    /// let late = lock.write_timeout(Duration::from_millis(10));
    /// assert!(matches!(late, Err(TryLockError::WouldBlock)));
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let written = self.readers.write(deadline(timeout));
        written.ok_or(TryLockError::WouldBlock)?;
        Ok(self.writes()?)
    }

    /// Whether a writer panicked or died. That one is dead is found out by the next lock, so this
    /// may not know it yet.
    pub fn is_poisoned(&self) -> bool {
        self.readers.poison.is_set()
    }

    /// Clears the poison: for when the value is consistent again.
    pub fn clear_poison(&self) {
        self.readers.poison.clear();
    }

    /// The value. Not locked: the lock is borrowed mutably.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error has the value.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        poisoned_if(self.readers.poison.is_set(), self.data.get_mut())
    }

    #[inline]
    fn reads(&self, slot: CountSlot) -> LockResult<RwLockReadGuard<'_, T>> {
        let guard = RwLockReadGuard {
            lock: self,
            slot,
            stays: PhantomData,
        };
        poisoned_if(self.is_poisoned(), guard)
    }

    #[inline]
    fn writes(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = RwLockWriteGuard {
            lock: self,
            before: PanickingBefore::now(),
            stays: PhantomData,
        };
        poisoned_if(self.is_poisoned(), guard)
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => shown.field("data", &&*guard),
            Err(TryLockError::Poisoned(e)) => shown.field("data", &&**e.get_ref()),
            Err(TryLockError::WouldBlock) => shown.field("data", &format_args!("<locked>")),
        };
        shown.field("poisoned", &self.is_poisoned()).finish()
    }
}

/// The lock, held to read; dropped, it is let go. From [`RwLock::read`] and its kin.
#[must_use = "the lock is let go at once if the guard is not kept"]
pub struct RwLockReadGuard<'l, T: ?Sized> {
    lock: &'l RwLock<T>,
    slot: CountSlot,
    /// Not `Send`, as std's.
    stays: PhantomData<*const ()>,
}

/// The lock, held to write; dropped, it is let go. From [`RwLock::write`] and its kin.
#[must_use = "the lock is let go at once if the guard is not kept"]
pub struct RwLockWriteGuard<'l, T: ?Sized> {
    lock: &'l RwLock<T>,
    before: PanickingBefore,
    /// Not `Send`, as std's: so a panic is that of the thread which locked.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while our share is there no writer that takes the lock as it should has the
        // value. In a region that is the good will of the others: see `MutexGuard::deref`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: we are the writer, and the readers have left: nothing that takes the lock as it
        // should has the value. In a region that is the good will of the others: see
        // `MutexGuard::deref`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: see above; and the guard is borrowed alone.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.readers.leave(self.slot);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.before.end(&self.lock.readers.poison);
        self.lock.readers.leave_writer();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::raw_rwlock::PROCESSES;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    fn would_block<G>(result: TryLockResult<G>) -> bool {
        matches!(result, Err(TryLockError::WouldBlock))
    }

    #[test]
    fn readers_never_see_a_half_written_pair() {
        let lock = RwLock::new((0u64, 0u64));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut pair = lock.write().unwrap();
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let pair = lock.read().unwrap();
                        assert_eq!(pair.0, pair.1);
                    }
                });
            }
        });
        assert_eq!(*lock.read().unwrap(), (40_000, 40_000));
    }

    #[test]
    fn who_cannot_have_it_now_is_told_so() {
        let lock = RwLock::new(0);
        let reads = lock.read().unwrap();
        let also = lock.try_read().unwrap();
        assert!(would_block(lock.try_write()));
        assert!(would_block(lock.write_timeout(SOON)));
        assert!(
            lock.try_read().is_ok(),
            "a writer that gave up keeps nobody out"
        );
        drop((reads, also));
        let writes = lock.try_write().unwrap();
        assert!(would_block(lock.try_read()));
        assert!(would_block(lock.read_timeout(SOON)));
        assert!(would_block(lock.try_write()));
        drop(writes);
        assert!(lock.read_timeout(LONG).is_ok() && lock.write_timeout(LONG).is_ok());
    }

    #[test]
    fn a_panic_poisons_if_it_is_a_writers() {
        let lock = RwLock::new(0);
        let reader = catch_unwind(|| {
            let _reads = lock.read().unwrap();
            panic!("on purpose");
        });
        assert!(reader.is_err() && !lock.is_poisoned());
        let writer = catch_unwind(|| {
            let _writes = lock.write().unwrap();
            panic!("on purpose");
        });
        assert!(writer.is_err() && lock.is_poisoned());
        assert!(lock.read().is_err() && lock.write().is_err());
        lock.clear_poison();
        assert!(lock.read().is_ok());
    }

    #[test]
    fn a_reader_that_dies_is_not_waited_for() {
        let process = FakeProcess::new();
        let lock = RwLock::new(0);
        lock.readers.pretend_reader(5, process.token());
        assert!(lock.read().is_ok());
        assert!(would_block(lock.try_write()) && would_block(lock.write_timeout(SOON)));
        std::thread::scope(|scope| {
            let writes = waiting(scope, || lock.write_timeout(LONG).map(drop).is_ok());
            assert!(!writes.is_finished());
            process.kill();
            assert!(writes.join().unwrap());
        });
        assert!(!lock.is_poisoned());
    }

    #[test]
    fn a_writer_that_dies_poisons() {
        let process = FakeProcess::new();
        let lock = RwLock::new(0);
        lock.readers.pretend_writer(process.token());
        assert!(would_block(lock.try_read()) && would_block(lock.try_write()));
        std::thread::scope(|scope| {
            let waits = [
                waiting(scope, || {
                    matches!(lock.read_timeout(LONG), Err(TryLockError::Poisoned(_)))
                }),
                waiting(scope, || {
                    matches!(lock.write_timeout(LONG), Err(TryLockError::Poisoned(_)))
                }),
                waiting(scope, || {
                    matches!(lock.read_timeout(LONG), Err(TryLockError::Poisoned(_)))
                }),
            ];
            process.kill();
            assert_eq!(waits.map(|w| w.join().unwrap()), [true; 3]);
        });
        lock.clear_poison();
        lock.readers.pretend_writer(FakeProcess::dead());
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        lock.readers.pretend_writer(FakeProcess::dead());
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
    }

    #[test]
    fn the_process_that_finds_no_slot_waits_for_one() {
        let lock = RwLock::new(0);
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| FakeProcess::new()).collect();
        for (at, process) in processes.iter().enumerate() {
            lock.readers.pretend_reader(at, process.token());
        }
        assert!(would_block(lock.try_read()) && would_block(lock.read_timeout(SOON)));
        std::thread::scope(|scope| {
            let reads = waiting(scope, || lock.read_timeout(LONG).map(drop).is_ok());
            assert!(!reads.is_finished());
            processes.remove(7).kill();
            assert!(reads.join().unwrap());
        });
        processes.into_iter().for_each(FakeProcess::kill);
        assert!(lock.write().is_ok());
    }
}
