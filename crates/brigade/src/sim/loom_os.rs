//! The operating system in the models of `scripts/loom`: what [`liveness`](crate::sync::liveness)
//! and the kernel's futex are to the locks, made of what loom can look through.
//!
//! A thread of the model is a process of its own, with the token it is given. The check of the
//! words and the falling asleep are one step, as in the kernel; a sleeper that no thread wakes is a
//! deadlock, which loom reports: that is how a lost wake-up is found.

use std::time::Instant;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

use crate::sys::futex::Wake;

/// As many processes can be told apart; the first is that of threads which have said nothing.
const PROCESSES: usize = 5;

/// As [`liveness::Token`](crate::sync::liveness::Token).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u32);

impl Token {
    pub(crate) const MASK: u32 = (1 << 31) - 1;

    pub(crate) fn mine() -> Token {
        MINE.with(|mine| mine.get())
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Option<Token> {
        Some(Token(bits & Token::MASK)).filter(|t| t.0 != 0)
    }

    /// That of process `n`, from 1.
    pub(crate) fn of(n: u32) -> Token {
        Token(n)
    }
}

loom::thread_local! {
    static MINE: std::cell::Cell<Token> = std::cell::Cell::new(Token(1));
}

/// From now on this thread is process `n`.
pub(crate) fn be(n: u32) {
    MINE.with(|mine| mine.set(Token(n)));
}

struct LoomWorld {
    epoch: AtomicU32,
    dead: [AtomicU32; PROCESSES],
    /// The sleepers, each with its words, in the order in which they are woken.
    asleep: Mutex<Vec<(Vec<usize>, Arc<Condvar>)>>,
}

loom::lazy_static! {
    static ref WORLD: LoomWorld = LoomWorld {
        epoch: AtomicU32::new(0),
        dead: std::array::from_fn(|_| AtomicU32::new(0)),
        asleep: Mutex::new(Vec::new()),
    };
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

fn wake(at: Option<usize>, most: usize) {
    if let Ok(mut asleep) = WORLD.asleep.lock() {
        let mut left = most;
        asleep.retain(|(words, sleeper)| {
            let woken = left > 0 && at.is_none_or(|at| words.contains(&at));
            if woken {
                left -= 1;
                sleeper.notify_one();
            }
            !woken
        });
    }
}

pub(crate) fn wake_one(word: &AtomicU32) {
    wake(Some(address(word)), 1);
}

pub(crate) fn wake_all(word: &AtomicU32) {
    wake(Some(address(word)), usize::MAX);
}

/// Process `n` is dead, as the fork server says it: first the slot, then the epoch, then all are
/// woken.
pub(crate) fn mark_dead(n: u32) {
    WORLD.dead[n as usize].store(1, Ordering::Release);
    WORLD.epoch.fetch_add(1, Ordering::AcqRel);
    wake(None, usize::MAX);
}

/// As [`liveness::DeathWatch`](crate::sync::liveness::DeathWatch).
#[derive(Debug)]
pub(crate) struct DeathWatch {
    epoch: u32,
}

impl DeathWatch {
    pub(crate) fn begin() -> DeathWatch {
        DeathWatch {
            epoch: WORLD.epoch.load(Ordering::Acquire),
        }
    }

    pub(crate) fn is_dead(&mut self, token: Token) -> bool {
        token != Token::mine()
            && WORLD
                .dead
                .get(token.0 as usize)
                .is_none_or(|dead| dead.load(Ordering::Acquire) != 0)
    }

    /// As the real one's.
    pub(crate) fn saw_a_death_since(&self, earlier: &DeathWatch) -> bool {
        self.epoch != earlier.epoch
    }

    /// As the real one's, but for the deadline: see [`sleep`](Self::sleep).
    pub(crate) fn sleep_on_all(
        &self,
        own: (&AtomicU32, u32),
        others: &[(&AtomicU32, u32)],
        deadline: Option<Instant>,
    ) -> Wake {
        if deadline.is_some() {
            return Wake::TimedOut;
        }
        let words: Vec<_> = std::iter::once(&own).chain(others).copied().collect();
        let addresses = words.iter().map(|(word, _)| address(word)).collect();
        fall_asleep(addresses, || {
            let is_expected =
                |(word, value): &(&AtomicU32, u32)| word.load(Ordering::SeqCst) == *value;
            words.iter().all(is_expected) && WORLD.epoch.load(Ordering::SeqCst) == self.epoch
        })
    }

    /// A deadline is one that has passed, once anything has happened.
    pub(crate) fn sleep(&self, word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
        if deadline.is_some() {
            return Wake::TimedOut;
        }
        fall_asleep(vec![address(word)], || {
            word.load(Ordering::SeqCst) == expected
                && WORLD.epoch.load(Ordering::SeqCst) == self.epoch
        })
    }
}

/// As the kernel's futexes: sleeps while it `may`, until it is woken.
fn fall_asleep(words: Vec<usize>, may: impl FnOnce() -> bool) -> Wake {
    let Ok(mut asleep) = WORLD.asleep.lock() else {
        return Wake::Look;
    };
    if !may() {
        return Wake::Look;
    }
    let me = Arc::new(Condvar::new());
    asleep.push((words, me.clone()));
    while asleep.iter().any(|(_, sleeper)| Arc::ptr_eq(sleeper, &me)) {
        match me.wait(asleep) {
            Ok(again) => asleep = again,
            Err(_) => break,
        }
    }
    Wake::Look
}

/// As [`futex::wait_shared`](crate::sys::futex::wait_shared).
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
    match deadline {
        Some(_) => Wake::TimedOut,
        None => fall_asleep(vec![address(word)], || {
            word.load(Ordering::SeqCst) == expected
        }),
    }
}

/// As [`futex::wait_either`](crate::sys::futex::wait_either); the other word is not the model's,
/// and never changes.
pub(crate) fn wait_either(
    (word, expected): (&AtomicU32, u32),
    _other: (&std::sync::atomic::AtomicU32, u32),
    deadline: Option<Instant>,
) -> Wake {
    wait(word, expected, deadline)
}

/// As eventfd(2).
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Event {
    readable: Mutex<bool>,
    changed: Condvar,
}

#[cfg(test)]
impl Event {
    pub(crate) fn new() -> Event {
        Event {
            readable: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn write(&self) {
        *self.readable.lock().expect("not poisoned") = true;
        self.changed.notify_all();
    }

    pub(crate) fn read(&self) {
        *self.readable.lock().expect("not poisoned") = false;
    }

    pub(crate) fn poll(&self) {
        let mut readable = self.readable.lock().expect("not poisoned");
        while !*readable {
            readable = self.changed.wait(readable).expect("not poisoned");
        }
    }
}
