//! What runs in the process, and how it is started.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{Times, TrialReport};
use crate::task::entry::task_at;
use crate::task::identity::Function;
use crate::task::name::TaskName;
use crate::{JoinHandle, Message, Pool, process, sys};

/// The bytes of the smallest leak that shows: less is what allocators and lazy tables do.
const LEAKS_SHOW: u64 = 256 << 10;

/// How often memory is looked at while tasks run.
const LOOKS: usize = 8;

/// Between two looks no more is leaked than this and what one round of the inputs leaks.
const LEAK_LIMIT: u64 = (128 << 20) / LOOKS as u64;

/// How often it is looked whether that is reached.
const LIMIT_LOOKED_AT: Duration = Duration::from_millis(1);

#[derive(Serialize, Deserialize)]
struct Trial<A> {
    /// The program's function, which is an `fn(A) -> R`.
    task: u64,
    inputs: Vec<A>,
    workers: usize,
    times: Times,
}

/// Starts it. A panic or a crash in it is one of the task.
#[track_caller]
pub(in crate::advise) fn start<A: Message + Clone, R: Message>(
    task: fn(A) -> R,
    inputs: Vec<A>,
    workers: usize,
    times: Times,
) -> io::Result<JoinHandle<Result<TrialReport, String>>> {
    let trial = Trial {
        task: Function::at(task as usize)?.0,
        inputs,
        workers,
        times,
    };
    let name = TaskName::new(task as usize, None);
    process::Builder::new().spawn_as(run::<A, R>, trial, name)
}

fn run<A: Message + Clone, R: Message>(trial: Trial<A>) -> Result<TrialReport, String> {
    let function = Function(trial.task);
    let task = task_at::<A, R>(function)
        .ok_or_else(|| format!("its function {}", function.why_absent()))?;
    together(task, &trial).map_err(|e| format!("no pool of threads: {e}"))?;
    Ok(alone(task, &trial))
}

/// All inputs at the same time, as often as there is time for, and until as much was leaked as all
/// looks may see.
fn together<A: Message + Clone, R: Message>(task: fn(A) -> R, trial: &Trial<A>) -> io::Result<()> {
    let pool = Pool::threads(trial.workers.max(2))?;
    let begin = Instant::now();
    let before = resident();
    while {
        let copies = trial.inputs.iter().chain(&trial.inputs).cloned();
        pool.map_unordered(task, copies).for_each(drop);
        let leaked = resident().saturating_sub(before);
        begin.elapsed() < trial.times.together && leaked < LOOKS as u64 * LEAK_LIMIT
    } {}
    Ok(())
}

/// One task after another, on this thread.
fn alone<A: Message + Clone, R: Message>(task: fn(A) -> R, trial: &Trial<A>) -> TrialReport {
    let part = trial.times.alone / LOOKS as u32;
    let mut report = TrialReport::default();
    // What is allocated once is there after the first round.
    rounds(task, trial, part, &mut TrialReport::default());
    let mut memory = VecDeque::from([resident()]);
    let busy = busy_time();
    let begin = Instant::now();
    for _ in 0..LOOKS {
        rounds(task, trial, part, &mut report);
        memory.push_back(resident());
    }
    report.waited = begin
        .elapsed()
        .saturating_sub(busy_time().saturating_sub(busy));
    report.leaks = leaks(&memory).map(|bytes| bytes / report.tasks.max(1));
    report
}

/// All inputs once, and again until the time is over, or so much was leaked that it shows.
fn rounds<A: Message + Clone, R: Message>(
    task: fn(A) -> R,
    trial: &Trial<A>,
    time: Duration,
    report: &mut TrialReport,
) {
    let begin = Instant::now();
    let before = resident();
    let mut looked = begin;
    let mut is_enough = || {
        let now = Instant::now();
        if now - looked < LIMIT_LOOKED_AT {
            return false;
        }
        looked = now;
        resident().saturating_sub(before) >= LEAK_LIMIT
    };
    while {
        for input in &trial.inputs {
            let input = input.clone();
            let from = Instant::now();
            drop(task(input));
            report.time += from.elapsed();
            report.tasks += 1;
        }
        begin.elapsed() < time && !is_enough()
    } {}
}

/// By how much memory has grown, from first to last.
fn grown(memory: &VecDeque<u64>) -> u64 {
    let (first, last) = (memory.front(), memory.back());
    last.unwrap_or(&0).saturating_sub(*first.unwrap_or(&0))
}

/// The bytes that were left behind, if that went on to the end: a table that fills and is full is
/// no leak.
fn leaks(memory: &VecDeque<u64>) -> Option<u64> {
    let all = grown(memory);
    let looks: Vec<u64> = memory.iter().copied().collect();
    let half = looks.get(looks.len() / 2)?;
    let late = looks.last()?.saturating_sub(*half);
    let steps = looks.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let is_steady = late >= all / 3 && steps * 4 >= (looks.len() - 1) * 3;
    (all >= LEAKS_SHOW && is_steady).then_some(all)
}

/// Bytes of anonymous memory that this process has.
fn resident() -> u64 {
    sys::process::anonymous_bytes(std::process::id()).unwrap_or(0)
}

/// The time in which this process computed, or its main thread waited for a processor: the second
/// number of schedstat, in nanoseconds, where the kernel keeps it.
fn busy_time() -> Duration {
    let computed = clock_gettime(ClockId::ProcessCPUTime);
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok());
    let computed = Duration::new(computed.tv_sec as u64, computed.tv_nsec as u32);
    computed + Duration::from_nanos(waited.unwrap_or(0))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn left(looks: &[u64]) -> Option<u64> {
        leaks(&looks.iter().map(|n| n * KIB).collect())
    }

    #[test]
    fn what_goes_on_is_a_leak() {
        assert_eq!(
            left(&[0, 100, 200, 300, 400, 500, 600, 700, 800]),
            Some(800 * KIB)
        );
        assert_eq!(
            left(&[0, 0, 200, 200, 400, 500, 600, 700, 900]),
            Some(900 * KIB)
        );
    }

    #[test]
    fn what_is_allocated_once_is_none() {
        assert_eq!(left(&[0, 900, 900, 900, 900, 900, 900, 900, 900]), None);
        assert_eq!(left(&[0, 500, 800, 890, 895, 896, 897, 898, 899]), None);
        // It comes and goes.
        assert_eq!(left(&[0, 900, 0, 900, 0, 900, 0, 900, 0]), None);
        assert_eq!(left(&[0, 10, 20, 30, 40, 50, 60, 70, 80]), None);
        assert_eq!(left(&[500]), None);
        assert_eq!(left(&[]), None);
    }
}
