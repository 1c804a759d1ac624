//! S4, pool of two processes: a million tasks that do nothing, through `map`; and submitted all,
//! then joined all, beside those that give each result through something of its own.

use std::io;

use brigade::Pool;

use crate::peers::memory;
use crate::peers::pools::{self, Rayon, Threadpool, Tokio};
use crate::peers::procspawn;
use crate::peers::python::{self, Python, Tasks};
use crate::pooled::{mapped, submitted};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::{Fields, nothing, same};

const WORKERS: usize = 2;
const MILLION: u32 = 1_000_000;

/// Millions a second.
fn millions(micro: f64) -> f64 {
    1.0 / micro
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 3 } else { 11 };
    Ok(vec![map(rounds)?, submit(rounds)?])
}

fn text() -> String {
    "a string of some length".to_owned()
}

fn map(rounds: usize) -> io::Result<Row> {
    let ours = Pool::processes(WORKERS)?;
    let (rayon, threadpool) = (Rayon::new(WORKERS)?, Threadpool::new(WORKERS));
    let procspawn = procspawn::Pool::new(WORKERS)?;
    let python = Python::start();
    let mut contenders = vec![
        Contender::new("brigade, map", || {
            mapped(&ours, nothing, (), MILLION).map(millions)
        }),
        Contender::new("ours, map, a u64 there and back", || {
            mapped(&ours, same::<u64>, 7, MILLION).map(millions)
        }),
        Contender::new("ours, map, a struct there and back", || {
            mapped(&ours, same::<Fields>, Fields::some(), MILLION).map(millions)
        }),
        Contender::new("ours, map, a String there and back", || {
            mapped(&ours, same::<String>, text(), MILLION).map(millions)
        }),
        Contender::new(memory::RINGS, || memory::lines(MILLION).map(millions)),
        Contender::new(pools::RAYON_SCOPE, || {
            rayon.scoped(MILLION, || ()).map(millions)
        }),
        Contender::new(pools::THREADPOOL, || {
            threadpool.all(MILLION, || ()).map(millions)
        }),
        Contender::new(procspawn::POOL, || procspawn.all(2000, 0).map(millions)),
    ];
    if let Ok(python) = &python {
        use python::Pool::{Executor, Multiprocessing};
        for (name, pool, chunk, count) in [
            (python::EXECUTOR, Executor, 1, 1000),
            (python::EXECUTOR_CHUNKS, Executor, 100, 20_000),
            (python::POOL, Multiprocessing, 0, 200_000),
        ] {
            contenders.push(Contender::new(name, move || {
                python
                    .pooled(pool, Tasks::Many { chunk }, count)
                    .map(millions)
            }));
        }
    }
    let all = take_turns(rounds, contenders)?;
    let what = "pool of 2 processes: 1 M null tasks through map";
    let goals = [
        (pools::RAYON_SCOPE, Goal::AtLeast(1.2)),
        (procspawn::POOL, Goal::AtLeast(500.0)),
    ];
    let row = Row::new("S4a", what, "M/s", &all, &goals).ok_or_else(rows::empty)?;
    Ok(row
        .note("fewer for procspawn (2,000) and Python (1,000, 20,000 and, in chunks of the pool's own choice, 200,000)")
        .notes(python.err()))
}

fn submit(rounds: usize) -> io::Result<Row> {
    let ours = Pool::processes(WORKERS)?;
    let (rayon, threadpool, tokio) = (
        Rayon::new(WORKERS)?,
        Threadpool::new(WORKERS),
        Tokio::new(WORKERS)?,
    );
    let contenders = vec![
        Contender::new("brigade, submit all, join all", || {
            submitted(&ours, nothing, (), MILLION).map(millions)
        }),
        Contender::new("ours, 10,000", || {
            submitted(&ours, nothing, (), 10_000).map(millions)
        }),
        Contender::new("ours, a struct there and back", || {
            submitted(&ours, same::<Fields>, Fields::some(), MILLION).map(millions)
        }),
        Contender::new("ours, a String there and back", || {
            submitted(&ours, same::<String>, text(), MILLION).map(millions)
        }),
        Contender::new(pools::RAYON_CHANNELS, || {
            rayon.all_with_channels(MILLION).map(millions)
        }),
        Contender::new(pools::THREADPOOL_CHANNELS, || {
            threadpool.all_with_channels(MILLION).map(millions)
        }),
        Contender::new(pools::TOKIO_ALL, || tokio.all(MILLION).map(millions)),
    ];
    let all = take_turns(rounds, contenders)?;
    let what = "the same: all submitted, then all joined";
    let goals = [
        pools::RAYON_CHANNELS,
        pools::THREADPOOL_CHANNELS,
        pools::TOKIO_ALL,
    ]
    .map(|name| (name, Goal::AtLeast(1.0)));
    Row::new("S4b", what, "M/s", &all, &goals).ok_or_else(rows::empty)
}
