//! One at a time: [`Mutex`].

#![expect(unsafe_code, reason = "the lock gives out what it guards")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use super::poison::{PanickingBefore, Poison};
use super::raw_lock::{Acquired, RawLock};
use super::{Token, deadline};

/// Lets one thread at a time at what it guards, of however many processes.
///
/// It is [`std::sync::Mutex`] with two additions: in memory that processes share it locks between
/// them, and a *process* that dies while it holds the lock poisons it as a thread does that panics:
/// the next one gets the lock, inside a [`PoisonError`], and may mend what the dead one left
/// half-written. Every wait can have an end: [`lock_timeout`](Self::lock_timeout).
///
/// Not recursive: a thread that locks it twice waits for itself. Not fair. All zero bytes are an
/// unlocked mutex (if they are a value of `T`).
///
/// # Examples
///
/// ```
/// use brigade::sync::Mutex;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
///
/// std::thread::scope(|scope| {
///     for n in 1..=4 {
///         scope.spawn(move || *TOTAL.lock().unwrap() += n);
///     }
/// });
/// assert_eq!(*TOTAL.lock().unwrap(), 10);
/// ```
#[doc(alias = "pthread_mutex")]
#[doc(alias = "Lock")]
#[repr(C)]
pub struct Mutex<T: ?Sized> {
    raw: RawLock,
    poison: Poison,
    data: UnsafeCell<T>,
}

// SAFETY: as std's: the owner of the mutex owns the value, and may send it on.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: a shared mutex gives out the value to one thread at a time (the raw lock), which is
// sending it: `T: Send` is enough.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// The next holder sees a panic under the lock: it is poisoned.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    const_but_in_models! {
        /// Unlocked, and not poisoned.
        #[inline]
        pub const fn new(value: T) -> Mutex<T> {
            Mutex {
                raw: RawLock::new(),
                poison: Poison::new(),
                data: UnsafeCell::new(value),
            }
        }
    }

    /// The value. Not locked: the lock is consumed.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.is_set();
        poisoned_if(poisoned, self.data.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, waiting for as long as a live process holds the lock.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned: a holder panicked or died. The error has the guard; the mutex *is*
    /// locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Mutex;
    ///
    /// let mutex = Mutex::new(vec![1]);
    /// mutex.lock().unwrap_or_else(|poisoned| {
    ///     let mut guard = poisoned.into_inner();
    ///     guard.clear(); // mend it
    ///     mutex.clear_poison();
    ///     guard
    /// }).push(2);
    /// assert_eq!(mutex.into_inner().unwrap(), [1, 2]);
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        loop {
            // Without a deadline there is always an answer.
            if let Some(acquired) = self.raw.acquire(None) {
                return self.guard(acquired);
            }
        }
    }

    /// Locks if no live process holds the lock.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): it is held. [`Poisoned`](TryLockError::Poisoned):
    /// as in [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Mutex;
    ///
    /// let mutex = Mutex::new(1);
    /// let guard = mutex.lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// drop(guard);
    /// assert_eq!(*mutex.try_lock().unwrap(), 1);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        self.guard_or_not(self.raw.try_acquire())
    }

    /// Locks, and gives up after this long.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](TryLockError::WouldBlock): the time is over.
    /// [`Poisoned`](TryLockError::Poisoned): as in [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::TryLockError, time::Duration};
    /// use brigade::sync::Mutex;
    ///
    /// let mutex = Mutex::new(1);
    /// let _guard = mutex.lock().unwrap();
    /// let late = mutex.lock_timeout(Duration::from_millis(10));
    /// assert!(matches!(late, Err(TryLockError::WouldBlock)));
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        self.guard_or_not(self.raw.acquire(deadline(timeout)))
    }

    /// The token of the process that holds the lock, even if that has died.
    pub(crate) fn holder(&self) -> Option<Token> {
        self.raw.holder()
    }

    /// Whether a holder panicked or died. That a holder is dead is found out by the next lock, so
    /// this may not know it yet.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Clears the poison: for when the value is consistent again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value. Not locked: the lock is borrowed mutably.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the value.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        poisoned_if(self.poison.is_set(), self.data.get_mut())
    }

    #[inline]
    fn guard(&self, acquired: Acquired) -> LockResult<MutexGuard<'_, T>> {
        self.poison.note(acquired);
        let guard = MutexGuard {
            mutex: self,
            before: PanickingBefore::now(),
            stays: PhantomData,
        };
        poisoned_if(self.poison.is_set(), guard)
    }

    #[inline]
    fn guard_or_not(&self, acquired: Option<Acquired>) -> TryLockResult<MutexGuard<'_, T>> {
        match acquired {
            None => Err(TryLockError::WouldBlock),
            Some(acquired) => Ok(self.guard(acquired)?),
        }
    }
}

#[inline]
pub(super) fn poisoned_if<G>(poisoned: bool, guard: G) -> LockResult<G> {
    match poisoned {
        false => Ok(guard),
        true => Err(PoisonError::new(guard)),
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => shown.field("data", &&*guard),
            Err(TryLockError::Poisoned(e)) => shown.field("data", &&**e.get_ref()),
            Err(TryLockError::WouldBlock) => shown.field("data", &format_args!("<locked>")),
        };
        shown.field("poisoned", &self.is_poisoned()).finish()
    }
}

/// The lock, held; dropped, it is let go. From [`Mutex::lock`] and its kin.
///
/// It stays in its thread:
///
/// ```compile_fail,E0277
/// let mutex = brigade::sync::Mutex::new(1);
/// let guard = mutex.lock().unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(guard));
/// });
/// ```
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'m, T: ?Sized> {
    mutex: &'m Mutex<T>,
    before: PanickingBefore,
    /// Not `Send`, as std's: so a panic is that of the thread which locked.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'m, T: ?Sized> MutexGuard<'m, T> {
    /// For the condition variable, which lets go and takes again.
    pub(super) fn raw(&self) -> &'m RawLock {
        &self.mutex.raw
    }

    /// After it was taken again.
    pub(super) fn taken_again(self, acquired: Acquired) -> LockResult<MutexGuard<'m, T>> {
        self.mutex.poison.note(acquired);
        let poisoned = self.mutex.poison.is_set();
        poisoned_if(poisoned, self)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the raw lock is held for as long as the guard lives, so no thread of this program
        // has the value, and none of any process that takes the lock as it should. (A fork of the
        // program has a copy of the guard, in memory of its own, or must not use it: see `sync`.)
        //
        // In a region, that others take the lock is their good will. A process that writes over the
        // lock's word, or past the lock, changes the value under this reference, which the language
        // does not provide for: `T` is `ShmSafe` there, so that what is read is a wrong value,
        // never an invalid one, and nothing of ours relies on it.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: see above; and the guard is borrowed alone.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.before.end(&self.mutex.poison);
        self.mutex.raw.release();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn threads_take_turns() {
        static TOTAL: Mutex<u64> = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| *TOTAL.lock().unwrap() += 1));
            }
        });
        assert_eq!(*TOTAL.lock().unwrap(), 80_000);
    }

    #[test]
    fn a_panic_under_the_lock_poisons_it() {
        let mutex = Mutex::new(1);
        let panicked = catch_unwind(|| {
            let _guard = mutex.lock().unwrap();
            panic!("on purpose");
        });
        assert!(panicked.is_err() && mutex.is_poisoned());
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        *mutex.lock().unwrap_err().into_inner() = 2;
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 2);
        assert_eq!(mutex.into_inner().unwrap(), 2);
    }

    #[test]
    fn a_lock_taken_while_a_panic_unwinds_does_not_poison() {
        struct LocksWhenDropped<'m>(&'m Mutex<u8>);
        impl Drop for LocksWhenDropped<'_> {
            fn drop(&mut self) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let mutex = Mutex::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _locks = LocksWhenDropped(&mutex);
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && !mutex.is_poisoned());
        assert_eq!(mutex.into_inner().unwrap(), 1);
    }

    #[test]
    fn a_holder_that_dies_poisons_it() {
        let process = FakeProcess::new();
        let mutex = Mutex::new(7);
        mutex.raw.pretend(process.token());
        assert!(matches!(
            mutex.lock_timeout(SOON),
            Err(TryLockError::WouldBlock)
        ));
        std::thread::scope(|scope| {
            let waits = waiting(scope, || match mutex.lock_timeout(LONG) {
                Err(TryLockError::Poisoned(e)) => *e.into_inner(),
                other => panic!("{other:?}"),
            });
            assert!(!waits.is_finished() && !mutex.is_poisoned());
            process.kill();
            assert_eq!(waits.join().unwrap(), 7);
        });
        assert!(mutex.is_poisoned() && mutex.lock().is_err());
        mutex.clear_poison();
        assert!(mutex.lock().is_ok());
    }

    #[test]
    fn it_can_be_of_a_slice_and_says_what_it_has() {
        let mutex: Box<Mutex<[u8]>> = Box::new(Mutex::new([1, 2, 3]));
        mutex.lock().unwrap()[0] = 9;
        assert_eq!(
            format!("{mutex:?}"),
            "Mutex { data: [9, 2, 3], poisoned: false }"
        );
        let guard = mutex.lock().unwrap();
        assert_eq!(
            format!("{mutex:?}"),
            "Mutex { data: <locked>, poisoned: false }"
        );
        assert_eq!(format!("{guard:?}"), "[9, 2, 3]");
    }
}
