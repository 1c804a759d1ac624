//! S6, pool of two threads: what S3, S4 and S5 do with processes.

use std::io;

use brigade::Pool;

use super::s5;
use crate::peers::pools::{self, Rayon};
use crate::pooled::{mapped, one_at_a_time, submitted};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::{self, lasting, nothing};

const WORKERS: usize = 2;
const LIMIT: Goal = Goal::AtMost(1.1);

const MAP: &str = "brigade, map";
const SUBMIT: &str = "ours, submit all, join all";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let (ours, rayon) = (Pool::threads(WORKERS)?, Rayon::new(WORKERS)?);
    Ok(vec![
        one(&ours, &rayon, if quick { 10 } else { 60 })?,
        million(&ours, &rayon, if quick { 3 } else { 11 })?,
        busy(&ours, &rayon, if quick { 10 } else { 60 })?,
    ])
}

fn one(ours: &Pool, rayon: &Rayon, rounds: usize) -> io::Result<Row> {
    const COUNT: u32 = 2000;
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade, Pool::threads", || one_at_a_time(ours, COUNT)),
            Contender::new(pools::RAYON_SPAWN, || rayon.spawned(COUNT)),
            Contender::new(pools::RAYON_CROSSBEAM, || rayon.spawned_crossbeam(COUNT)),
            Contender::new(pools::RAYON_INSTALL, || rayon.installed(COUNT)),
        ],
    )?;
    let what = "pool of 2 threads: submit + join of a null task, one at a time";
    let goals = [
        pools::RAYON_SPAWN,
        pools::RAYON_CROSSBEAM,
        pools::RAYON_INSTALL,
    ]
    .map(|name| (name, LIMIT));
    Row::new("S6a", what, "µs", &all, &goals).ok_or_else(rows::empty)
}

fn million(ours: &Pool, rayon: &Rayon, rounds: usize) -> io::Result<Row> {
    const MILLION: u32 = 1_000_000;
    // Of a million, from the microseconds for one.
    let milliseconds = |micro: f64| micro * 1e3;
    let all = take_turns(
        rounds,
        vec![
            Contender::new(MAP, || mapped(ours, nothing, (), MILLION).map(milliseconds)),
            Contender::new(SUBMIT, || {
                submitted(ours, nothing, (), MILLION).map(milliseconds)
            }),
            Contender::new(pools::RAYON_SCOPE, || {
                rayon.scoped(MILLION, || ()).map(milliseconds)
            }),
        ],
    )?;
    let what = "the same: 1 M null tasks through map";
    let goals = [(pools::RAYON_SCOPE, LIMIT)];
    Row::new("S6b", what, "ms", &all, &goals).ok_or_else(rows::empty)
}

fn busy(ours: &Pool, rayon: &Rayon, rounds: usize) -> io::Result<Row> {
    let steps = lasting(s5::LENGTH);
    let all = take_turns(
        rounds,
        vec![
            Contender::new(MAP, || {
                mapped(ours, work::steps, steps, s5::COUNT).map(s5::in_all)
            }),
            Contender::new(SUBMIT, || {
                submitted(ours, work::steps, steps, s5::COUNT).map(s5::in_all)
            }),
            Contender::new(pools::RAYON_SCOPE, || {
                rayon
                    .scoped(s5::COUNT, move || work::steps(steps))
                    .map(s5::in_all)
            }),
        ],
    )?;
    let what = "the same: 1,000 tasks of 10 µs";
    let goals = [(pools::RAYON_SCOPE, LIMIT)];
    let row = Row::new("S6c", what, "ms", &all, &goals).ok_or_else(rows::empty)?;
    Ok(row.note(s5::ideal()))
}
