//! Row 8: many workers on one problem: work for the processor, and work that waits.

use std::hint::black_box;
use std::time::{Duration, Instant};

use brigade::Kind;

use super::format::Unit;
use super::row::{Axis, Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment, pooled};
use crate::cores;
use crate::fail::{Failure, OrFail as _, first_cause};
use crate::helper::{CrowdReport, launch};
use crate::waiters::{self, Answers, Server};
use crate::workers::{KINDS, collect, collect_checked};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "concurrency",
    title: "Concurrency",
    claim: "Processes are for CPU-bound work, which computes; threads are for I/O-bound work, which waits.",
    needs: &[],
    run,
};

/// The figure of tasks per second, for the rows that work with it.
pub(super) const POOLED_RATE: &str = "pooled-rate";

pub(super) const SPEED_UP: &str = "speed-up";

/// Tasks that wait, at once.
const WAITING: usize = 200;
/// How long the server lets each wait.
const DELAY: Duration = Duration::from_millis(50);
/// Workers beyond this say nothing new, and cost a patient reader time.
const MOST_WORKERS: usize = 16;

/// A task: `steps` steps of arithmetic, each of which needs the one before it.
fn compute(steps: u64) -> u64 {
    let mut state = steps | 1;
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// Steps that take about so long here.
fn calibrate(target: Duration) -> u64 {
    let mut steps = 100_000;
    loop {
        let start = Instant::now();
        compute(steps);
        let taken = start.elapsed();
        if taken >= Duration::from_millis(5) {
            let factor = target.as_secs_f64() / taken.as_secs_f64();
            return (steps as f64 * factor) as u64;
        }
        steps *= 2;
    }
}

/// Seconds for `shares` shares of work, each in a worker of its own, all at once.
fn at_once(kind: Kind, shares: usize, steps: u64) -> Result<f64, Failure> {
    let start = Instant::now();
    let handles = (0..shares)
        .map(|_| kind.spawn(compute, steps).or_fail("starting a worker"))
        .collect::<Result<Vec<_>, _>>()?;
    for handle in handles {
        collect(handle, "computing")?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// How many times faster `workers` workers are than one with the same work.
fn speed_up(kind: Kind, workers: usize, steps: u64, repeats: usize) -> Result<Summary, Failure> {
    let mut figures = Vec::new();
    for _ in 0..repeats {
        let one = at_once(kind, 1, steps * workers as u64)?;
        figures.push(one / at_once(kind, workers, steps)?);
    }
    Summary::of(&figures)
}

/// The speed-up for other numbers of workers, each against the same one: for the chart.
fn speed_ups(workers: usize, steps: u64, repeats: usize) -> Result<Vec<Figure>, Failure> {
    let counts = worker_counts(workers);
    let mut all = Vec::new();
    for kind in KINDS {
        let mut ones = Vec::new();
        let mut shares: Vec<Vec<f64>> = vec![Vec::new(); counts.len()];
        for _ in 0..repeats {
            ones.push(at_once(kind, 1, steps)?);
            for (times, count) in shares.iter_mut().zip(&counts) {
                times.push(at_once(kind, *count, steps / *count as u64)?);
            }
        }
        let one = Summary::of(&ones)?.median;
        let sped: Result<Vec<Summary>, Failure> = shares
            .iter()
            .map(|times| Ok(Summary::of(times)?.per(one)))
            .collect();
        all.push(sped?);
    }
    let figure = |(index, count): (usize, &usize)| {
        let sides = [all[0][index], all[1][index]].map(Value::Measured);
        let [thread, process] = sides;
        let label = format!("CPU-bound: speed-up, {count} workers");
        Figure::new(
            format!("speed-up-{count}"),
            label,
            Unit::Times,
            thread,
            process,
        )
        .at(Axis::Workers, *count as f64, SPEED_UP)
        .detail()
    };
    Ok(counts.iter().enumerate().map(figure).collect())
}

/// One, the powers of two, and twice as many as there are cores: there it shows that more workers
/// than cores gain nothing. `workers` itself has a figure of its own.
fn worker_counts(workers: usize) -> Vec<usize> {
    let powers = (0..).map(|power| 1 << power);
    let mut counts: Vec<usize> = powers.take_while(|count| *count < 2 * workers).collect();
    counts.push(2 * workers);
    counts.retain(|count| *count != workers);
    counts
}

/// Nanoseconds until all of the waiting tasks have their answer.
fn waiting_time(kind: Kind, repeats: usize) -> Result<Summary, Failure> {
    let server = Server::start(Answers::After(DELAY))?;
    let figures: Result<Vec<f64>, Failure> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            ask_at_once(kind, server.name())?;
            Ok(start.elapsed().as_nanos() as f64)
        })
        .collect();
    Summary::of(&first_cause(figures, server.stop())?)
}

/// All of the waiting tasks, each in a worker of its own.
fn ask_at_once(kind: Kind, server: &str) -> Result<(), Failure> {
    let handles = (0..WAITING)
        .map(|_| {
            kind.spawn(waiters::at_server, server.to_owned())
                .or_fail("starting a worker")
        })
        .collect::<Result<Vec<_>, _>>()?;
    handles
        .into_iter()
        .try_for_each(|handle| collect_checked(handle, "waiting for a server"))
}

/// Bytes that each waiting task takes.
fn waiting_memory(kind: Kind) -> Result<Summary, Failure> {
    let arguments = [
        "crowd".to_owned(),
        kind.to_string(),
        WAITING.to_string(),
        "socket".to_owned(),
    ];
    let report: CrowdReport = launch::ask(&arguments)?;
    Ok(Summary::exact(report.proportional + report.page_tables))
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let workers = cores::allowed().len().min(MOST_WORKERS);
    let repeats = context.pick(9, 3);
    let steps = calibrate(context.pick(Duration::from_millis(150), Duration::from_millis(50)));
    let [thread_speed, process_speed] = KINDS.map(|kind| speed_up(kind, workers, steps, repeats));
    let [thread_time, process_time] = KINDS.map(|kind| waiting_time(kind, context.pick(5, 3)));
    let [thread_memory, process_memory] = KINDS.map(waiting_memory);
    let in_pool = pooled::costs(pooled::Way::Map, context.pick(15, 5), context.pick(2, 1));
    let [thread_rate, process_rate] =
        pooled::sides(in_pool).map(|cost| cost.map(|nanoseconds| nanoseconds.per(1e9)));
    let mut conditions = Vec::new();
    let mut add =
        |name: &str, larger: &Result<Summary, Failure>, smaller: &Result<Summary, Failure>| {
            if let (Ok(larger), Ok(smaller)) = (larger, smaller) {
                conditions.push(Condition::new(name, *larger, *smaller));
            }
        };
    // Computing: the claim wants processes to be ahead. Waiting: it wants them to take longer, and
    // more memory.
    add("CPU-bound speed-up", &process_speed, &thread_speed);
    add("I/O-bound time", &process_time, &thread_time);
    add("I/O-bound memory", &process_memory, &thread_memory);
    if conditions.is_empty() {
        return Err(thread_speed
            .err()
            .unwrap_or_else(|| Failure::new("nothing could be compared")));
    }
    let waiting_label = format!("I/O-bound: {WAITING} wait {} ms each", DELAY.as_millis());
    let value = Value::from_result;
    let mut figures = vec![
        Figure::new(
            SPEED_UP,
            format!("CPU-bound: speed-up, {workers} workers"),
            Unit::Times,
            value(thread_speed),
            value(process_speed),
        )
        .at(Axis::Workers, workers as f64, SPEED_UP),
        Figure::new(
            "waiting",
            waiting_label,
            Unit::Nanoseconds,
            value(thread_time),
            value(process_time),
        ),
        Figure::new(
            "waiting-memory",
            "I/O-bound: memory of each",
            Unit::Bytes,
            value(thread_memory),
            value(process_memory),
        ),
        Figure::new(
            POOLED_RATE,
            format!("map of null tasks, pool of {}", pooled::WORKERS),
            Unit::PerSecond,
            value(thread_rate),
            value(process_rate),
        ),
    ];
    let views = Views::of(|side| {
        let said = |index: usize| side(&figures[index]).said(figures[index].unit);
        format!(
            "CPU-bound work is done {} as fast by {workers} workers as by one; {WAITING} I/O-bound tasks at once take {}, and {} of memory each.",
            said(0),
            said(1),
            said(2)
        )
    });
    // A chart that cannot be had costs the row nothing.
    let chart = speed_ups(workers, steps * 2 / 5, context.pick(5, 2)).unwrap_or_default();
    figures.extend(chart);
    Ok(Measured {
        done: format!(
            "CPU-bound (computing): the same work by one worker and, in shares, by {workers} at once. I/O-bound (waiting): {WAITING} tasks at once, each \
             asks a server over a socket, which answers after {} ms. Handing out: a map of {} tasks that do nothing, through a pool of {}.",
            DELAY.as_millis(),
            pooled::TASKS,
            pooled::WORKERS
        ),
        figures,
        views: Some(views),
        verdict: verdict::of_size(&conditions, "the kind of work"),
        notes: notes(workers),
    })
}

fn notes(workers: usize) -> Vec<String> {
    let one_after_another = DELAY.as_secs_f64() * WAITING as f64;
    let mut notes = vec![format!(
        "One after another the I/O-bound tasks would take {one_after_another:.0} s. The claim comes from languages whose interpreter has a lock \
         (Python's GIL); Rust's threads run in parallel, so for CPU-bound work either kind does."
    )];
    notes.push("Tasks per second are no part of the verdict: they say what handing tasks out costs, not what they gain.".to_owned());
    if workers < 2 {
        notes.push("With one core there is no speed-up to be had.".to_owned());
    }
    notes
}
