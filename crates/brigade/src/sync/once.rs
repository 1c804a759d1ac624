//! Once and never again: [`Once`].

use std::fmt;
use std::time::{Duration, Instant};

use super::raw_lock::{Acquired, RawLock, WaitedFor};
use super::{DeathWatch, deadline};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering};

const INCOMPLETE: u32 = 0;
const COMPLETE: u32 = 1;
/// As is everything else.
const POISONED: u32 = 2;

/// Runs something once, in the first of any number of threads and processes that comes to it.
///
/// It is [`std::sync::Once`] with two additions: between processes it runs once for all of them,
/// and it is poisoned by a process that dies while it runs, as by a thread that panics. Every wait
/// can have an end. A closure that calls its own `Once` waits for itself. All zero bytes are one
/// that has not run.
///
/// # Examples
///
/// ```
/// use brigade::sync::Once;
///
/// static SET_UP: Once = Once::new();
///
/// let mut ran = 0;
/// SET_UP.call_once(|| ran += 1);
/// SET_UP.call_once(|| ran += 1);
/// assert_eq!(ran, 1);
/// assert!(SET_UP.is_completed());
/// ```
#[repr(C)]
pub struct Once {
    state: AtomicU32,
    /// Held while it runs.
    lock: RawLock,
}

impl Once {
    const_but_in_models! {
        /// Has not run.
        #[inline]
        pub const fn new() -> Once {
            Once { state: AtomicU32::new(INCOMPLETE), lock: RawLock::new() }
        }
    }

    /// Runs this if nothing has run yet, and waits while another runs. When it comes back,
    /// something has run.
    ///
    /// # Panics
    ///
    /// The one that ran first panicked, or its process died.
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let mut f = Some(f);
            while !self.call(None, false, &mut |_| f.take().into_iter().for_each(|f| f())) {}
        }
    }

    /// As [`call_once`](Self::call_once), but runs it also if the first panicked or died; the
    /// [`OnceState`] says whether.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Once;
    ///
    /// let once = Once::new();
    /// let panics = std::panic::catch_unwind(|| once.call_once(|| panic!("half done")));
    /// assert!(panics.is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned())); // mend it
    /// once.call_once(|| unreachable!("it is complete"));
    /// ```
    #[inline]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !self.is_completed() {
            let mut f = Some(f);
            let mut run = |state: &OnceState| f.take().into_iter().for_each(|f| f(state));
            while !self.call(None, true, &mut run) {}
        }
    }

    /// As [`call_once`](Self::call_once), but waits no longer than this while another runs. Gives
    /// whether something has run.
    ///
    /// # Panics
    ///
    /// The one that ran first panicked, or its process died.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::Once;
    ///
    /// let once = Once::new();
    /// assert!(once.call_once_timeout(Duration::from_millis(10), || {}));
    /// ```
    #[must_use = "it may not have run"]
    pub fn call_once_timeout(&self, timeout: Duration, f: impl FnOnce()) -> bool {
        let mut f = Some(f);
        self.is_completed()
            || self.call(deadline(timeout), false, &mut |_| {
                f.take().into_iter().for_each(|f| f());
            })
    }

    /// Whether it has run, to the end.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until it has run; also if no thread has begun it.
    ///
    /// # Panics
    ///
    /// The one that ran first panicked, or its process died.
    pub fn wait(&self) {
        while !self.wait_until(None) {}
    }

    /// Waits until it has run, but no longer than this. Gives whether it has.
    ///
    /// # Panics
    ///
    /// The one that ran first panicked, or its process died.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::Once;
    ///
    /// let once = Once::new();
    /// assert!(!once.wait_timeout(Duration::from_millis(10)));
    /// ```
    #[must_use = "it may not have run"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(deadline(timeout))
    }

    #[cold]
    fn call(
        &self,
        deadline: Option<Instant>,
        force: bool,
        run: &mut dyn FnMut(&OnceState),
    ) -> bool {
        let Some(acquired) = self.lock.acquire(deadline) else {
            return self.is_completed();
        };
        let state = self.state.load(Ordering::Acquire);
        let mut ending = RunningInit {
            once: self,
            state: COMPLETE,
        };
        if state == COMPLETE {
            return true;
        }
        // Until it has run to the end: for us, if it panics.
        ending.state = POISONED;
        let poisoned = state != INCOMPLETE || acquired == Acquired::OwnerDied;
        assert!(!poisoned || force, "{SPOILT}");
        run(&OnceState { poisoned });
        ending.state = COMPLETE;
        true
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let mut death_watch = DeathWatch::begin();
            let state = self.state.load(Ordering::Acquire);
            match state {
                COMPLETE => return true,
                INCOMPLETE => {}
                _ => panic!("{SPOILT}"),
            }
            let runner = self.lock.holder();
            if runner.is_some_and(|token| death_watch.is_dead(token)) {
                self.mark_runner_dead();
            } else if death_watch.sleep(&self.state, state, deadline) == Wake::TimedOut {
                return self.is_completed();
            }
        }
    }

    fn mark_runner_dead(&self) {
        if self.lock.look_if_free() == Some(WaitedFor::TakenOver) {
            let state = match self.is_completed() {
                true => COMPLETE,
                false => POISONED,
            };
            drop(RunningInit { once: self, state });
        }
    }
}

const SPOILT: &str = "the Once is poisoned: its closure panicked, or the process that ran it died";

/// With the lock: dropped, it says how it ended, lets go, and wakes all that wait for either.
struct RunningInit<'o> {
    once: &'o Once,
    state: u32,
}

impl Drop for RunningInit<'_> {
    fn drop(&mut self) {
        let changed = self.once.state.swap(self.state, Ordering::AcqRel) != self.state;
        self.once.lock.release_to_all();
        if changed {
            futex::wake_all(&self.once.state);
        }
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}

/// What [`Once::call_once_force`] tells its closure.
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// One that ran before has panicked, or its process has died: what it did may be half done.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
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

    fn panics(f: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(f)).is_err()
    }

    #[test]
    fn it_runs_once_and_all_wait_for_it() {
        let (once, ran) = (Once::new(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    once.call_once(|| {
                        waiting(scope, || once.wait());
                        waiting(scope, || once.call_once(|| unreachable!()));
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(ran.load(Ordering::Relaxed), 1);
                });
            }
        });
        assert!(once.is_completed() && once.wait_timeout(Duration::ZERO));
    }

    #[test]
    fn a_panic_poisons_and_force_repairs() {
        let once = Once::new();
        assert!(panics(|| once.call_once(|| panic!("on purpose"))));
        assert!(!once.is_completed());
        assert!(panics(|| once.call_once(|| ())) && panics(|| once.wait()));
        once.call_once_force(|state| assert!(state.is_poisoned()));
        once.call_once_force(|_| unreachable!());
        once.wait();
    }

    #[test]
    fn a_limit_ends_the_wait() {
        let once = Once::new();
        assert!(!once.wait_timeout(SOON));
        let process = FakeProcess::new();
        once.lock.pretend(process.token());
        assert!(!once.call_once_timeout(SOON, || unreachable!()));
        process.kill();
    }

    #[test]
    fn a_runner_that_dies_poisons() {
        for waits_only in [true, false] {
            let (once, process) = (Once::new(), FakeProcess::new());
            once.lock.pretend(process.token());
            std::thread::scope(|scope| {
                let waits = waiting(scope, || {
                    panics(|| match waits_only {
                        true => assert!(once.wait_timeout(LONG)),
                        false => once.call_once(|| unreachable!()),
                    })
                });
                assert!(!waits.is_finished());
                process.kill();
                assert!(waits.join().unwrap());
            });
            once.call_once_force(|state| assert!(state.is_poisoned()));
        }
        // It died after it was done, and before it could let go.
        let once = Once::new();
        once.state.store(COMPLETE, Ordering::Relaxed);
        once.lock.pretend(FakeProcess::dead());
        once.call_once(|| unreachable!());
    }

    #[test]
    fn garbage_is_poison() {
        for garbage in [2, 3, 1 << 31, u32::MAX, 0xdead_beef] {
            let once = Once::new();
            once.state.store(garbage, Ordering::Relaxed);
            assert!(panics(|| once.wait()) && panics(|| once.call_once(|| ())));
            once.call_once_force(|state| assert!(state.is_poisoned()));
        }
    }
}
