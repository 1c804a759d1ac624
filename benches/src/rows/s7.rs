//! S7, channel over shared memory: 64 B from this process to a worker process and back, one at a
//! time. And what waiting costs.

use std::io;
use std::time::Duration;

use brigade::channel::{self, Receiver, Transport};
use brigade::process;
use brigade_test_support::wait;
use rustix::time::{ClockId, clock_gettime};

use crate::peers::{iceoryx, ipc, memory, threads};
use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::stats::Summary;
use crate::traffic::{self, SMALL};

/// Of both channels.
const CAPACITY: usize = 16;
/// How long a receiver is left waiting.
const IDLE: Duration = Duration::from_secs(1);

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    const MANY: u32 = 50_000;
    const FEW: u32 = 500;
    let ours = |over, count| traffic::there_and_back(over, CAPACITY, &SMALL, count);
    let all = take_turns(
        if quick { 7 } else { 25 },
        vec![
            Contender::new("brigade, channel::shm", || {
                ours(Transport::SharedMemory, MANY)
            }),
            Contender::new(memory::PING, || memory::there_and_back(MANY, memory::SPINS)),
            Contender::new(iceoryx::NAME, || iceoryx::there_and_back(MANY)),
            Contender::new(ipc::NAME, || ipc::there_and_back(&SMALL, FEW)),
            Contender::new(threads::CROSSBEAM, || {
                threads::crossbeam_there_and_back(MANY)
            }),
            Contender::new(threads::MPSC, || threads::mpsc_there_and_back(FEW)),
        ],
    )?;
    let what = "channel over shared memory: 64 B there and back";
    let goals = [(iceoryx::NAME, Goal::AtMost(0.5))];
    let row = Row::new("S7a", what, "µs", &all, &goals).ok_or_else(rows::empty)?;
    let row = row.note("a message is [f64; 8], which serde carries as 64 bytes");
    Ok(vec![row, idle(if quick { 1 } else { 3 })?])
}

/// Processor time of this process until now, in microseconds.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn wait_for_two(from: Receiver<u8>) -> f64 {
    // The first says that everything is in place.
    let _ = from.recv();
    let before = used();
    let _ = from.recv();
    used() - before
}

fn idle(rounds: usize) -> io::Result<Row> {
    let mut figures = Vec::new();
    for _ in 0..rounds {
        let (to, from) = channel::channel(Transport::SharedMemory, CAPACITY)?;
        let worker = process::spawn(wait_for_two, from)?;
        to.send(1).map_err(io::Error::other)?;
        wait::pause(IDLE);
        to.send(2).map_err(io::Error::other)?;
        figures.push(traffic::join(worker)?);
    }
    let ours = Summary::of(figures).ok_or_else(rows::empty)?;
    let row = Row {
        id: "S7b",
        what: "the same: processor time of a process that waits in recv for a second",
        unit: "µs",
        name: "brigade, channel::shm",
        ours,
        goal: Some(Goal::AtMost(1000.0)),
        anchors: Vec::new(),
        notes: Vec::new(),
    };
    let share = ours.median / 1e6 / IDLE.as_secs_f64() * 100.0;
    Ok(row.note(format!(
        "{} % of a processor: it looks for a moment, then it sleeps; who polls busily takes 100 %",
        figure(share)
    )))
}
