//! What the victim and those who wait for it share, and what they tell.

use std::sync::atomic::{AtomicU32, AtomicU64};

use brigade::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use brigade::{Shared, ShmSafe};
use serde::{Deserialize, Serialize};

/// Who waits: by turns a thread of this program and a process.
pub(super) const WAITERS: usize = 4;
/// What the semaphore has.
pub(super) const PERMITS: u32 = 4;

/// What dies with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Case {
    Mutex,
    Writer,
    Reader,
    CondvarHolder,
    CondvarWaiter,
    Semaphore,
    Barrier,
    Once,
}

impl Case {
    pub(super) const ALL: [Case; 8] = [
        Case::Mutex,
        Case::Writer,
        Case::Reader,
        Case::CondvarHolder,
        Case::CondvarWaiter,
        Case::Semaphore,
        Case::Barrier,
        Case::Once,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Case::Mutex => "Mutex",
            Case::Writer => "RwLock, one that writes",
            Case::Reader => "RwLock, one that reads",
            Case::CondvarHolder => "Condvar, its mutex held",
            Case::CondvarWaiter => "Condvar, notified",
            Case::Semaphore => "Semaphore",
            Case::Barrier => "Barrier",
            Case::Once => "Once",
        }
    }
}

/// Where it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Point {
    /// It has it, and keeps it.
    Held,
    /// It takes it and lets go of it, over and over; nobody knows where it is.
    Anywhere,
}

impl Point {
    pub(super) fn name(self) -> &'static str {
        match self {
            Point::Held => "while it has it",
            Point::Anywhere => "at random",
        }
    }
}

/// Two numbers that agree unless somebody died between the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ShmSafe)]
#[repr(C)]
pub(super) struct Pair {
    pub(super) first: u64,
    pub(super) second: u64,
}

impl Pair {
    /// Adds one to both. Between the two it takes its time, so that deaths find it there.
    pub(super) fn add(&mut self) {
        self.first += 1;
        linger();
        self.second += 1;
    }

    pub(super) fn agrees(self) -> bool {
        self.first == self.second
    }
}

/// A few hundred instructions, at either side of which memory is as the source says.
pub(super) fn linger() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..20 {
        std::hint::spin_loop();
    }
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

/// One of each lock, and what is said about the round.
#[derive(Debug, ShmSafe)]
#[repr(C)]
pub(super) struct World {
    pub(super) mutex: Mutex<Pair>,
    pub(super) rwlock: RwLock<Pair>,
    pub(super) condvar: Condvar,
    pub(super) semaphore: Semaphore,
    pub(super) barrier: Barrier,
    /// What the `Once` makes of zeros.
    pub(super) made: [AtomicU64; 2],
    /// How often the victim has added to a pair and come to the end of it.
    pub(super) by_victim: AtomicU64,
    /// Permits of the waiters, and of the victim, who may have died with them.
    pub(super) inside: [AtomicU32; 2],
    /// When the victim was killed; 0 before.
    pub(super) killed_at: AtomicU64,
    /// Not zero: the victim is dead, and the program knows.
    pub(super) over: AtomicU32,
}

impl World {
    pub(super) fn new(parties: usize) -> World {
        World {
            mutex: Mutex::new(Pair::default()),
            rwlock: RwLock::new(Pair::default()),
            condvar: Condvar::new(),
            semaphore: Semaphore::new(PERMITS),
            barrier: Barrier::new(parties),
            made: [const { AtomicU64::new(0) }; 2],
            by_victim: AtomicU64::new(0),
            inside: [const { AtomicU32::new(0) }; 2],
            killed_at: AtomicU64::new(0),
            over: AtomicU32::new(0),
        }
    }
}

/// What everybody gets. A `Once` is used up by a round.
pub(super) type Arena = (Shared<World>, Shared<[Once]>);

/// What a waiter is told to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) case: Case,
    pub(super) point: Point,
    pub(super) number: u64,
}

/// What a waiter says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    Begins,
    Ended(Ended),
}

/// How a waiter's round ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) who: usize,
    /// It learnt of the death: the lock was poisoned, the barrier broken.
    pub(super) told: bool,
    /// When it began to wait for the last time, and when that was over.
    pub(super) began: u64,
    pub(super) ended: u64,
    /// How often it had it.
    pub(super) done: u64,
    /// What should not have been.
    pub(super) wrong: Option<String>,
}
