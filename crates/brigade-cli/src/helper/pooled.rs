//! What a task costs that goes to a pool: to workers that are there already.
//!
//! In a program of its own: a map waits for its results without a limit, and who started the helper has one.

use std::time::Instant;

use brigade::{Kind, Pool};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::fail::{Failure, OrFail as _};
use crate::workers::KINDS;

/// Workers of each pool.
pub(crate) const WORKERS: usize = 2;
/// Tasks of each map.
pub(crate) const TASKS: u32 = 20_000;

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
    let step = match way {
        Way::Single => single,
        Way::Map => map,
    };
    let mut all = [Vec::new(), Vec::new()];
    // Turn and turn about, so that what else the machine does meets both.
    for _ in 0..turns {
        for (figures, kind) in all.iter_mut().zip(KINDS) {
            let pool = pool(kind)?;
            for _ in 0..samples {
                figures.push(step(&pool)?);
            }
            pool.shutdown();
        }
    }
    let [thread, process] = all;
    Ok(Report { thread, process })
}

/// A pool whose workers have all worked.
fn pool(kind: Kind) -> Result<Pool, Failure> {
    let pool = Pool::new(kind, WORKERS).or_fail("making a pool")?;
    map(&pool)?;
    Ok(pool)
}

fn single(pool: &Pool) -> Result<f64, Failure> {
    let start = Instant::now();
    let result = pool.submit(noop, 7).join();
    let taken = start.elapsed().as_nanos() as f64;
    expect(7, result.or_fail("a task in a pool")?)?;
    Ok(taken)
}

fn map(pool: &Pool) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut count = 0;
    for result in pool.map(noop, 0..TASKS) {
        expect(count, result.or_fail("a task of a map")?)?;
        count += 1;
    }
    let taken = start.elapsed().as_nanos() as f64;
    if count == TASKS {
        Ok(taken / f64::from(TASKS))
    } else {
        Err(Failure::new(format!(
            "a map of {TASKS} tasks had {count} results"
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
