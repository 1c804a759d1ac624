//! S1, fresh process: `process::spawn` of a task that does nothing, and join, one at a time.
//!
//! (a) While spares last: a burst of as many tasks as there are spare workers, begun when all of
//! them are there and asleep. (b) Sustained: one after another for as long as you like, so that
//! every worker has to be forked meanwhile.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use brigade::process;
use brigade_test_support::wait;

use crate::crew::Crew;
use crate::peers::floor::{self, ForkServer, Forks};
use crate::peers::procspawn;
use crate::peers::python::{self, Python};
use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, each, microseconds, take_turns};
use crate::rows;
use crate::stats::Summary;

/// How long the machine is left alone before each burst: processors that were idle for a while wake
/// up slowly, and that is to fall on all.
const REST: Duration = Duration::from_millis(1);

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        burst(if quick { 40 } else { 200 })?,
        sustained(if quick { 6 } else { 40 })?,
    ])
}

fn ours() -> io::Result<()> {
    process::spawn(|()| (), ())?
        .join()
        .map_err(io::Error::other)
}

fn burst(rounds: usize) -> io::Result<Row> {
    let crew = Crew::muster()?;
    let count = crew.spares as u32;
    let places: RefCell<Vec<Vec<f64>>> = RefCell::new(vec![Vec::new(); crew.spares]);
    let mut forks = Forks::start()?;
    // The same for all, so that each begins on a machine in the same state.
    let ready = || {
        wait::pause(REST);
        crew.await_spares()
    };
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade", || {
                ready()?;
                let start = Instant::now();
                let mut last = start;
                for place in places.borrow_mut().iter_mut() {
                    ours()?;
                    let now = Instant::now();
                    place.push(microseconds(now - last));
                    last = now;
                }
                Ok(microseconds(last - start) / f64::from(count))
            }),
            Contender::new(floor::THREAD, || {
                ready()?;
                each(count, floor::thread)
            }),
            Contender::new(floor::FORK, || {
                ready()?;
                forks.turn(count)
            }),
        ],
    )?;
    let what = "fresh process: spawn + join, while spares last";
    let row = Row::new(
        "S1a",
        what,
        "µs",
        &all,
        &[(floor::THREAD, Goal::AtMost(1.0))],
    )
    .ok_or_else(rows::empty)?;
    let medians: Vec<String> = places
        .borrow()
        .iter()
        .filter_map(|place| Some(figure(Summary::of(place.iter().copied())?.median)))
        .collect();
    Ok(row.note(format!(
        "a burst takes all {count} spares; the median of each: {} µs",
        medians.join(", ")
    )))
}

fn sustained(rounds: usize) -> io::Result<Row> {
    const MANY: u32 = 200;
    const FEW: u32 = 20;
    let (mut forks, mut server) = (Forks::start()?, ForkServer::start()?);
    let python = Python::start();
    let mut contenders = vec![
        Contender::new("brigade", || each(MANY, ours)),
        Contender::new(floor::THREAD, || each(MANY, floor::thread)),
        Contender::new(floor::FORK, || forks.turn(MANY)),
        Contender::new(floor::FORK_SERVER, || server.turn(MANY)),
        Contender::new(floor::REEXEC, || each(FEW, floor::reexec)),
        Contender::new(procspawn::NAME, || each(FEW, procspawn::spawn)),
    ];
    if let Ok(python) = &python {
        contenders.push(Contender::new(python::FORK, || {
            python.processes("fork", FEW)
        }));
        contenders.push(Contender::new(python::SPAWN, || python.processes("spawn", 2)).every(4));
    }
    let all = take_turns(rounds, contenders)?;
    let what = "fresh process: spawn + join, sustained";
    let row = Row::new(
        "S1b",
        what,
        "µs",
        &all,
        &[(floor::FORK_SERVER, Goal::AtMost(1.3))],
    )
    .ok_or_else(rows::empty)?;
    Ok(row.notes(python.err()))
}
