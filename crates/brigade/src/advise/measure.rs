//! The steps, in their order: nothing is run in the program itself that has not been seen to return
//! elsewhere.
//!
//! 1. All inputs in a pool of processes: which of them return?
//! 2. Those each in a process of its own, twice: does it give the same each time?
//! 3. If none crashed or hung: in threads within a process of their own, then one after another.
//! 4. If they returned there too, and left no memory behind: in a pool of threads of the program,
//!    and the same in a pool of processes, in turns.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::trial::{self, Times, TrialReport};
use super::{Advisor, Alone, Measured, Results, Together};
use crate::sys::process::anonymous_bytes;
use crate::sys::processors;
use crate::task::codec;
use crate::{JoinError, JoinHandle, Kind, Message, Pool, process};

/// How many inputs are run in processes of their own.
const FRESH: usize = 32;

/// The least number of times that threads and processes are compared, and the most.
const PAIRS: (usize, usize) = (3, 15);

/// How long a round of tasks takes, about, where the inputs are small.
const ROUND: Duration = Duration::from_millis(60);

/// Inputs of a round, at the most, and their bytes.
const ROUND_INPUTS: usize = 100_000;
const ROUND_BYTES: u64 = 128 << 20;

/// More workers than processors pay where tasks wait; this many at the most are advised.
const MAX_WORKERS: usize = 64;

/// How a task has ended.
#[derive(Debug, PartialEq, Eq)]
enum TaskEnding {
    /// The result's bytes; `None`: they cannot be compared.
    Returned(Option<Vec<u8>>),
    Failed,
}

#[track_caller]
pub(super) fn measure<A: Message + Clone, R: Message>(
    advisor: &Advisor,
    task: fn(A) -> R,
    mut inputs: Vec<A>,
) -> io::Result<Measured> {
    let processors = processors::count();
    let mut found = Measured {
        processors,
        inputs: inputs.len(),
        workers: processors,
        ..Measured::default()
    };
    let begin = Instant::now();
    let mut pooled = run_pooled(advisor, task, &inputs, &mut found)?;
    // Those that did not return are not run again: each would cost its limit, or a panic's lines.
    let mut returned = pooled.iter().map(|ending| *ending != TaskEnding::Failed);
    inputs.retain(|_| returned.next().unwrap_or(false));
    pooled.retain(|ending| *ending != TaskEnding::Failed);
    if inputs.is_empty() {
        return Ok(found);
    }
    let fresh = run_fresh(advisor, task, &inputs, &mut found)?;
    if begin.elapsed() < advisor.budget.saturating_mul(4) {
        let again = run_fresh(advisor, task, &inputs, &mut found)?;
        found.results = compare_fresh(&fresh, &again, &pooled);
    }
    let failures = &found.failures;
    if failures.crashed.count + failures.timed_out.count + failures.undeliverable.count > 0 {
        return Ok(found);
    }
    let together = run_trial(advisor, task, &inputs, &mut found)?;
    let is_well = together == Together::Well;
    found.together = Some(together);
    found.workers = workers(processors, found.alone);
    let leaks = found.alone.is_some_and(|alone| alone.leaks.is_some());
    if is_well && !leaks {
        compare_kinds(advisor, task, &inputs, &pooled, &mut found)?;
    }
    Ok(found)
}

/// As many as keep the processors busy while some wait.
fn workers(processors: usize, alone: Option<Alone>) -> usize {
    let waits = alone.map_or(0.0, |alone| alone.waits);
    if waits < 0.2 {
        return processors;
    }
    let most = MAX_WORKERS.max(processors);
    let workers = processors as f64 / (1.0 - waits).max(f64::MIN_POSITIVE);
    (workers.round() as usize).clamp(processors, most)
}

/// A part of the inputs, each in a process of its own, as many at a time as there are processors.
#[track_caller]
fn run_fresh<A: Message + Clone, R: Message>(
    advisor: &Advisor,
    task: fn(A) -> R,
    inputs: &[A],
    found: &mut Measured,
) -> io::Result<Vec<(usize, TaskEnding)>> {
    let step = inputs.len().div_ceil(FRESH);
    let chosen = (0..inputs.len()).step_by(step);
    let count = chosen.len();
    let begin = Instant::now();
    let mut endings = Vec::with_capacity(count);
    let mut running = VecDeque::new();
    let mut join = |(number, handle): (usize, JoinHandle<R>)| {
        let ending = join_within(handle, advisor.time_limit).map(result_bytes);
        endings.push((number, ending.unwrap_or(TaskEnding::Failed)));
    };
    for number in chosen {
        if running.len() >= found.processors.max(1) {
            running.pop_front().into_iter().for_each(&mut join);
        }
        running.push_back((number, process::spawn(task, inputs[number].clone())?));
    }
    running.into_iter().for_each(&mut join);
    found.fresh = Some(begin.elapsed() / count as u32);
    Ok(endings)
}

/// `None`: it has not returned.
fn join_within<R: Message>(handle: JoinHandle<R>, time: Duration) -> Option<R> {
    match handle.join_timeout(time) {
        Ok(ended) => ended.ok(),
        Err(running) => {
            running.cancel();
            None
        }
    }
}

/// Nothing that a result needs, beside its bytes, can be compared.
fn result_bytes<R: Message>(result: R) -> TaskEnding {
    let mut bytes = Vec::new();
    let descriptors = codec::encode(&result, &mut bytes);
    let can_be_compared = descriptors.is_ok_and(|descriptors| descriptors.is_empty());
    TaskEnding::Returned(can_be_compared.then_some(bytes))
}

/// All inputs in a pool of processes: here failures are counted.
#[track_caller]
fn run_pooled<A: Message + Clone, R: Message>(
    advisor: &Advisor,
    task: fn(A) -> R,
    inputs: &[A],
    found: &mut Measured,
) -> io::Result<Vec<TaskEnding>> {
    let pool = Pool::builder(Kind::Process)
        .workers(found.processors)
        .timeout(advisor.time_limit)
        .build()?;
    let begin = Instant::now();
    let mut endings = Vec::with_capacity(inputs.len());
    for ended in pool.map(task, inputs.iter().cloned()) {
        endings.push(match ended {
            Ok(result) => result_bytes(result),
            Err(why) => {
                note_failure(found, &why);
                TaskEnding::Failed
            }
        });
    }
    found.processes = Some(begin.elapsed() / inputs.len() as u32);
    let stats = pool.stats();
    let tasks = stats.submitted.max(1);
    found.carried = (stats.bytes_in / tasks, stats.bytes_out / tasks);
    found.worker_memory = pool.pids().into_iter().filter_map(anonymous_bytes).max();
    Ok(endings)
}

fn note_failure(found: &mut Measured, why: &JoinError) {
    let failed = match why {
        JoinError::Panicked(_) => &mut found.failures.panicked,
        JoinError::TimedOut(_) => &mut found.failures.timed_out,
        JoinError::Undeliverable(_) => &mut found.failures.undeliverable,
        // A worker that could not be made counts as one that died.
        JoinError::Crashed(_) | JoinError::Cancelled | JoinError::Closed => {
            &mut found.failures.crashed
        }
    };
    failed.count += 1;
    failed.first.get_or_insert_with(|| why.to_string());
}

fn compare_fresh(
    once: &[(usize, TaskEnding)],
    twice: &[(usize, TaskEnding)],
    pooled: &[TaskEnding],
) -> Results {
    let can_be_compared = |ending: &TaskEnding| matches!(ending, TaskEnding::Returned(Some(_)));
    let returned = once.iter().filter(|(_, ending)| can_be_compared(ending));
    let pairs: Vec<_> = returned
        .map(|(number, ending)| (ending, pooled.get(*number)))
        .collect();
    if pairs.is_empty() || once != twice {
        return Results::Unknown;
    }
    if pairs.iter().all(|(fresh, used)| Some(*fresh) == *used) {
        Results::Same
    } else {
        Results::DependOnTasksBefore
    }
}

/// In threads within a process of their own, and one after another there.
#[track_caller]
fn run_trial<A: Message + Clone, R: Message>(
    advisor: &Advisor,
    task: fn(A) -> R,
    inputs: &[A],
    found: &mut Measured,
) -> io::Result<Together> {
    let times = Times {
        together: advisor.budget / 8,
        alone: advisor.budget / 8,
    };
    // Each of them did return within the limit, alone; twice in threads, and in nine rounds.
    let runs = inputs
        .len()
        .saturating_mul(found.processors)
        .saturating_mul(24);
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    let rounds = found.processes.unwrap_or_default().saturating_mul(runs);
    let limit = advisor.time_limit.saturating_mul(2).saturating_add(rounds);
    let trial = trial::start(task, inputs.to_vec(), found.processors, times)?;
    let joined = match trial.join_timeout(limit.saturating_add(advisor.budget)) {
        Err(hung) => {
            hung.cancel();
            return Ok(Together::Hung);
        }
        Ok(joined) => joined,
    };
    Ok(match joined {
        Ok(Ok(report)) => {
            found.alone = Some(alone(&report));
            Together::Well
        }
        Ok(Err(why)) => Together::Unknown(why),
        Err(JoinError::Crashed(crash)) => Together::Crashed(crash.to_string()),
        // In this thread it panics, and in the processes it did not.
        Err(other) => Together::Unknown(other.to_string()),
    })
}

fn alone(report: &TrialReport) -> Alone {
    let tasks = report.tasks.max(1);
    let time = report.time.max(Duration::from_nanos(1));
    Alone {
        time: Duration::from_nanos((report.time.as_nanos() / u128::from(tasks)) as u64),
        waits: (report.waited.as_secs_f64() / time.as_secs_f64()).clamp(0.0, 1.0),
        leaks: report.leaks,
    }
}

/// In a pool of threads of the program, and in one of processes, in turns.
#[track_caller]
fn compare_kinds<A: Message + Clone, R: Message>(
    advisor: &Advisor,
    task: fn(A) -> R,
    inputs: &[A],
    expected: &[TaskEnding],
    found: &mut Measured,
) -> io::Result<()> {
    let build = |kind| {
        Pool::builder(kind)
            .workers(found.workers)
            .timeout(advisor.time_limit)
            .build()
    };
    let (threads, processes) = (build(Kind::Thread)?, build(Kind::Process)?);
    let first = threads.map(task, inputs.iter().cloned());
    let in_the_program: Vec<_> = first
        .map(|ended| ended.map_or(TaskEnding::Failed, result_bytes))
        .collect();
    if found.results == Results::Same && in_the_program != expected {
        found.results = Results::DependOnTheProgram;
    }
    let copies = copies_in_round(inputs.len(), found);
    let mut pairs = Vec::new();
    let begin = Instant::now();
    while pairs.len() < PAIRS.0 || pairs.len() < PAIRS.1 && begin.elapsed() < advisor.budget {
        let one = |pool| round(pool, task, inputs, copies);
        // Whichever is first finds other caches: in turns.
        pairs.push(if pairs.len() % 2 == 0 {
            let in_threads = one(&threads);
            (in_threads, one(&processes))
        } else {
            let in_processes = one(&processes);
            (one(&threads), in_processes)
        });
    }
    let tasks = (inputs.len() * copies) as u32;
    found.threads = median(pairs.iter().map(|pair| pair.0)).map(|time| time / tasks);
    found.processes = median(pairs.iter().map(|pair| pair.1)).map(|time| time / tasks);
    found.worker_memory = processes
        .pids()
        .into_iter()
        .filter_map(anonymous_bytes)
        .max();
    let ratios = pairs.iter().map(|(threads, processes)| {
        processes.as_secs_f64() / threads.as_secs_f64().max(f64::MIN_POSITIVE)
    });
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    found.ratio = ratios.get(ratios.len() / 2).copied();
    let quarter = ratios.len() / 4;
    let upper = ratios.len().checked_sub(1 + quarter);
    found.quartiles = upper.and_then(|upper| Some((*ratios.get(quarter)?, *ratios.get(upper)?)));
    Ok(())
}

/// How often all inputs are run in a round, which should take long enough to be timed, and hold not
/// too much.
fn copies_in_round(inputs: usize, found: &Measured) -> usize {
    let one = found
        .processes
        .unwrap_or_default()
        .max(Duration::from_nanos(100));
    let by_time = (ROUND.as_nanos() / one.as_nanos()) as usize / inputs;
    let bytes = found.carried.0.max(1).saturating_mul(inputs as u64);
    let by_bytes = usize::try_from(ROUND_BYTES / bytes).unwrap_or(usize::MAX);
    by_time.min(by_bytes).min(ROUND_INPUTS / inputs).max(1)
}

/// The time of `copies` copies of all inputs, which were made before.
fn round<A: Message + Clone, R: Message>(
    pool: &Pool,
    task: fn(A) -> R,
    inputs: &[A],
    copies: usize,
) -> Duration {
    let copies: Vec<A> = (0..copies).flat_map(|_| inputs.iter().cloned()).collect();
    let begin = Instant::now();
    pool.map_unordered(task, copies).for_each(drop);
    begin.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied()
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn returned(n: u8) -> TaskEnding {
        TaskEnding::Returned(Some(vec![n]))
    }

    fn at(endings: Vec<TaskEnding>) -> Vec<(usize, TaskEnding)> {
        endings.into_iter().enumerate().collect()
    }

    #[test]
    fn workers_cover_the_time_in_which_tasks_wait() {
        let waits = |waits| {
            let alone = Alone {
                waits,
                ..Alone::default()
            };
            workers(4, Some(alone))
        };
        assert_eq!(
            [0.0, 0.1, 0.5, 0.75, 1.0].map(waits),
            [4, 4, 8, 16, MAX_WORKERS]
        );
        assert_eq!(workers(4, None), 4);
        assert_eq!(
            workers(
                100,
                Some(Alone {
                    waits: 1.0,
                    ..Alone::default()
                })
            ),
            100
        );
    }

    #[test]
    fn results_are_compared_where_they_can_be() {
        let compare =
            |once, twice, pooled: Vec<TaskEnding>| compare_fresh(&at(once), &at(twice), &pooled);
        let one = || vec![returned(1), returned(2)];
        assert_eq!(compare(one(), one(), one()), Results::Same);
        let other = vec![returned(1), returned(3)];
        assert_eq!(compare(one(), one(), other), Results::DependOnTasksBefore);
        let other = vec![returned(1), returned(3)];
        assert_eq!(compare(one(), other, one()), Results::Unknown);
        let opaque = || vec![TaskEnding::Returned(None)];
        assert_eq!(compare(opaque(), opaque(), opaque()), Results::Unknown);
        let failed = || vec![TaskEnding::Failed, returned(2)];
        assert_eq!(compare(failed(), failed(), failed()), Results::Same);
    }

    #[test]
    fn a_round_has_a_bound() {
        let round = |inputs, micros, bytes| {
            let found = Measured {
                processes: Some(Duration::from_micros(micros)),
                carried: (bytes, 0),
                ..Measured::default()
            };
            copies_in_round(inputs, &found)
        };
        assert_eq!(round(10, 60, 8), 100);
        assert_eq!(round(10, 0, 8), ROUND_INPUTS / 10);
        assert_eq!(round(10, 1_000_000, 8), 1);
        assert_eq!(round(2, 60, 16 << 20), 4);
        assert_eq!(round(2, 60, 1 << 30), 1);
    }
}
