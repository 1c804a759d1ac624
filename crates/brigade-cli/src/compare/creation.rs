//! Row 2: what it costs to create a worker, and how that grows with the program.

use brigade::Kind;

use super::format::{Unit, ratio};
use super::row::{Axis, Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment, pooled};
use crate::fail::Failure;
use crate::helper::{GrowthReport, launch};
use crate::procfs;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "creation",
    title: "Creation",
    claim: "Creating a thread is cheap. Creating a process is expensive, and the more so the larger the program that does it.",
    needs: &[],
    run,
};

const MIB: usize = 1024 * 1024;

/// A size of the host's heap, and the names of its figures.
struct Heap {
    bytes: usize,
    name: &'static str,
    spawn: &'static str,
    program: &'static str,
    fork: &'static str,
}

/// The figures of an empty heap, for the rows that work with them.
pub(super) const SPAWN: &str = "spawn";
pub(super) const PROGRAM: &str = "program";
/// By itself, from a program with no heap.
pub(super) const FORK: &str = "fork";
/// The figure of the same task in a pool, which creates no worker for it.
pub(super) const POOLED: &str = "pooled";

static HEAPS: [Heap; 4] = [
    Heap {
        bytes: 0,
        name: "no heap",
        spawn: SPAWN,
        program: PROGRAM,
        fork: "fork",
    },
    Heap {
        bytes: 64 * MIB,
        name: "64 MiB",
        spawn: "spawn-64mib",
        program: "program-64mib",
        fork: "fork-64mib",
    },
    Heap {
        bytes: 256 * MIB,
        name: "256 MiB",
        spawn: "spawn-256mib",
        program: "program-256mib",
        fork: "fork-256mib",
    },
    Heap {
        bytes: 1024 * MIB,
        name: "1 GiB",
        spawn: "spawn-1gib",
        program: "program-1gib",
        fork: "fork-1gib",
    },
];

struct Costs {
    thread: Summary,
    process: Summary,
    program: Summary,
    fork: Summary,
}

fn costs(heap: &Heap, samples: usize) -> Result<Costs, Failure> {
    // As much again stays free, so that nobody is swapped out or killed for this.
    let available = procfs::available()?;
    if available < 2 * heap.bytes as u64 {
        return Err(Failure::new(format!(
            "only {} of memory are free",
            Unit::Bytes.one(available as f64)
        )));
    }
    let arguments = [
        "growth".to_owned(),
        heap.bytes.to_string(),
        samples.to_string(),
    ];
    let report: GrowthReport = launch::ask(&arguments)?;
    Ok(Costs {
        thread: Summary::of(&report.thread)?,
        process: Summary::of(&report.process)?,
        program: Summary::of(&report.program)?,
        fork: Summary::of(&report.fork)?,
    })
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let samples = context.pick(600, 80);
    let measured: Vec<_> = HEAPS
        .iter()
        .map(|heap| (heap, costs(heap, samples)))
        .collect();
    // Without the first there is nothing to compare the others with.
    if let Some((_, Err(reason))) = measured.first() {
        return Err(reason.clone());
    }
    let mut figures = Vec::new();
    let mut conditions = Vec::new();
    for (heap, costs) in &measured {
        let side = |of: fn(&Costs) -> Summary| match costs {
            Ok(costs) => Value::Measured(of(costs)),
            Err(reason) => Value::Missing(reason.clone()),
        };
        let mut add = |id: &'static str, what: &str, line: &'static str, thread, process| {
            let label = format!("{what}, {}", heap.name);
            let figure = Figure::new(id, label, Unit::Nanoseconds, thread, process);
            figures.push(figure.at(Axis::Heap, heap.bytes as f64, line));
        };
        let (thread, process) = (side(|costs| costs.thread), side(|costs| costs.process));
        add(heap.spawn, "spawn and join", SPAWN, thread, process);
        let (program, fork) = (side(|costs| costs.program), side(|costs| costs.fork));
        add(
            heap.program,
            "whole program again",
            PROGRAM,
            Value::None,
            program,
        );
        add(heap.fork, "bare fork", FORK, Value::None, fork);
        if let Ok(costs) = costs {
            conditions.push(Condition::new(heap.name, costs.process, costs.thread));
        }
    }
    let in_pool = pooled::costs(
        pooled::Way::Single,
        context.pick(25, 9),
        context.pick(200, 100),
    );
    let against = in_pool.as_ref().ok().map(|costs| in_a_pool(*costs));
    let [thread, process] = pooled::sides(in_pool).map(Value::from_result);
    figures.push(Figure::new(
        POOLED,
        format!("submit and join, pool of {}", pooled::WORKERS),
        Unit::Nanoseconds,
        thread,
        process,
    ));
    let views = Views::of(|side| {
        let said = |figure: &Figure| side(figure).said(figure.unit);
        let spawned = |figure: &&Figure| figure.at.as_ref().is_some_and(|at| at.line == SPAWN);
        let mut spawns = figures.iter().filter(spawned);
        let (first, last) = (spawns.next(), spawns.next_back());
        format!(
            "created, run and joined in {} by a program with no heap, in {} by one with 1 GiB; in a pool, which creates none, \
             the same task takes {}.",
            first.map_or_else(String::new, said),
            last.map_or_else(String::new, said),
            figures.last().map_or_else(String::new, said),
        )
    });
    Ok(Measured {
        done: format!(
            "A task that does nothing is spawned and joined, {samples} times, one at a time in runs of 20, in a program with a heap of \
             0, 64 MiB, 256 MiB and 1 GiB. For comparison: the whole program executed once more; a bare fork, exit and wait; \
             the task given to a pool of {} instead, one at a time.",
            pooled::WORKERS
        ),
        figures,
        views: Some(views),
        verdict: verdict::of_size(&conditions, "the host's heap"),
        notes: growth(&measured).into_iter().chain(against).collect(),
    })
}

/// What is left of the difference when nobody is created.
fn in_a_pool([thread, process]: [Summary; 2]) -> String {
    format!(
        "A task that goes to a pool is what one pays instead of a fresh worker: with processes {} that with threads.",
        ratio(verdict::ratio(process, thread))
    )
}

/// How each grows from no heap to the largest that was measured.
fn growth(measured: &[(&Heap, Result<Costs, Failure>)]) -> Option<String> {
    let mut good = measured
        .iter()
        .filter_map(|(heap, costs)| Some((heap.name, costs.as_ref().ok()?)));
    let (_, small) = good.next()?;
    let (name, large) = good.next_back()?;
    let grown = |of: fn(&Costs) -> Summary| ratio(verdict::ratio(of(large), of(small)));
    Some(format!(
        "From no heap to {name}: {} {}, {} {}, the whole program {}, a bare fork {}. The library forks its processes from a \
         small server and not from the program.",
        Kind::Thread,
        grown(|costs| costs.thread),
        Kind::Process,
        grown(|costs| costs.process),
        grown(|costs| costs.program),
        grown(|costs| costs.fork),
    ))
}
