//! What goes wrong × where: an error, a panic, an exit or a fault, while the input is encoded or
//! decoded, while the task runs, while the result is encoded or decoded.
//!
//! In pools of four sizes, in the midst of innocent tasks: the right cause, none of the others
//! lost, and the next task succeeds. Two cells there cannot be: what encodes an input or decodes a
//! result runs in the program, and an exit or a fault there ends it, as it would without any
//! library. And between threads a value is moved, so that there is only the task that can go wrong,
//! and only by a panic.

use brigade::{Cause, JoinError, Kind, Phase, Pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{both, join, quiet_pool, until, works};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    EncodingInput,
    DecodingInput,
    Running,
    EncodingResult,
    DecodingResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Trouble {
    Error,
    Panic,
    Exit,
    Fault,
}

const PLACES: [Place; 5] = [
    Place::EncodingInput,
    Place::DecodingInput,
    Place::Running,
    Place::EncodingResult,
    Place::DecodingResult,
];
const TROUBLES: [Trouble; 4] = [
    Trouble::Error,
    Trouble::Panic,
    Trouble::Exit,
    Trouble::Fault,
];

/// What is to go wrong with a task, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    number: u32,
    trouble: Option<(Place, Trouble)>,
}

impl Plan {
    fn innocent(number: u32) -> Plan {
        Plan {
            number,
            trouble: None,
        }
    }

    /// It goes wrong, if it is to go wrong here.
    fn pass(self, here: Place) -> Result<(), &'static str> {
        match self.trouble {
            Some((place, trouble)) if place == here => match trouble {
                Trouble::Error => Err("an error on purpose"),
                Trouble::Panic => panic!("a panic on purpose"),
                // SAFETY: ends the process; `exit` runs the handlers that were registered in it.
                Trouble::Exit => unsafe { libc::exit(3) },
                Trouble::Fault => {
                    // SAFETY: none; reading there is the point.
                    unsafe { std::ptr::read_volatile(0x40 as *const u8) };
                    Err("it did not fault")
                }
            },
            _ => Ok(()),
        }
    }
}

/// What a task is given.
#[derive(Debug)]
struct Order(Plan);

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0
            .pass(Place::EncodingInput)
            .map_err(serde::ser::Error::custom)?;
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Order, D::Error> {
        let plan = Plan::deserialize(d)?;
        plan.pass(Place::DecodingInput)
            .map_err(serde::de::Error::custom)?;
        Ok(Order(plan))
    }
}

/// What it gives back.
#[derive(Debug)]
struct Reply(Plan, Option<String>);

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0
            .pass(Place::EncodingResult)
            .map_err(serde::ser::Error::custom)?;
        (self.0, &self.1).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Reply, D::Error> {
        let (plan, said) = <(Plan, Option<String>)>::deserialize(d)?;
        plan.pass(Place::DecodingResult)
            .map_err(serde::de::Error::custom)?;
        Ok(Reply(plan, said))
    }
}

fn serve(Order(plan): Order) -> Reply {
    let said = plan.pass(Place::Running).err().map(str::to_owned);
    Reply(plan, said)
}

fn cells(kind: Kind) -> impl Iterator<Item = (Place, Trouble)> {
    let all = PLACES
        .into_iter()
        .flat_map(|place| TROUBLES.map(|trouble| (place, trouble)));
    all.filter(move |&(place, trouble)| {
        let ends_the_process = matches!(trouble, Trouble::Exit | Trouble::Fault);
        let in_the_program = match kind {
            Kind::Thread => true,
            Kind::Process => matches!(place, Place::EncodingInput | Place::DecodingResult),
        };
        !(ends_the_process && in_the_program)
    })
}

/// Whether it ended as this cell says.
#[track_caller]
fn judge(kind: Kind, (place, trouble): (Place, Trouble), ended: Result<Reply, JoinError>) {
    let cell = format!("{kind}: {trouble:?} while {place:?}");
    let carried = kind == Kind::Process;
    let phase = match place {
        Place::DecodingInput => Phase::Decoding,
        Place::EncodingResult => Phase::Encoding,
        _ => Phase::Running,
    };
    match (trouble, ended) {
        // A value that a task returns is a value, also when it is one that says `no`.
        (Trouble::Error, Ok(reply)) if place == Place::Running => {
            assert_eq!(reply.1.as_deref(), Some("an error on purpose"), "{cell}");
        }
        // Moved, not carried.
        (_, Ok(reply)) if !carried && place != Place::Running => {
            assert_eq!(reply.1, None, "{cell}");
        }
        (Trouble::Error, Err(JoinError::Undeliverable(why))) if carried => {
            let (what, verb) = match place {
                Place::EncodingInput => ("input", "encoded"),
                Place::DecodingInput => ("input", "decoded"),
                Place::EncodingResult => ("result", "encoded"),
                _ => ("result", "decoded"),
            };
            assert!(why.contains(what) && why.contains(verb), "{cell}: {why}");
            assert!(why.contains("task `"), "{cell}: {why}");
        }
        (Trouble::Panic, Err(JoinError::Panicked(panic))) => {
            assert_eq!(panic.message(), "a panic on purpose", "{cell}");
            let location = panic.location();
            assert!(
                location.is_some_and(|l| l.contains("matrix.rs")),
                "{cell}: {location:?}"
            );
        }
        (Trouble::Exit, Err(JoinError::Crashed(crash))) => {
            assert_eq!(
                (crash.cause(), crash.phase()),
                (&Cause::Exit(3), phase),
                "{cell}"
            );
        }
        (Trouble::Fault, Err(JoinError::Crashed(crash))) => {
            let cause = Cause::Signal(libc::SIGSEGV);
            assert_eq!((crash.cause(), crash.phase()), (&cause, phase), "{cell}");
        }
        (_, other) => panic!("{cell}: {other:?}"),
    }
}

/// Innocent tasks, and one that is not in the midst of them.
fn orders(cell: (Place, Trouble)) -> impl Iterator<Item = Order> {
    (0..COUNT).map(move |number| {
        Order(Plan {
            number,
            trouble: (number == GUILTY).then_some(cell),
        })
    })
}

const COUNT: u32 = 60;
const GUILTY: u32 = 23;

fn judge_all(
    kind: Kind,
    cell: (Place, Trouble),
    all: impl Iterator<Item = (u32, Result<Reply, JoinError>)>,
) {
    let mut count = 0;
    for (number, ended) in all {
        count += 1;
        if number == GUILTY {
            judge(kind, cell, ended);
        } else {
            let Reply(plan, said) = ended.unwrap_or_else(|e| panic!("{cell:?}, {number}: {e}"));
            assert_eq!((plan, said), (Plan::innocent(number), None));
        }
    }
    assert_eq!(count, COUNT);
}

fn alone_and_next(kind: Kind, pool: &Pool, cell: (Place, Trouble)) {
    let guilty = Order(Plan {
        number: 1,
        trouble: Some(cell),
    });
    judge(kind, cell, join(pool.submit(serve, guilty)));
    let next = join(pool.submit(serve, Order(Plan::innocent(2))));
    assert_eq!(next.expect("the next task succeeds").0, Plan::innocent(2));
}

fn with(workers: usize) {
    both(|kind| {
        let pool = quiet_pool(kind, workers);
        for cell in cells(kind) {
            // The one before may have cost a worker.
            let mut pids = pool.pids();
            until("all are replaced", || {
                pids = pool.pids();
                kind == Kind::Thread || pids.len() == workers
            });
            alone_and_next(kind, &pool, cell);
            let handles: Vec<_> = orders(cell)
                .map(|order| pool.submit(serve, order))
                .collect();
            judge_all(kind, cell, (0..).zip(handles.into_iter().map(join)));
            judge_all(kind, cell, (0..).zip(pool.map(serve, orders(cell))));
            let unordered = pool.map_unordered(serve, orders(cell));
            judge_all(kind, cell, unordered.map(|(n, ended)| (n as u32, ended)));
            if matches!(cell.1, Trouble::Error | Trouble::Panic) {
                assert_eq!(pool.pids(), pids, "{cell:?}: the workers go on");
            }
        }
        works(&pool);
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.done + stats.failed(), "{stats:?}");
    });
}

#[test]
fn with_one_worker() {
    with(1);
}

#[test]
fn with_two_workers() {
    with(2);
}

#[test]
fn with_five_workers() {
    with(5);
}

#[test]
fn with_thirteen_workers() {
    with(13);
}
