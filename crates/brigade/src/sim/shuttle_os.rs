//! The operating system in the models of `scripts/shuttle`: atomics, threads, futexes and a clock
//! that shuttle looks through.
//!
//! Time is what the model says it is: it goes on by a little at each look, and to the end of a wait
//! whose time may be over. A wait with a near deadline ends at any moment; one with a far deadline,
//! which only a hang exceeds, never.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicBool as Flag;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

/// All that shuttle does is in one order already.
pub(crate) fn fence(_: Ordering) {}

/// As in `shared`.
pub(crate) fn store_over(word: &AtomicU32, value: u32, order: Ordering) {
    word.store(value, order);
}

/// Another thread may go on here.
pub(crate) fn pause() {
    shuttle::thread::yield_now();
}

/// Whether it happens, once in `times` times.
pub(crate) fn one_in(times: u32) -> bool {
    times > 0 && thread_rng().gen_ratio(1, times)
}

// ---- time

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A wait that is longer than this never ends by itself.
const FAR: Duration = Duration::from_secs(1);

/// As `std::time::Instant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        let now = NOW.get() + Duration::from_micros(1);
        NOW.set(now);
        Instant(now)
    }

    pub(crate) fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    pub(crate) fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Moves the time forward to this instant.
    pub(crate) fn come(self) {
        NOW.set(NOW.get().max(self.0));
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// What a caller calls a deadline, as the model has it.
pub(crate) fn deadline(at: std::time::Instant) -> Instant {
    Instant::now() + at.saturating_duration_since(std::time::Instant::now())
}

/// Whether a wait until then may be over now: then it is that late.
fn is_over(deadline: Option<Instant>) -> bool {
    let Some(at) = deadline else {
        return false;
    };
    let over = at <= Instant::now() || one_in(4);
    if over {
        at.come();
    }
    over
}

fn near(deadline: Option<Instant>) -> Option<Instant> {
    deadline.filter(|at| *at - Instant::now() < FAR)
}

// ---- threads

/// As `std::thread`, as far as it is used.
pub(crate) mod thread {
    use super::*;

    /// A thread that can park.
    #[derive(Clone, Debug)]
    pub(crate) struct Thread(Arc<Token>);

    #[derive(Debug)]
    struct Token {
        there: Mutex<bool>,
        put: Condvar,
    }

    shuttle::thread_local! {
        static ME: Thread = Thread(Arc::new(Token {
            there: Mutex::new(false),
            put: Condvar::new(),
        }));
    }

    pub(crate) fn current() -> Thread {
        ME.with(Thread::clone)
    }

    impl Thread {
        pub(crate) fn id(&self) -> usize {
            Arc::as_ptr(&self.0).addr()
        }

        pub(crate) fn unpark(&self) {
            *self.0.there.lock().expect("not poisoned") = true;
            self.0.put.notify_all();
        }
    }

    pub(crate) fn park() {
        park_until(None);
    }

    pub(crate) fn park_timeout(time: Duration) {
        park_until(near(Some(Instant::now() + time)));
    }

    fn park_until(deadline: Option<Instant>) {
        let Thread(me) = current();
        let mut there = me.there.lock().expect("not poisoned");
        // It may come back for nothing.
        while !*there && !one_in(64) {
            if deadline.is_none() {
                there = me.put.wait(there).expect("not poisoned");
            } else if is_over(deadline) {
                break;
            } else {
                drop(there);
                pause();
                there = me.there.lock().expect("not poisoned");
            }
        }
        *there = false;
    }
}

// ---- processes

/// The life of a process, which is a thread of the model.
#[derive(Debug, Default)]
pub(crate) struct Life {
    killed: Flag,
}

/// What a thread unwinds with whose process was killed.
pub(crate) struct Killed;

shuttle::thread_local! {
    static LIFE: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

impl Life {
    /// This thread is that process.
    pub(crate) fn begin(self: &Arc<Life>) {
        LIFE.with(|life| *life.borrow_mut() = Some(Arc::clone(self)));
    }

    /// The process takes no further steps, soon.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        futex::wake_if(usize::MAX, |asleep| {
            asleep
                .life
                .as_ref()
                .is_some_and(|l| std::ptr::eq(&raw const **l, self))
        });
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Unwinds, if it was killed.
    pub(crate) fn check(&self) {
        if self.is_killed() {
            std::panic::resume_unwind(Box::new(Killed));
        }
    }
}

fn life() -> Option<Arc<Life>> {
    LIFE.with(|life| life.borrow().clone())
}

// ---- futexes

/// As `sys::futex`.
pub(crate) mod futex {
    use super::*;

    pub(crate) use crate::sys::futex::{MOST, Wake};

    pub(super) struct Asleep {
        words: Vec<usize>,
        pub(super) life: Option<Arc<Life>>,
        woken: Condvar,
    }

    type Sleepers = Mutex<Vec<Arc<Asleep>>>;

    thread_local! {
        static ASLEEP: RefCell<Arc<Sleepers>> = RefCell::default();
    }

    /// A new world: no thread sleeps, and its clock stands at the beginning.
    pub(crate) fn begin() {
        NOW.set(Duration::ZERO);
        ASLEEP.set(Arc::default());
    }

    fn sleepers() -> Arc<Sleepers> {
        ASLEEP.with_borrow(Arc::clone)
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(super) fn wake_if(most: usize, is_meant: impl Fn(&Asleep) -> bool) {
        let sleepers = sleepers();
        let mut asleep = sleepers.lock().expect("not poisoned");
        let mut woken = Vec::new();
        asleep.retain(|sleeper| {
            let wake = woken.len() < most && is_meant(sleeper);
            if wake {
                woken.push(Arc::clone(sleeper));
            }
            !wake
        });
        drop(asleep);
        for sleeper in woken {
            sleeper.woken.notify_all();
        }
    }

    pub(crate) fn wake_shared(word: &AtomicU32) {
        wake_if(1, |asleep| asleep.words.contains(&address(word)));
    }

    pub(crate) fn wake_all_shared(word: &AtomicU32) {
        wake_if(usize::MAX, |asleep| asleep.words.contains(&address(word)));
    }

    pub(crate) fn wait_shared(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
        wait_any(&[(word, expected)], deadline)
    }

    pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Option<Instant>) -> Wake {
        let deadline = near(deadline);
        let sleepers = sleepers();
        let mut asleep = sleepers.lock().expect("not poisoned");
        for (word, expected) in words {
            if word.load(Ordering::SeqCst) != *expected {
                return Wake::Look;
            }
        }
        let life = life();
        let me = Arc::new(Asleep {
            words: words.iter().map(|(word, _)| address(word)).collect(),
            life: life.clone(),
            woken: Condvar::new(),
        });
        asleep.push(Arc::clone(&me));
        let mut wake = Wake::Look;
        while asleep.iter().any(|other| Arc::ptr_eq(other, &me)) {
            if let Some(life) = life.as_ref().filter(|life| life.is_killed()) {
                asleep.retain(|other| !Arc::ptr_eq(other, &me));
                drop(asleep);
                life.check();
                return wake;
            }
            if deadline.is_none() {
                asleep = me.woken.wait(asleep).expect("not poisoned");
                continue;
            }
            if is_over(deadline) {
                asleep.retain(|other| !Arc::ptr_eq(other, &me));
                wake = Wake::TimedOut;
                continue;
            }
            drop(asleep);
            pause();
            asleep = sleepers.lock().expect("not poisoned");
        }
        drop(asleep);
        if let Some(life) = life {
            life.check();
        }
        wake
    }
}

/// As `shared::futex`, as far as it is used.
pub(crate) mod claims_futex {
    pub(crate) use super::futex::{wait_shared as wait, wake_shared as wake_one};
}

/// As `sys::spin`: there is no telling.
pub(crate) mod spin {
    use super::*;

    pub(crate) fn pays() -> bool {
        one_in(2)
    }

    pub(crate) fn until(is_so: impl Fn() -> bool) -> bool {
        (0..64).any(|_| is_so())
    }
}
