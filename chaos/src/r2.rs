//! R2: whatever can go wrong with a task, wherever it can, with pools of four sizes and of both
//! kinds: the right cause within a second, and the next task succeeds.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use brigade::{Cause, JoinError, Kind, Phase, Pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Verdict;
use crate::leftovers::Before;
use crate::measure::{if_asked, milliseconds, percentile};
use crate::table::{Table, grouped};
use crate::walls::Walls;

/// When the cause has to be told.
const GOAL: Duration = Duration::from_secs(1);
/// Who is not told by then hangs.
const LIMIT: Duration = Duration::from_secs(10);
const SIZES: [usize; 4] = [1, 2, 5, 13];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each, with each size of pool.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Only judge causes: for machines that do something else at the same time.
    #[arg(long)]
    no_time_goal: bool,
    #[command(flatten)]
    walls: Walls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    EncodingInput,
    DecodingInput,
    Running,
    EncodingResult,
    DecodingResult,
}

const PLACES: [Place; 5] = [
    Place::EncodingInput,
    Place::DecodingInput,
    Place::Running,
    Place::EncodingResult,
    Place::DecodingResult,
];

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::EncodingInput => "encoding the input",
            Place::DecodingInput => "decoding the input",
            Place::Running => "running",
            Place::EncodingResult => "encoding the result",
            Place::DecodingResult => "decoding the result",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Trouble {
    Error,
    Panic,
    Exit,
    Fault,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Error,
    Trouble::Panic,
    Trouble::Exit,
    Trouble::Fault,
];

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cell {
    place: Place,
    trouble: Trouble,
}

impl Cell {
    /// Whether it can be tried. Between threads nothing is encoded; what ends a process ends the
    /// program, if it happens there.
    fn applies(self, kind: Kind) -> bool {
        let ends_the_process = matches!(self.trouble, Trouble::Exit | Trouble::Fault);
        match kind {
            Kind::Thread => self.place == Place::Running && !ends_the_process,
            Kind::Process => {
                let in_the_program =
                    matches!(self.place, Place::EncodingInput | Place::DecodingResult);
                !(in_the_program && ends_the_process)
            }
        }
    }

    fn expected(self) -> &'static str {
        match self.trouble {
            Trouble::Error if self.place == Place::Running => "its value",
            Trouble::Error => "Undeliverable",
            Trouble::Panic => "Panicked",
            Trouble::Exit => "Crashed: Exit(3)",
            Trouble::Fault => "Crashed: Signal(11)",
        }
    }

    fn is_right(self, ended: &Result<Reply, JoinError>) -> bool {
        let phase = match self.place {
            Place::DecodingInput => Phase::Decoding,
            Place::EncodingResult => Phase::Encoding,
            _ => Phase::Running,
        };
        match (self.trouble, ended) {
            (Trouble::Error, Ok(reply)) => self.place == Place::Running && reply.refused,
            (Trouble::Error, Err(JoinError::Undeliverable(why))) => {
                let (what, verb) = match self.place {
                    Place::EncodingInput => ("input", "encoded"),
                    Place::DecodingInput => ("input", "decoded"),
                    Place::EncodingResult => ("result", "encoded"),
                    Place::DecodingResult => ("result", "decoded"),
                    Place::Running => return false,
                };
                why.contains(what) && why.contains(verb)
            }
            (Trouble::Panic, Err(JoinError::Panicked(panic))) => panic.message() == ON_PURPOSE,
            (Trouble::Exit, Err(JoinError::Crashed(crash))) => {
                *crash.cause() == Cause::Exit(3) && crash.phase() == phase
            }
            (Trouble::Fault, Err(JoinError::Crashed(crash))) => {
                *crash.cause() == Cause::Signal(libc::SIGSEGV) && crash.phase() == phase
            }
            _ => false,
        }
    }
}

const ON_PURPOSE: &str = "on purpose";

/// It goes wrong, if it is to go wrong here.
fn pass(cell: Option<Cell>, here: Place) -> Result<(), &'static str> {
    match cell {
        Some(Cell { place, trouble }) if place == here => match trouble {
            Trouble::Error => Err(ON_PURPOSE),
            Trouble::Panic => panic!("{ON_PURPOSE}"),
            // SAFETY: ends the process, which is a worker here.
            Trouble::Exit => unsafe { libc::_exit(3) },
            Trouble::Fault => {
                // SAFETY: none; reading there is the point.
                unsafe { std::ptr::read_volatile(0x40 as *const u8) };
                Err("it did not fault")
            }
        },
        _ => Ok(()),
    }
}

/// What a task is given.
#[derive(Clone, Debug)]
struct Order(Option<Cell>);

/// What it gives back.
#[derive(Clone, Debug)]
struct Reply {
    cell: Option<Cell>,
    refused: bool,
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        pass(self.0, Place::EncodingInput).map_err(serde::ser::Error::custom)?;
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Order, D::Error> {
        let cell = Deserialize::deserialize(d)?;
        pass(cell, Place::DecodingInput).map_err(serde::de::Error::custom)?;
        Ok(Order(cell))
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        pass(self.cell, Place::EncodingResult).map_err(serde::ser::Error::custom)?;
        (self.cell, self.refused).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Reply, D::Error> {
        let (cell, refused) = Deserialize::deserialize(d)?;
        pass(cell, Place::DecodingResult).map_err(serde::de::Error::custom)?;
        Ok(Reply { cell, refused })
    }
}

fn serve(Order(cell): Order) -> Reply {
    Reply {
        cell,
        refused: pass(cell, Place::Running).is_err(),
    }
}

/// What came of one cell, with all sizes.
#[derive(Debug, Default)]
struct Tally {
    right: u64,
    /// From the submission until the cause is told; in nanoseconds.
    times: Vec<u64>,
}

/// One task that goes wrong, and the next one. `Err`: what was not right.
fn try_one(pool: &Pool, cell: Cell, tally: &mut Tally) -> Result<(), String> {
    let start = Instant::now();
    let guilty = pool.submit(serve, Order(Some(cell)));
    let ended = guilty
        .join_timeout(LIMIT)
        .map_err(|_| "it hangs".to_owned())?;
    tally.times.push(start.elapsed().as_nanos() as u64);
    if !cell.is_right(&ended) {
        return Err(format!("{ended:?} instead of {}", cell.expected()));
    }
    let next = pool.submit(serve, Order(None));
    match next.join_timeout(LIMIT) {
        Ok(Ok(Reply {
            cell: None,
            refused: false,
        })) => {}
        other => return Err(format!("the next task did not succeed: {other:?}")),
    }
    tally.right += 1;
    Ok(())
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    // Panics of tasks print nothing: there are thousands. In workers they do, as they are processes
    // of their own.
    Pool::builder(Kind::Process)
        .workers(SIZES[3])
        .process(options.walls.builder())
        .build()?
        .map(|n: u64| n, 0..10_000)
        .count();
    let before = Before::look_with(options.walls.builder())?;
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let mut table = Table::new(&[
        "",
        "goes wrong",
        "expected",
        "right",
        "of",
        "p50",
        "p99",
        "longest",
    ]);
    let (mut wrong, mut late) = (Vec::new(), 0);
    for kind in Kind::ALL {
        for place in PLACES {
            for trouble in TROUBLES {
                let cell = Cell { place, trouble };
                if !cell.applies(kind) {
                    continue;
                }
                let mut tally = Tally::default();
                for size in SIZES {
                    let pool = Pool::builder(kind)
                        .workers(size)
                        .initializer(quiet)
                        .process(options.walls.builder())
                        .build()?;
                    for turn in 0..options.count {
                        if let Err(what) = try_one(&pool, cell, &mut tally) {
                            wrong.push(format!(
                                "{kind}, {size} workers, {trouble:?} {place}, turn {turn}: {what}"
                            ));
                        }
                    }
                }
                tally.times.sort_unstable();
                let longest = percentile(&tally.times, 100);
                late += u64::from(longest.is_none_or(|t| t > GOAL));
                table.line([
                    format!("{kind}, {place}"),
                    format!("{trouble:?}"),
                    cell.expected().to_owned(),
                    grouped(tally.right),
                    grouped(options.count * SIZES.len() as u64),
                    milliseconds(percentile(&tally.times, 50)),
                    milliseconds(percentile(&tally.times, 99)),
                    milliseconds(longest),
                ]);
            }
        }
    }
    println!(
        "R2: everything that can go wrong, {} times each with pools of {SIZES:?}{}, in {:.1} s",
        grouped(options.count),
        options.walls.name(),
        start.elapsed().as_secs_f64()
    );
    table.print();
    println!(
        "  not tried: an exit or a fault in a thread, or while the program itself encodes an input or decodes a result, ends the program; threads encode nothing"
    );
    println!("  not as it should be: {} (goal 0)", wrong.len());
    for example in wrong.iter().take(10) {
        println!("    {example}");
    }
    println!(
        "  later than {} s: {late} of the lines (goal 0{})",
        GOAL.as_secs(),
        if_asked(options.no_time_goal)
    );
    let mut met = wrong.is_empty() && (late == 0 || options.no_time_goal);
    met &= before.compare(None)?;
    Ok(Verdict::print(met))
}

/// In a worker: panics on purpose are no news.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}
