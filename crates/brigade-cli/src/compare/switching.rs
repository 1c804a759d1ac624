//! Row 4: what it costs to switch from one worker to another on one core, and what the caches add.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use brigade::Kind;
use serde::{Deserialize, Serialize};

use super::format::Unit;
use super::row::{Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment};
use crate::board::{self, Board, Ticket};
use crate::cores::{self, Pinned};
use crate::fail::{Failure, OrFail as _, first_cause};
use crate::workers::{KINDS, PATIENCE, collect_checked};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "switching",
    title: "Context switch",
    claim: "A context switch between threads of one program is cheaper than one between processes, for the address space stays the same.",
    needs: &[],
    run,
};

const LINE: usize = 64;

/// A working set, and how many round trips make a sample with it.
struct Set {
    bytes: usize,
    name: &'static str,
    id: &'static str,
    rounds: u32,
}

static SETS: [Set; 3] = [
    Set {
        bytes: 0,
        name: "nothing",
        id: "switch",
        rounds: 500,
    },
    Set {
        bytes: 64 * 1024,
        name: "64 KiB",
        id: "switch-64kib",
        rounds: 200,
    },
    Set {
        bytes: 1024 * 1024,
        name: "1 MiB",
        id: "switch-1mib",
        rounds: 25,
    },
];

/// One side of a rally. On the board: whose turn it is (even: the first's), and who is there.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Side {
    ticket: Ticket,
    second: bool,
    core: usize,
    bytes: usize,
    rounds: u32,
    samples: u32,
}

const TURN: usize = 0;
const THERE: usize = 1;

/// A task: plays its side, on its core. The first side gives nanoseconds per switch, its own work
/// on the working set taken off.
fn rally(side: Side) -> Result<Vec<f64>, Failure> {
    let memory = side.ticket.open()?;
    let turn = memory.word(TURN);
    let mut set = vec![1_u8; side.bytes];
    let _stay = Pinned::to(side.core)?;
    board::arrive(memory.word(THERE));
    board::await_at_least(memory.word(THERE), 2, PATIENCE)?;
    let mine = u32::from(side.second);
    // One sample more, to warm up.
    let mut figures = Vec::new();
    for sample in 0..=side.samples {
        let start = Instant::now();
        for _ in 0..side.rounds {
            await_turn(turn, mine)?;
            touch(&mut set);
            turn.fetch_add(1, Ordering::AcqRel);
            board::wake_all(turn);
        }
        let whole = start.elapsed().as_nanos() as f64 / f64::from(side.rounds);
        if sample > 0 && !side.second {
            figures.push(whole);
        }
    }
    board::arrive(memory.word(THERE));
    if !side.second {
        // The other side has its last turn still to play, on this core.
        board::await_at_least(memory.word(THERE), 4, PATIENCE)?;
        let alone = alone(&mut set, side.rounds);
        // A round is two switches and two passes over a working set.
        for figure in &mut figures {
            *figure = (*figure / 2.0 - alone).max(0.0);
        }
    }
    Ok(figures)
}

fn await_turn(turn: &AtomicU32, mine: u32) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = turn.load(Ordering::Acquire);
        if seen % 2 == mine {
            return Ok(());
        }
        board::sleep_while(turn, seen, deadline)?;
    }
}

/// Reads and writes each cache line of the set.
fn touch(set: &mut [u8]) {
    for line in set.chunks_mut(LINE) {
        line[0] = line[0].wrapping_add(1);
    }
    black_box(set);
}

/// Nanoseconds for a pass over the set when nobody else uses the core.
fn alone(set: &mut [u8], rounds: u32) -> f64 {
    touch(set);
    let start = Instant::now();
    for _ in 0..rounds {
        touch(set);
    }
    start.elapsed().as_nanos() as f64 / f64::from(rounds)
}

/// Nanoseconds per switch between two workers of a kind.
fn switches(kind: Kind, set: &Set, core: usize, samples: u32) -> Result<Vec<f64>, Failure> {
    let board = Board::new(2)?;
    let side = |second| Side {
        ticket: board.ticket(),
        second,
        core,
        bytes: set.bytes,
        rounds: set.rounds,
        samples,
    };
    let what = format!("switching between two of kind {kind}");
    let first = kind.spawn(rally, side(false)).or_fail(&what)?;
    let second = kind.spawn(rally, side(true)).or_fail(&what)?;
    let figures = collect_checked(first, &what);
    let second = collect_checked(second, &what).map(drop);
    first_cause(figures, second)
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let samples = context.pick(15, 7);
    let turns = context.pick(3, 2);
    let core = cores::allowed().last().copied().unwrap_or(0);
    let mut figures = Vec::new();
    let mut conditions = Vec::new();
    for set in &SETS {
        let mut all = [Vec::new(), Vec::new()];
        // Turn and turn about, so that what else the machine does meets both.
        for _ in 0..turns {
            for (figures, kind) in all.iter_mut().zip(KINDS) {
                figures.extend(switches(kind, set, core, samples)?);
            }
        }
        let [thread, process] = all;
        let (thread, process) = (Summary::of(&thread)?, Summary::of(&process)?);
        let label = format!("a switch, each touching {}", set.name);
        let sides = (Value::Measured(thread), Value::Measured(process));
        figures.push(Figure::new(
            set.id,
            label,
            Unit::Nanoseconds,
            sides.0,
            sides.1,
        ));
        let name = format!("touching {}", set.name);
        conditions.push(Condition::new(name, process, thread));
    }
    let views = Views::of(|side| {
        let each: Vec<String> = figures
            .iter()
            .zip(&SETS)
            .map(|(figure, set)| format!("{} ({})", side(figure).said(figure.unit), set.name))
            .collect();
        format!(
            "a switch takes {}, by what each touches in its turn.",
            each.join(", ")
        )
    });
    Ok(Measured {
        done: format!(
            "Two workers on core {core} wake each other in turns with a futex in shared memory. Each passes over its own \
             working set in its turn; the time for that without switching is taken off. What is left is the switch, the \
             wake-up, and the caches it spoiled."
        ),
        figures,
        views: Some(views),
        verdict: verdict::of_size(&conditions, "the working set"),
        notes: Vec::new(),
    })
}
