//! What must hold of a pool of processes, in whatever order its callers, its workers and the
//! listener take their steps: run by `scripts/shuttle`.
//!
//! The pool is the real one, down to the mailboxes; its workers are threads, which may die at any
//! step ([`fork_server`](crate::worker::process::doubles::model::fork_server)). A thread that waits
//! for what never comes is a deadlock, which shuttle reports.

mod contexts;
mod deaths;
mod ended_early;
mod maps;
mod waits;

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread;

use crate::worker::process::doubles::ForkServerClient;
use crate::worker::process::doubles::model::fork_server::{Fate, world};
use crate::worker::process::doubles::model::worker::Deed;
use crate::{JoinError, JoinHandle, Kind, Pool, PoolBuilder};

/// As many worlds are gone through for each model by each scheduler, if nothing is said.
const WORLDS: usize = 300;

/// Does this in many worlds. A failure prints a schedule; with `BRIGADE_SCHEDULE` it happens again.
fn model(fate: Fate, f: impl Fn(&ForkServerClient) + Send + Sync + 'static) {
    let f = Arc::new(f);
    let one = move || world(fate, |server| f(server));
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    if let Ok(schedule) = std::env::var("BRIGADE_SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), &config, one);
    }
    let worlds = std::env::var("BRIGADE_WORLDS").map_or(WORLDS, |n| n.parse().expect("a number"));
    run(RandomScheduler::new(worlds), &config, one.clone());
    run(PctScheduler::new(3, worlds), &config, one);
}

fn run(
    scheduler: impl Scheduler + 'static,
    config: &shuttle::Config,
    f: impl Fn() + Send + Sync + 'static,
) {
    shuttle::Runner::new(scheduler, config.clone()).run(f);
}

/// What the tasks of the model do, they are seen to do by what they are given.
fn deed(_: Deed) -> u64 {
    unreachable!("the workers of the model know what to do")
}

fn pool(workers: usize) -> PoolBuilder {
    Pool::builder(Kind::Process).workers(workers)
}

/// Whether a task's end is one that it can have, by itself and by what happened.
fn check(server: &ForkServerClient, deed: Deed, end: &Result<u64, JoinError>, retries: u32) {
    let ran = server.ran(deed.number());
    match end {
        Ok(value) => {
            assert_eq!(*value, 2 * deed.number());
            assert!((1..=1 + retries).contains(&ran), "{deed:?} ran {ran} times");
        }
        Err(JoinError::Crashed(_) | JoinError::TimedOut(_)) => {
            // A worker dies before it does what it has begun, or while it does.
            assert!(ran <= 1 + retries, "{deed:?} ran {ran} times");
        }
        Err(JoinError::Cancelled | JoinError::Undeliverable(_)) => assert!(ran <= 1 + retries),
        Err(other) => panic!("{deed:?} ended with {other}"),
    }
}

/// Ends that come of a worker's death.
fn is_a_death(end: &Result<u64, JoinError>) -> bool {
    matches!(
        end,
        Err(JoinError::Crashed(_) | JoinError::Undeliverable(_))
    )
}

fn joined(
    server: &ForkServerClient,
    handles: impl IntoIterator<Item = (Deed, JoinHandle<u64>)>,
    expected: impl Fn(Deed, &Result<u64, JoinError>) -> bool,
) {
    for (deed, handle) in handles {
        let end = handle.join();
        check(server, deed, &end, 0);
        assert!(expected(deed, &end), "{deed:?} ended with {end:?}");
    }
}

fn submitted(pool: &Pool, deeds: impl IntoIterator<Item = Deed>) -> Vec<(Deed, JoinHandle<u64>)> {
    deeds
        .into_iter()
        .map(|d| (d, pool.submit(deed, d)))
        .collect()
}

/// Threads of the model that may borrow.
fn together(these: Vec<Box<dyn FnOnce() + Send + '_>>) {
    thread::scope(|scope| {
        for this in these {
            scope.spawn(this);
        }
    });
}

/// In so many threads, each with its number.
fn in_threads(count: u64, each: impl Fn(u64) + Sync) {
    let each = &each;
    together(
        (0..count)
            .map(|n| -> Box<dyn FnOnce() + Send + '_> { Box::new(move || each(n)) })
            .collect(),
    );
}

const QUIET: Fate = Fate {
    dies: 0,
    deaths: 0,
    unready: 0,
    unmade: 0,
    slow: false,
};

/// A thread looks now and then.
const PATROLLED: Fate = Fate {
    slow: true,
    ..QUIET
};

/// Workers die now and then.
const DEADLY: Fate = Fate {
    dies: 20,
    deaths: 3,
    ..QUIET
};

/// As the model's caller is told, or as it was before.
fn cancelled_or(end: &Result<u64, JoinError>) -> bool {
    matches!(end, Ok(_) | Err(JoinError::Cancelled))
}
