//! To wait until something is so: [`Condvar`].

use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

use super::mutex::MutexGuard;
use super::{DeathWatch, deadline};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering};

/// Lets a thread sleep until another, of this process or not, says that what it waits for may be
/// so.
///
/// It is [`std::sync::Condvar`] for [`brigade::sync::Mutex`](super::Mutex). A wait may come back
/// though nothing has notified it, as any condition variable's may; here it does so whenever a
/// worker process dies, anywhere. So a notification that a dying process owed, or has taken along,
/// is never missed: look at the condition again, or let [`wait_while`](Self::wait_while) do it.
///
/// # Examples
///
/// ```
/// use brigade::sync::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *ready.lock().unwrap() = true;
///         changed.notify_one();
///     });
///     let guard = changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
///     assert!(*guard);
/// });
/// ```
#[repr(transparent)]
pub struct Condvar {
    /// Counts the notifications.
    told: AtomicU32,
}

impl Condvar {
    const_but_in_models! {
        /// No thread waits.
        #[inline]
        pub const fn new() -> Condvar {
            Condvar { told: AtomicU32::new(0) }
        }
    }

    /// Lets go of the lock, sleeps until notified, and locks again.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the guard.
    pub fn wait<'m, T: ?Sized>(&self, guard: MutexGuard<'m, T>) -> LockResult<MutexGuard<'m, T>> {
        self.wait_until(guard, None).0
    }

    /// Waits for as long as this is so.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the guard, and the condition may still be so.
    pub fn wait_while<'m, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'m, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'m, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Self::wait), but sleeps no longer than this. The lock is waited for without a
    /// limit.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::{Condvar, Mutex};
    ///
    /// let (mutex, changed) = (Mutex::new(1), Condvar::new());
    /// let long = Duration::from_millis(10);
    /// let (guard, waited) = changed
    ///     .wait_timeout_while(mutex.lock().unwrap(), long, |n| *n == 1)
    ///     .unwrap();
    /// assert!(waited.timed_out());
    /// assert_eq!(*guard, 1);
    /// ```
    pub fn wait_timeout<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        let (result, woken) = self.wait_until(guard, deadline(timeout));
        let waited = WaitTimeoutResult {
            timed_out: woken == Wake::TimedOut,
        };
        match result {
            Ok(guard) => Ok((guard, waited)),
            Err(e) => Err(PoisonError::new((e.into_inner(), waited))),
        }
    }

    /// Waits for as long as this is so, but no longer than the time given. It has timed out if the
    /// condition is so still.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error has the guard, and the condition may still be so.
    pub fn wait_timeout_while<'m, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'m, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        let deadline = deadline(timeout);
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult { timed_out: false }));
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok((guard, WaitTimeoutResult { timed_out: true }));
            }
            guard = match self.wait_until(guard, deadline).0 {
                Ok(guard) => guard,
                Err(e) => {
                    let waited = WaitTimeoutResult { timed_out: false };
                    return Err(PoisonError::new((e.into_inner(), waited)));
                }
            };
        }
    }

    /// Wakes one that waits, if there is one.
    pub fn notify_one(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        futex::wake_one(&self.told);
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        futex::wake_all(&self.told);
    }

    fn wait_until<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        deadline: Option<Instant>,
    ) -> (LockResult<MutexGuard<'m, T>>, Wake) {
        let lock = guard.raw();
        // Both before the lock is let go of: what happens after that ends the sleep.
        let death_watch = DeathWatch::begin();
        let told = self.told.load(Ordering::Relaxed);
        lock.release();
        let woken = death_watch.sleep(&self.told, told, deadline);
        loop {
            if let Some(acquired) = lock.acquire(None) {
                return (guard.taken_again(acquired), woken);
            }
        }
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Whether a wait with a limit came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    /// The time was over.
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_is_notified_goes_on() {
        let (turn, changed) = (Mutex::new(0), Condvar::new());
        std::thread::scope(|scope| {
            for me in 0..3 {
                let (turn, changed) = (&turn, &changed);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let guard = turn.lock().unwrap();
                        let mut guard = changed.wait_while(guard, |t| *t % 3 != me).unwrap();
                        *guard += 1;
                        drop(guard);
                        changed.notify_all();
                    }
                });
            }
        });
        assert_eq!(*turn.lock().unwrap(), 1500);
    }

    #[test]
    fn a_limit_ends_the_wait() {
        let (mutex, changed) = (Mutex::new(()), Condvar::new());
        let began = Instant::now();
        let always = |_: &mut ()| true;
        let guard = mutex.lock().unwrap();
        let (guard, waited) = changed.wait_timeout_while(guard, SOON, always).unwrap();
        assert!(waited.timed_out() && began.elapsed() >= SOON);
        let (_guard, waited) = changed.wait_timeout_while(guard, LONG, |()| false).unwrap();
        assert!(!waited.timed_out());
    }

    #[test]
    fn a_death_wakes_who_waits() {
        let (mutex, changed) = (Mutex::new(false), Condvar::new());
        let process = FakeProcess::new();
        std::thread::scope(|scope| {
            let waits = waiting(scope, || {
                let guard = mutex.lock().unwrap();
                let waited = changed.wait_timeout_while(guard, LONG, |done| !*done);
                waited.unwrap().1.timed_out()
            });
            // It did what it had to and died before it could say so.
            *mutex.lock().unwrap() = true;
            process.kill();
            assert!(!waits.join().unwrap());
        });
    }

    #[test]
    fn a_mutex_that_is_poisoned_meanwhile_is_told() {
        let (mutex, changed) = (Mutex::new(()), Condvar::new());
        std::thread::scope(|scope| {
            let waits = waiting(scope, || {
                let mut guard = mutex.lock().unwrap();
                loop {
                    match changed.wait_timeout(guard, LONG) {
                        Ok((again, _)) => guard = again,
                        Err(e) => return e.into_inner().1.timed_out(),
                    }
                }
            });
            let panics = scope.spawn(|| {
                let _guard = mutex.lock().unwrap();
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
            changed.notify_one();
            assert!(!waits.join().unwrap());
        });
    }
}
