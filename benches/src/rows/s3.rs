//! S3, pool of two processes: a task that does nothing, submitted and joined, one at a time. The
//! same on one processor. And what an idle pool costs.

use std::io;

use brigade::Pool;

use crate::peers::memory;
use crate::peers::pools::{self, Rayon, Threadpool, Tokio};
use crate::peers::procspawn;
use crate::peers::python::{self, Python, Tasks};
use crate::pooled::{self, Alone};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::stats::Summary;

const WORKERS: usize = 2;
/// For what takes about a microsecond.
const MANY: u32 = 20_000;
/// For what takes some ten.
const SOME: u32 = 2000;
/// For what takes hundreds.
const FEW: u32 = 200;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        pooled(if quick { 10 } else { 50 })?,
        one_processor(if quick { 10 } else { 50 })?,
        idle(if quick { 1 } else { 3 })?,
    ])
}

fn pooled(rounds: usize) -> io::Result<Row> {
    let ours = Pool::processes(WORKERS)?;
    let (rayon, threadpool, tokio) = (
        Rayon::new(WORKERS)?,
        Threadpool::new(WORKERS),
        Tokio::new(WORKERS)?,
    );
    let procspawn = procspawn::Pool::new(WORKERS)?;
    let python = Python::start();
    let mut contenders = vec![
        Contender::new("brigade, Pool::processes", || {
            pooled::one_at_a_time(&ours, MANY)
        }),
        Contender::new(memory::PING, || memory::there_and_back(MANY, memory::SPINS)),
        Contender::new(pools::RAYON_SPAWN, || rayon.spawned(SOME)),
        Contender::new(pools::RAYON_CROSSBEAM, || rayon.spawned_crossbeam(MANY)),
        Contender::new(pools::RAYON_INSTALL, || rayon.installed(SOME)),
        Contender::new(pools::THREADPOOL, || threadpool.one_at_a_time(SOME)),
        Contender::new(pools::TOKIO, || tokio.one_at_a_time(SOME)),
        Contender::new(procspawn::POOL, || procspawn.one_at_a_time(FEW)),
    ];
    if let Ok(python) = &python {
        for (name, pool) in [
            (python::EXECUTOR, python::Pool::Executor),
            (python::POOL, python::Pool::Multiprocessing),
        ] {
            contenders.push(Contender::new(name, move || {
                python.pooled(pool, Tasks::One, FEW)
            }));
        }
    }
    let all = take_turns(rounds, contenders)?;
    let what = "pool of 2 processes: submit + join of a null task, one at a time";
    let goals = [
        (pools::RAYON_SPAWN, Goal::AtMost(0.1)),
        (pools::RAYON_INSTALL, Goal::AtMost(0.1)),
        (procspawn::POOL, Goal::AtMost(0.01)),
    ];
    let row = Row::new("S3a", what, "µs", &all, &goals).ok_or_else(rows::empty)?;
    Ok(row.notes(python.err()))
}

fn one_processor(rounds: usize) -> io::Result<Row> {
    let alone = std::cell::RefCell::new(Alone::start_on_one_processor()?);
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade, Pool::processes", || {
                alone.borrow_mut().one_at_a_time(SOME)
            }),
            Contender::new(memory::WAKE, || alone.borrow_mut().futex(SOME)),
        ],
    )?;
    let what = "the same, where all of it has one processor";
    let goals = [(memory::WAKE, Goal::AtMost(1.3))];
    Row::new("S3b", what, "µs", &all, &goals).ok_or_else(rows::empty)
}

fn idle(rounds: usize) -> io::Result<Row> {
    let mut alone = Alone::start()?;
    let figures = (0..rounds)
        .map(|_| {
            // Such as have just been used.
            alone.one_at_a_time(SOME)?;
            alone.idle()
        })
        .collect::<io::Result<Vec<_>>>()?;
    let row = Row {
        id: "S3c",
        what: "the same: processor time of an idle pool in a second",
        unit: "µs",
        name: "brigade, Pool::processes",
        ours: Summary::of(figures).ok_or_else(rows::empty)?,
        goal: Some(Goal::AtMost(0.0)),
        anchors: Vec::new(),
        notes: Vec::new(),
    };
    Ok(row.note(
        "of its workers, the spare ones, their server, and the threads of the program besides main",
    ))
}
