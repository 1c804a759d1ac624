//! What creating a worker costs, in a program with a heap of a given size.
//!
//! In a program of its own so that each size starts from nothing, and the memory goes back whole at
//! the end.

use std::hint::black_box;
use std::process::Stdio;
use std::time::Instant;

use brigade::Kind;
use serde::{Deserialize, Serialize};

use super::launch::command;
use crate::fail::{Failure, OrFail as _};
use crate::workers::collect;

/// Nanoseconds from the call until the end is known, per sample.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// `thread::spawn` and join, the mean of a run.
    pub(crate) thread: Vec<f64>,
    /// `process::spawn` and join, the mean of a run.
    pub(crate) process: Vec<f64>,
    /// The whole program executed again, and waited for.
    pub(crate) program: Vec<f64>,
    /// A bare `fork`, `_exit` and wait, for what it is that grows.
    pub(crate) fork: Vec<f64>,
}

fn noop(input: u64) -> u64 {
    input
}

pub(crate) fn run(heap: usize, samples: usize) -> Result<Report, Failure> {
    // Written, not only reserved: pages that were never touched cost nothing to copy.
    let ballast = vec![1_u8; heap];
    black_box(&ballast);
    // The first process starts the fork server; that is paid once per program and no part of this.
    collect(
        Kind::Process.spawn(noop, 0).or_fail("starting a process")?,
        "the first process",
    )?;
    let few = samples.div_ceil(10).max(5);
    let report = Report {
        fork: timed(few, fork_once)?,
        program: timed(few, program_once)?,
        thread: timed_runs(samples, || spawn_once(Kind::Thread))?,
        process: timed_runs(samples, || spawn_once(Kind::Process))?,
    };
    black_box(&ballast);
    Ok(report)
}

fn timed(
    samples: usize,
    mut step: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    step()?;
    (0..samples)
        .map(|_| {
            let start = Instant::now();
            step()?;
            Ok(start.elapsed().as_nanos() as f64)
        })
        .collect()
}

/// How many are started one after another for one sample: more than the library keeps ahead, or
/// some samples would be the price of taking a process from the shelf, and others that of putting
/// several there.
const RUN: usize = 20;

/// As [`timed`], for `samples` steps in all; each sample is the mean of a run.
fn timed_runs(
    samples: usize,
    mut step: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    let mut runs = timed(samples.div_ceil(RUN), || (0..RUN).try_for_each(|_| step()))?;
    for run in &mut runs {
        *run /= RUN as f64;
    }
    Ok(runs)
}

fn spawn_once(kind: Kind) -> Result<(), Failure> {
    let handle = kind.spawn(noop, 7).or_fail("starting a worker")?;
    match collect(handle, "a worker that does nothing")? {
        7 => Ok(()),
        other => Err(Failure::new(format!(
            "a worker gave {other} back instead of 7"
        ))),
    }
}

fn program_once() -> Result<(), Failure> {
    let status = command(["noop"])
        .stdin(Stdio::null())
        .status()
        .or_fail("starting this program once more")?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("the program ended with {status}")))
    }
}

fn fork_once() -> Result<(), Failure> {
    // SAFETY: the child calls nothing but `_exit`, which is async-signal-safe, so it does not
    // matter which locks the other threads of this program held.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::new(format!(
            "fork: {}",
            std::io::Error::last_os_error()
        ))),
        // SAFETY: ends the child at once, without running anything of ours twice.
        0 => unsafe { libc::_exit(0) },
        child => {
            let mut status = 0;
            // SAFETY: our own child, not waited for by anybody else; the status is a place of ours.
            if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
                return Err(Failure::new(format!(
                    "waitpid: {}",
                    std::io::Error::last_os_error()
                )));
            }
            Ok(())
        }
    }
}
