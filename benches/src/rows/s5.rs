//! S5, pool of two processes: 1,000 tasks of 10 µs.

use std::io;
use std::time::Duration;

use brigade::Pool;

use crate::peers::pools::{self, Rayon, Threadpool};
use crate::peers::procspawn;
use crate::peers::python::{self, Python, Tasks};
use crate::pooled::{mapped, submitted};
use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::{self, lasting};

const WORKERS: usize = 2;
pub(super) const COUNT: u32 = 1000;
pub(super) const LENGTH: Duration = Duration::from_micros(10);

/// Milliseconds for all of them, from the microseconds for one.
pub(super) fn in_all(micro: f64) -> f64 {
    micro * f64::from(COUNT) / 1e3
}

pub(super) fn ideal() -> String {
    let ideal = LENGTH.as_secs_f64() * 1e3 * f64::from(COUNT) / WORKERS as f64;
    format!("ideal: {} ms", figure(ideal))
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let ours = Pool::processes(WORKERS)?;
    let (rayon, threadpool) = (Rayon::new(WORKERS)?, Threadpool::new(WORKERS));
    let procspawn = procspawn::Pool::new(WORKERS)?;
    let python = Python::start();
    let steps = lasting(LENGTH);
    let mut contenders = vec![
        Contender::new("brigade, map", || {
            mapped(&ours, work::steps, steps, COUNT).map(in_all)
        }),
        Contender::new("ours, submit all, join all", || {
            submitted(&ours, work::steps, steps, COUNT).map(in_all)
        }),
        Contender::new(pools::RAYON_SCOPE, || {
            rayon.scoped(COUNT, move || work::steps(steps)).map(in_all)
        }),
        Contender::new(pools::THREADPOOL, || {
            threadpool
                .all(COUNT, move || work::steps(steps))
                .map(in_all)
        }),
        Contender::new(procspawn::POOL, || procspawn.all(COUNT, steps).map(in_all)).every(2),
    ];
    if let Ok(python) = &python {
        use python::Pool::{Executor, Multiprocessing};
        for (name, pool, chunk) in [
            (python::EXECUTOR, Executor, 1),
            (python::EXECUTOR_CHUNKS, Executor, 100),
            (python::POOL, Multiprocessing, 0),
        ] {
            let nanoseconds = LENGTH.subsec_nanos();
            let turn = move || {
                python
                    .pooled(pool, Tasks::Busy { nanoseconds, chunk }, COUNT)
                    .map(in_all)
            };
            contenders.push(Contender::new(name, turn).every(2));
        }
    }
    let all = take_turns(if quick { 10 } else { 60 }, contenders)?;
    let what = "pool of 2 processes: 1,000 tasks of 10 µs";
    let goals = [(pools::RAYON_SCOPE, Goal::AtMost(1.1))];
    let row = Row::new("S5", what, "ms", &all, &goals).ok_or_else(rows::empty)?;
    Ok(vec![row.note(ideal()).notes(python.err())])
}
