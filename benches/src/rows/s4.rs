//! S4, pool of two processes: a million tasks that do nothing, through `map`; and submitted all,
//! then joined all.

use std::io;

use brigade::Pool;

use crate::peers::memory;
use crate::peers::pools::{self, Rayon, Threadpool};
use crate::peers::procspawn;
use crate::peers::python::{self, Python, Tasks};
use crate::pooled::{mapped, submitted};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::nothing;

const WORKERS: usize = 2;
const MILLION: u32 = 1_000_000;

/// The place of `submit` among the contenders.
const SUBMIT: usize = 1;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let ours = Pool::processes(WORKERS)?;
    let (rayon, threadpool) = (Rayon::new(WORKERS)?, Threadpool::new(WORKERS));
    let procspawn = procspawn::Pool::new(WORKERS)?;
    let python = Python::start();
    // Millions a second.
    let millions = |micro: f64| 1.0 / micro;
    let mut contenders = vec![
        Contender::new("brigade, map", || {
            mapped(&ours, nothing, (), MILLION).map(millions)
        }),
        Contender::new("brigade, submit all, join all", || {
            submitted(&ours, nothing, (), MILLION).map(millions)
        }),
        Contender::new("ours, map, a u64 there and back", || {
            mapped(&ours, std::convert::identity::<u64>, 7, MILLION).map(millions)
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
    let mut all = take_turns(if quick { 3 } else { 11 }, contenders)?;

    let submit = all.remove(SUBMIT);
    let what = "pool of 2 processes: 1 M null tasks through map";
    let goals = [
        (pools::RAYON_SCOPE, Goal::AtLeast(4.0)),
        (procspawn::POOL, Goal::AtLeast(500.0)),
    ];
    let map = Row::new("S4a", what, "M/s", &all, &goals).ok_or_else(rows::empty)?;
    let map = map
        .note("fewer for procspawn (2,000) and Python (1,000, 20,000 and, in chunks of the pool's own choice, 200,000)")
        .notes(python.err());

    let mut beside = vec![submit];
    beside.extend(
        all.into_iter()
            .filter(|series| [pools::RAYON_SCOPE, pools::THREADPOOL].contains(&series.name)),
    );
    let what = "the same: all submitted, then all joined";
    let goals = [(pools::RAYON_SCOPE, Goal::AtLeast(1.0))];
    let submit = Row::new("S4b", what, "M/s", &beside, &goals).ok_or_else(rows::empty)?;
    Ok(vec![map, submit])
}
