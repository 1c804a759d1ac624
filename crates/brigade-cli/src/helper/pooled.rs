//! What a task costs that goes to a pool: to workers that are there already.
//!
//! In a program of its own: a map waits for its results without a limit, and who started the helper
//! has one.

use std::time::Instant;

use brigade::Pool;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::fail::{Failure, OrFail as _};
use crate::workers::KINDS;

/// Workers of each pool.
pub(crate) const WORKERS: usize = 2;
/// Tasks of each map.
pub(crate) const TASKS: u32 = 20_000;

/// Tasks that each pool has before anything is timed.
const WARM_UP: u32 = 1_000;

/// How the pool is given its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Submitted and joined, one at a time; a sample is one task.
    Single,
    /// All through one map; a sample is the mean of its tasks.
    Map,
}

/// Nanoseconds for a task that does nothing, per sample.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// In a pool of threads.
    pub(crate) thread: Vec<f64>,
    /// In a pool of processes.
    pub(crate) process: Vec<f64>,
}

fn noop(input: u32) -> u32 {
    input
}

pub(crate) fn run(way: Way, turns: u32, samples: u32) -> Result<Report, Failure> {
    let step: fn(&Pool) -> _ = match way {
        Way::Single => single,
        Way::Map => |pool: &Pool| map(pool, TASKS),
    };
    let mut all = [Vec::new(), Vec::new()];
    // Turn and turn about, so that what else the machine does meets both. And many pools: where the
    // kernel puts the workers of one can stay as it is for thousands of tasks, and makes them
    // several times quicker or slower.
    for _ in 0..turns {
        for (figures, kind) in all.iter_mut().zip(KINDS) {
            let pool = Pool::new(kind, WORKERS).or_fail("making a pool")?;
            // The first tasks wait for the workers to be there.
            map(&pool, WARM_UP)?;
            for _ in 0..samples {
                figures.push(step(&pool)?);
            }
            pool.shutdown();
        }
    }
    let [thread, process] = all;
    Ok(Report { thread, process })
}

fn single(pool: &Pool) -> Result<f64, Failure> {
    let start = Instant::now();
    let result = pool.submit(noop, 7).join();
    let taken = start.elapsed().as_nanos() as f64;
    expect(7, result.or_fail("a task in a pool")?)?;
    Ok(taken)
}

fn map(pool: &Pool, tasks: u32) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut count = 0;
    for result in pool.map(noop, 0..tasks) {
        expect(count, result.or_fail("a task of a map")?)?;
        count += 1;
    }
    let taken = start.elapsed().as_nanos() as f64;
    if count == tasks {
        Ok(taken / f64::from(tasks))
    } else {
        Err(Failure::new(format!(
            "a map of {tasks} tasks had {count} results"
        )))
    }
}

fn expect(expected: u32, result: u32) -> Result<(), Failure> {
    if result == expected {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "a task gave {result} back instead of {expected}"
        )))
    }
}
