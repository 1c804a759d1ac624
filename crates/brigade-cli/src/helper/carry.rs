//! What it costs to give a task an input: bytes that move to a thread, and are carried to a
//! process.
//!
//! In a program of its own, as for [`pooled`](super::pooled).

use std::time::Instant;

use brigade::{Kind, Pool};
use serde::{Deserialize, Serialize};

use super::WORKERS;
use crate::fail::{Failure, OrFail as _};
use crate::workers::{KINDS, collect};

/// Nanoseconds for a task with an input of this size, per sample, in a thread and in a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) bytes: usize,
    /// In a pool.
    pub(crate) pooled: [Vec<f64>; 2],
    /// In a worker of its own.
    pub(crate) fresh: [Vec<f64>; 2],
}

/// Bytes of an input that takes longer than a wake-up.
const MANY: usize = 1 << 20;

/// How many tasks with smaller ones make a sample in a pool, one after another: what a single one
/// takes is mostly whether its worker slept.
const RUN: usize = 100;

/// A task: looks at nothing of its input but how much it is.
fn weigh(input: Vec<u8>) -> u64 {
    input.len() as u64
}

pub(crate) fn run(samples: usize, sizes: &[usize]) -> Result<Vec<Report>, Failure> {
    let pool = |kind| Pool::new(kind, WORKERS).or_fail("making a pool");
    let pools = [pool(KINDS[0])?, pool(KINDS[1])?];
    let reports = sizes
        .iter()
        .map(|&bytes| {
            let mut report = Report {
                bytes,
                pooled: [Vec::new(), Vec::new()],
                fresh: [Vec::new(), Vec::new()],
            };
            // Small ones vary more by themselves.
            let samples = if bytes < MANY { 3 * samples } else { samples };
            // The first is to warm up. Turn and turn about, so that what else the machine does
            // meets all alike.
            for sample in 0..=samples {
                for (index, kind) in KINDS.into_iter().enumerate() {
                    let tasks = if bytes < MANY { RUN } else { 1 };
                    // One task right before, so that the pool's workers are awake, as they are for
                    // the figure of a task without input.
                    in_pool(&pools[index], vec![7; bytes])?;
                    let in_pool = timed(tasks, bytes, |input| in_pool(&pools[index], input))?;
                    let alone = timed(1, bytes, |input| alone(kind, input))?;
                    if sample > 0 {
                        report.pooled[index].push(in_pool);
                        report.fresh[index].push(alone);
                    }
                }
            }
            Ok(report)
        })
        .collect();
    for pool in pools {
        pool.shutdown();
    }
    reports
}

/// Runs `tasks` tasks with `bytes` bytes each, one after another: the mean nanoseconds of one.
fn timed(
    tasks: usize,
    bytes: usize,
    run: impl Fn(Vec<u8>) -> Result<u64, Failure>,
) -> Result<f64, Failure> {
    let inputs = vec![vec![7_u8; bytes]; tasks];
    let mut arrived = Vec::with_capacity(tasks);
    let start = Instant::now();
    for input in inputs {
        arrived.push(run(input)?);
    }
    let taken = start.elapsed().as_nanos() as f64 / tasks as f64;
    match arrived.iter().find(|&&found| found != bytes as u64) {
        None => Ok(taken),
        Some(found) => Err(Failure::new(format!(
            "of an input of {bytes} bytes {found} arrived"
        ))),
    }
}

fn in_pool(pool: &Pool, input: Vec<u8>) -> Result<u64, Failure> {
    pool.submit(weigh, input)
        .join()
        .or_fail("a task in a pool with an input")
}

fn alone(kind: Kind, input: Vec<u8>) -> Result<u64, Failure> {
    let handle = kind.spawn(weigh, input).or_fail("starting a worker")?;
    collect(handle, "a task with an input")
}
