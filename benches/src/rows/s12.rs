//! S12, locks: `sync::Mutex` with nobody else there, and contended by two processes.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use brigade::sync::Mutex;
use brigade::{Message, Shared, process};

use crate::peers::locks::Posix;
use crate::report::{Goal, Row};
use crate::rounds::{Contender, each, take_turns};
use crate::rows;
use crate::traffic::{ended, join};

const STD: &str = "std::sync::Mutex";
const PARKING_LOT: &str = "parking_lot::Mutex";
const ROBUST: &str = "pthread, robust, for processes";
const SHARED: &str = "pthread, for processes";
const THREADS: &str = "parking_lot::Mutex (threads)";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        alone(if quick { 15 } else { 60 })?,
        contended(if quick { 9 } else { 30 })?,
    ])
}

fn poisoned<E>(_: E) -> io::Error {
    io::Error::other("poisoned")
}

fn alone(rounds: usize) -> io::Result<Row> {
    const MANY: u32 = 300_000;
    let (ours, std) = (Mutex::new(0_u64), std::sync::Mutex::new(0_u64));
    let shared = Shared::new(Mutex::new(0_u64))?;
    let parking_lot = parking_lot::Mutex::new(0_u64);
    let (robust, posix) = (Posix::new(true)?, Posix::new(false)?);
    // Nanoseconds for one.
    let time = |once: &mut dyn FnMut() -> io::Result<f64>| once().map(|micro| micro * 1e3);
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade", || {
                time(&mut || {
                    each(MANY, || {
                        *black_box(&ours).lock().map_err(poisoned)? += 1;
                        Ok(())
                    })
                })
            }),
            Contender::new("ours, in a shared region", || {
                time(&mut || {
                    each(MANY, || {
                        *black_box(&shared).lock().map_err(poisoned)? += 1;
                        Ok(())
                    })
                })
            }),
            Contender::new(STD, || {
                time(&mut || {
                    each(MANY, || {
                        *black_box(&std).lock().map_err(poisoned)? += 1;
                        Ok(())
                    })
                })
            }),
            Contender::new(PARKING_LOT, || {
                time(&mut || {
                    each(MANY, || {
                        *black_box(&parking_lot).lock() += 1;
                        Ok(())
                    })
                })
            }),
            Contender::new(ROBUST, || {
                time(&mut || {
                    each(MANY, || {
                        black_box(&robust).add();
                        Ok(())
                    })
                })
            }),
            Contender::new(SHARED, || {
                time(&mut || {
                    each(MANY, || {
                        black_box(&posix).add();
                        Ok(())
                    })
                })
            }),
        ],
    )?;
    let what = "Mutex with nobody else there: lock, add one, unlock";
    let goals = [(STD, Goal::AtMost(1.05))];
    Row::new("S12a", what, "ns", &all, &goals).ok_or_else(rows::empty)
}

/// How long both add.
const TIME: Duration = Duration::from_millis(40);

const WAIT: u32 = 0;
const RUN: u32 = 1;
const STOP: u32 = 2;

/// Adds until it is told to stop. Gives how often.
fn add_while(signal: &AtomicU32, mut add: impl FnMut()) -> u64 {
    let mut count = 0;
    while signal.load(Ordering::Acquire) == RUN {
        for _ in 0..64 {
            add();
        }
        count += 64;
    }
    count
}

/// Two that add at the same time: millions a second. `partner`: the other one, running by the time
/// that this returns.
fn together(
    signal: &AtomicU32,
    ready: &AtomicU32,
    partner: impl FnOnce() -> io::Result<u64>,
    mut add: impl FnMut(),
    count: impl FnOnce() -> u64,
) -> io::Result<f64> {
    while ready.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    signal.store(RUN, Ordering::Release);
    let start = Instant::now();
    let mut mine = 0;
    while start.elapsed() < TIME {
        for _ in 0..64 {
            add();
        }
        mine += 64;
    }
    signal.store(STOP, Ordering::Release);
    let taken = start.elapsed();
    let theirs = partner()?;
    let (sum, counted) = (mine + theirs, count());
    if sum != counted {
        let why = format!("{sum} were added, and the count is {counted}");
        return Err(io::Error::other(why));
    }
    Ok(sum as f64 / 1e6 / taken.as_secs_f64())
}

/// What both processes have besides the lock.
type Signals = Shared<[AtomicU32]>;

/// Waits for the start, adds, and gives how often.
fn partner(signals: &[AtomicU32], add: impl FnMut()) -> u64 {
    signals[1].store(1, Ordering::Release);
    while signals[0].load(Ordering::Acquire) == WAIT {
        std::hint::spin_loop();
    }
    add_while(&signals[0], add)
}

fn between_processes<L: Message + Clone>(
    lock: &L,
    task: fn((L, Signals)) -> u64,
    add: impl Fn(&L),
    count: impl Fn(&L) -> u64,
) -> io::Result<f64> {
    let signals = Signals::zeroed(2)?;
    let worker = process::spawn(task, (lock.clone(), signals.clone()))?;
    let before = count(lock);
    together(
        &signals[0],
        &signals[1],
        || join(worker),
        || add(lock),
        || count(lock) - before,
    )
}

type Ours = Shared<Mutex<u64>>;

fn add_ours(lock: &Ours) {
    if let Ok(mut count) = lock.lock() {
        *count += 1;
    }
}

fn task_ours((lock, signals): (Ours, Signals)) -> u64 {
    partner(&signals, || add_ours(&lock))
}

fn task_posix((lock, signals): (Posix, Signals)) -> u64 {
    partner(&signals, || lock.add())
}

fn between_threads() -> io::Result<f64> {
    let lock = Arc::new(parking_lot::Mutex::new(0_u64));
    let signals: Arc<[AtomicU32; 2]> = Arc::default();
    let (theirs, their_signals) = (Arc::clone(&lock), Arc::clone(&signals));
    let thread = std::thread::spawn(move || partner(&*their_signals, || *theirs.lock() += 1));
    together(
        &signals[0],
        &signals[1],
        || thread.join().map_err(|_| ended()),
        || *lock.lock() += 1,
        || *lock.lock(),
    )
}

fn contended(rounds: usize) -> io::Result<Row> {
    let ours: Ours = Shared::new(Mutex::new(0))?;
    let (posix, robust) = (Posix::new(false)?, Posix::new(true)?);
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade", || {
                let count = |lock: &Ours| lock.lock().map_or(0, |count| *count);
                between_processes(&ours, task_ours, add_ours, count)
            }),
            Contender::new(SHARED, || {
                between_processes(&posix, task_posix, Posix::add, Posix::count)
            }),
            Contender::new(ROBUST, || {
                between_processes(&robust, task_posix, Posix::add, Posix::count)
            }),
            Contender::new(THREADS, between_threads),
        ],
    )?;
    let what = "Mutex contended by two processes: additions of both";
    let goals = [(SHARED, Goal::AtLeast(1.2))];
    let row = Row::new("S12b", what, "M/s", &all, &goals).ok_or_else(rows::empty)?;
    Ok(row.note("after each turn the count was what both had added"))
}
