//! Row 6: two workers, one counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use brigade::sync::{Mutex, Semaphore};
use brigade::{Kind, Shared, ShmSafe};
use serde::{Deserialize, Serialize};

use super::format::Unit;
use super::row::{Figure, Measured, Value, Views};
use super::stats::Summary;
use super::{Context, Experiment, verdict};
use crate::board::{self, Board, Ticket};
use crate::cores::{self, Pinned};
use crate::fail::{Failure, OrFail as _, first_cause};
use crate::raw::lock::{self, Locks};
use crate::workers::{KINDS, PATIENCE, collect_checked};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "synchronisation",
    title: "Race and synchronisation",
    claim: "Threads have race conditions on the data that they share, and need locks. Processes that share nothing have none.",
    needs: &[],
    run,
};

const WORKERS: u32 = 2;
const THERE: usize = 0;
const COUNTER: usize = 1;

/// A variable of the program: one for all threads, one in each process.
static VARIABLE: AtomicU64 = AtomicU64::new(0);

/// How a counter is incremented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    /// The program's variable: load, add, store.
    Variable,
    /// The counter on the shared page: load, add, store.
    Page,
    /// The counter in the library's mutex.
    Mutex,
    /// The counter on the shared page, holding the library's semaphore.
    Semaphore,
    /// The counter on the shared page, holding POSIX's mutex.
    RawMutex,
    /// The counter on the shared page, holding POSIX's semaphore.
    RawSemaphore,
}

/// The library's locks, where both workers see them.
#[derive(Debug, ShmSafe)]
#[repr(C)]
struct Ours {
    counter: Mutex<u64>,
    permit: Semaphore,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    ticket: Ticket,
    ours: Shared<Ours>,
    core: usize,
    /// There is another core for the other worker.
    apart: bool,
    how: How,
    times: u64,
}

/// What a worker saw: the counter it used, before and after; and how long it took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Seen {
    before: u64,
    after: u64,
    nanoseconds: f64,
}

/// Load, then store: each step is atomic and defined, and the two together are wrong.
fn increment(counter: &AtomicU64) {
    let value = counter.load(Ordering::Relaxed);
    counter.store(value + 1, Ordering::Relaxed);
}

/// A task: waits until both are there, then counts.
fn count(job: Job) -> Result<Seen, Failure> {
    let memory = job.ticket.open()?;
    let locks = Locks::of(Arc::clone(&memory));
    let counter = match job.how {
        How::Variable => &VARIABLE,
        _ => memory.counter(COUNTER),
    };
    // Left to themselves two short-lived workers may share a core, and never meet.
    let _stay = Pinned::to(job.core)?;
    board::arrive(memory.word(THERE));
    // Looking, not sleeping: both start within nanoseconds.
    let deadline = Instant::now() + PATIENCE;
    while memory.word(THERE).load(Ordering::Acquire) < WORKERS {
        if Instant::now() > deadline {
            return Err(Failure::by_other_side("the other worker did not come"));
        }
        // Not on one core: there the other comes only if this one makes way.
        if !job.apart {
            std::thread::yield_now();
        }
    }
    let before = counter.load(Ordering::SeqCst);
    let start = Instant::now();
    for _ in 0..job.times {
        match job.how {
            How::Variable | How::Page => increment(counter),
            How::Mutex => *job.ours.counter.lock().or_fail("the mutex")? += 1,
            How::Semaphore => {
                let _permit = job.ours.permit.acquire();
                increment(counter);
            }
            How::RawMutex => locks.with_mutex(|| increment(counter))?,
            How::RawSemaphore => locks.with_semaphore(|| increment(counter))?,
        }
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / job.times as f64;
    Ok(Seen {
        before,
        after: counter.load(Ordering::SeqCst),
        nanoseconds,
    })
}

/// The share of increments that got lost, and nanoseconds per increment.
fn once(kind: Kind, how: How, times: u64) -> Result<(f64, f64), Failure> {
    let board = Board::with_len(lock::BYTES)?;
    Locks::make(Arc::clone(board.mapping()))?;
    let ours = Shared::new(Ours {
        counter: Mutex::new(0),
        permit: Semaphore::new(1),
    })
    .or_fail("memory for the locks")?;
    let variable_before = VARIABLE.load(Ordering::SeqCst);
    let what = format!("counting in two of kind {kind}");
    let cores = cores::pair();
    let start = |core| {
        let job = Job {
            ticket: board.ticket(),
            ours: ours.clone(),
            core,
            apart: cores[0] != cores[1],
            how,
            times,
        };
        kind.spawn(count, job).or_fail(&what)
    };
    let handles = [start(cores[0])?, start(cores[1])?];
    let [first, second] = handles.map(|handle| collect_checked(handle, &what));
    let seen = [first_cause(first, second.clone().map(drop))?, second?];
    let counted = match (how, kind) {
        (How::Variable, Kind::Thread) => VARIABLE.load(Ordering::SeqCst) - variable_before,
        // Each process has a variable of its own: what each counted there is what was counted.
        (How::Variable, Kind::Process) => seen.iter().map(|seen| seen.after - seen.before).sum(),
        (How::Mutex, _) => *ours.counter.lock().or_fail("the mutex")?,
        _ => board.mapping().counter(COUNTER).load(Ordering::SeqCst),
    };
    let wanted = u64::from(WORKERS) * times;
    let lost = wanted.saturating_sub(counted) as f64 / wanted as f64;
    Ok((
        lost,
        seen.iter().map(|seen| seen.nanoseconds).sum::<f64>() / seen.len() as f64,
    ))
}

/// Several such counts.
#[derive(Debug, Clone, Copy)]
struct Several {
    lost: Summary,
    /// The largest share lost in any run: "none" has to mean none.
    most_lost: f64,
    cost: Summary,
}

fn several(kind: Kind, how: How, times: u64, repeats: usize) -> Result<Several, Failure> {
    let mut lost = Vec::new();
    let mut cost = Vec::new();
    for _ in 0..repeats {
        let (share, nanoseconds) = once(kind, how, times)?;
        lost.push(share);
        cost.push(nanoseconds);
    }
    let most_lost = lost.iter().copied().fold(0.0, f64::max);
    Ok(Several {
        lost: Summary::of(&lost)?,
        most_lost,
        cost: Summary::of(&cost)?,
    })
}

/// Without a lock an increment takes a nanosecond: enough more of them that the two workers are
/// sure to meet.
fn more(how: How) -> u64 {
    match how {
        How::Variable | How::Page => 10,
        How::Mutex | How::Semaphore | How::RawMutex | How::RawSemaphore => 1,
    }
}

/// An experiment of this row: how, and the names of its two figures.
const CASES: [(How, &str, &str, &str); 6] = [
    (
        How::Variable,
        "lost-variable",
        "cost-variable",
        "a variable, no lock",
    ),
    (How::Page, "lost-page", "cost-page", "shared page, no lock"),
    (How::Mutex, "lost-mutex", "cost-mutex", "shared, mutex"),
    (
        How::RawMutex,
        "lost-raw-mutex",
        "cost-raw-mutex",
        "shared, POSIX mutex",
    ),
    (
        How::Semaphore,
        "lost-semaphore",
        "cost-semaphore",
        "shared, semaphore",
    ),
    (
        How::RawSemaphore,
        "lost-raw-semaphore",
        "cost-raw-semaphore",
        "shared, POSIX semaphore",
    ),
];

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let times = context.pick(200_000, 100_000);
    let repeats = context.pick(7, 5);
    let mut lost = Vec::new();
    let mut costs = Vec::new();
    let mut most_lost = Vec::new();
    for (how, lost_id, cost_id, name) in CASES {
        let [thread, process] = KINDS.map(|kind| several(kind, how, times * more(how), repeats));
        let (thread, process) = (thread?, process?);
        let figure = |id, label, unit, of: fn(&Several) -> Summary| {
            Figure::new(
                id,
                label,
                unit,
                Value::Measured(of(&thread)),
                Value::Measured(of(&process)),
            )
        };
        lost.push(figure(
            lost_id,
            format!("lost: {name}"),
            Unit::Share,
            |several| several.lost,
        ));
        costs.push(figure(
            cost_id,
            format!("each: {name}"),
            Unit::Nanoseconds,
            |several| several.cost,
        ));
        most_lost.push([thread.most_lost, process.most_lost]);
    }
    let [variable, page, locked @ ..] = &most_lost[..] else {
        return Err(Failure::new("two cases have no lock"));
    };
    let expectations = [
        // Threads lose on what they share, and processes lose nothing on what they do not.
        variable[0] > 0.0,
        variable[1] == 0.0,
        // With a lock nobody loses.
        locked.as_flattened().iter().all(|&lost| lost == 0.0),
    ];
    let mut notes = Vec::new();
    if page[1] > 0.0 {
        notes.push(
            "Processes have the same race condition as soon as they share a page: what counts is the sharing, not the kind."
                .to_owned(),
        );
    }
    if cores::allowed().len() < 2 {
        notes.push("On one core increments get lost only when a worker is interrupted between load and store.".to_owned());
    }
    let lost_by = |id: &str, side: fn(&Figure) -> &Value| {
        let figure = lost.iter().find(|figure| figure.id == id);
        figure.map_or_else(String::new, |figure| side(figure).said(figure.unit))
    };
    let views = Views::of(|side| {
        format!(
            "without a lock, of the increments {} get lost in a variable and {} in memory that both share; with a mutex {}.",
            lost_by("lost-variable", side),
            lost_by("lost-page", side),
            lost_by("lost-mutex", side)
        )
    });
    Ok(Measured {
        done: format!(
            "Two workers, each on a core of its own where there are two, increment one counter {times} times each (without a lock ten times as often), {repeats} runs: with a load and then a store (each defined, \
             together wrong); then the same holding the library's mutex or semaphore in memory that both see, or POSIX's, which are not told when a holder dies."
        ),
        figures: lost.into_iter().chain(costs).collect(),
        views: Some(views),
        verdict: verdict::of_facts(&expectations, "the means"),
        notes,
    })
}
