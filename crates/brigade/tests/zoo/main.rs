//! Types of all kinds that serde knows, each through every way to another process and back.
//!
//! A kind is a type that calls a method of serde, or asks for something, as no other kind does.
//! Each has its outcome written beside it: it arrives equal, it is refused for a reason, or serde
//! itself is told to leave something out. What JSON carries, a process has to carry; and nothing
//! may arrive as another value, also where serde buffers (`untagged`).

#![expect(
    clippy::large_enum_variant,
    clippy::type_complexity,
    reason = "the types are specimens, and one type has them all"
)]

mod enums;
mod handwritten;
mod maps;
mod nested;
mod numbers;
mod options;
mod registry;
mod sequences;
mod standard;
mod structs;
mod text;

use std::fmt::Write;
use std::sync::mpsc;

use brigade::channel::{self, Receiver, Sender, Transport};
use brigade::{JoinError, Pool, process, thread};
use serde::{Deserialize, Serialize};

/// What makes the values of a kind.
type Values<A> = Box<dyn Fn() -> Vec<A>>;

/// What happens to a kind's values on the way to a process.
enum Outcome<A> {
    Equal,
    /// The error has all these texts.
    Refused(&'static [&'static str]),
    /// These arrive, for this reason: it is the type that says so.
    Becomes(&'static str, Values<A>),
}

/// A kind of one family of types, or of all of them.
struct Kind<A> {
    name: &'static str,
    values: Values<A>,
    outcome: Outcome<A>,
}

impl<A: 'static> Kind<A> {
    fn into<B: 'static>(self, wrap: fn(A) -> B) -> Kind<B> {
        let wrapped = move |values: Values<A>| -> Values<B> {
            Box::new(move || values().into_iter().map(wrap).collect())
        };
        Kind {
            name: self.name,
            values: wrapped(self.values),
            outcome: match self.outcome {
                Outcome::Equal => Outcome::Equal,
                Outcome::Refused(texts) => Outcome::Refused(texts),
                Outcome::Becomes(why, values) => Outcome::Becomes(why, wrapped(values)),
            },
        }
    }
}

/// Declares the kinds of a family: a type that has them all as variants, and the list of them.
macro_rules! family {
    ($($kind:ident($type:ty) $name:literal $values:expr => $outcome:ident $(($($detail:tt)*))?;)*) => {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(crate) enum Family {
            $($kind($type),)*
        }

        pub(crate) fn kinds() -> Vec<crate::Kind<Family>> {
            vec![$(crate::Kind {
                name: $name,
                values: family!(@values $kind $values),
                outcome: family!(@outcome $kind $outcome $(($($detail)*))?),
            },)*]
        }
    };
    (@values $kind:ident $values:expr) => {
        Box::new(|| $values.into_iter().map(Family::$kind).collect())
    };
    (@outcome $kind:ident Equal) => { crate::Outcome::Equal };
    (@outcome $kind:ident Refused($($text:literal),*)) => { crate::Outcome::Refused(&[$($text),*]) };
    (@outcome $kind:ident Becomes($why:literal, $values:expr)) => {
        crate::Outcome::Becomes($why, family!(@values $kind $values))
    };
}
use family;

/// One type for all kinds, so that there is one pool and one set of channels.
macro_rules! families {
    ($($variant:ident $module:ident),* $(,)?) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Animal {
            $($variant($module::Family)),*
        }

        fn kinds() -> Vec<Kind<Animal>> {
            let mut all = Vec::new();
            $(all.extend($module::kinds().into_iter().map(|kind| kind.into(Animal::$variant)));)*
            all
        }
    };
}

families! {
    Structs structs,
    Enums enums,
    Options options,
    Numbers numbers,
    Sequences sequences,
    Maps maps,
    Text text,
    Standard standard,
    Handwritten handwritten,
    Nested nested,
    Registry registry,
}

/// A value between two marks: what shifts shows there.
type Load = (u8, Animal, u8);

fn load(animal: Animal) -> Load {
    (0x5a, animal, 0xa5)
}

/// The value, if it arrived and the marks are where they were.
fn unload(load: Load) -> Animal {
    assert_eq!((load.0, load.2), (0x5a, 0xa5), "something shifted");
    load.1
}

fn echo(load: Load) -> Load {
    load
}

/// Makes a value in the worker: of this kind, with this number.
fn make((kind, number): (usize, usize)) -> Load {
    load((kinds()[kind].values)().swap_remove(number))
}

/// Sends back what comes, or why it could not.
fn relay((from, to): (Receiver<Load>, Sender<Result<Load, String>>)) {
    for received in from {
        to.send(received.map_err(|e| e.to_string()))
            .expect("the test receives");
    }
}

/// Serde buffers what is in here, to look at it as one variant after another.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Buffered {
    It(Animal),
}

fn echo_buffered(buffered: (u8, Buffered, u8)) -> (u8, Buffered, u8) {
    buffered
}

/// How a value of a kind arrived: the value, or why it did not.
type Arrived = Result<Animal, String>;

fn joined(ended: Result<Load, JoinError>) -> Arrived {
    match ended {
        Ok(load) => Ok(unload(load)),
        Err(JoinError::Undeliverable(why)) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

/// All ways from here to somewhere else and back.
struct Ways {
    processes: Pool,
    threads: Pool,
    channels: Vec<(
        Transport,
        Sender<Load>,
        Receiver<Result<Load, String>>,
        brigade::JoinHandle<()>,
    )>,
}

impl Ways {
    fn new() -> Ways {
        let channels = Transport::ALL.into_iter().map(|over| {
            let (to, from_here) = channel::channel(over, 4).expect("a channel");
            let (to_here, from) = channel::channel(over, 4).expect("a channel");
            let relay = process::spawn(relay, (from_here, to_here)).expect("a process");
            (over, to, from, relay)
        });
        Ways {
            channels: channels.collect(),
            processes: Pool::processes(1).expect("a pool"),
            threads: Pool::threads(1).expect("a pool"),
        }
    }

    /// A value of a kind, by every way through processes.
    fn through_processes(
        &self,
        kind: (usize, &Kind<Animal>),
        number: usize,
    ) -> Vec<(String, Arrived)> {
        let value = || load((kind.1.values)().swap_remove(number));
        let spawned = process::spawn(echo, value()).expect("a process");
        let mut arrived = vec![
            ("a process".to_owned(), joined(spawned.join())),
            (
                "a pool, there and back".to_owned(),
                joined(self.processes.submit(echo, value()).join()),
            ),
            (
                "a pool, as a result".to_owned(),
                joined(self.processes.submit(make, (kind.0, number)).join()),
            ),
        ];
        for (over, to, from, _) in &self.channels {
            let back = match to.send(value()) {
                Ok(()) => from.recv().expect("it comes back").map(unload),
                Err(_) => Err(to.fault().expect("why it was not sent")),
            };
            arrived.push((format!("a channel over {over}"), back));
        }
        arrived
    }

    fn through_threads(&self, kind: &Kind<Animal>, number: usize) -> Vec<(String, Arrived)> {
        let value = || load((kind.values)().swap_remove(number));
        let spawned = thread::spawn(echo, value()).expect("a thread");
        vec![
            ("a thread".to_owned(), joined(spawned.join())),
            (
                "a pool of threads".to_owned(),
                joined(self.threads.submit(echo, value()).join()),
            ),
        ]
    }

    /// The value in a buffer of serde's, through a process and through JSON.
    fn buffered(&self, value: &dyn Fn() -> Animal) -> (Arrived, Arrived) {
        let ended = self
            .processes
            .submit(echo_buffered, (1, Buffered::It(value()), 2))
            .join();
        let ours = match ended {
            Ok((1, Buffered::It(animal), 2)) => Ok(animal),
            Err(JoinError::Undeliverable(why)) => Err(why),
            other => panic!("{other:?}"),
        };
        let json = serde_json::to_string(&Buffered::It(value()))
            .and_then(|text| serde_json::from_str(&text))
            .map(|Buffered::It(animal)| animal);
        (ours, json.map_err(|e| e.to_string()))
    }
}

fn through_json(value: &Animal) -> Arrived {
    serde_json::to_string(value)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|e| e.to_string())
}

/// What became of a value, in a word for the table.
fn word(arrived: &Arrived, sent: &Animal) -> &'static str {
    match arrived {
        Ok(animal) if animal == sent => "equal",
        Ok(_) => "another value",
        Err(_) => "refused",
    }
}

#[test]
fn each_kind_arrives_equal_or_is_refused() {
    brigade::init();
    let ways = Ways::new();
    let kinds = kinds();
    assert!(kinds.len() >= 80, "{} kinds", kinds.len());
    let mut table = String::new();
    let (say, faults) = mpsc::channel::<String>();
    for (number, kind) in kinds.iter().enumerate() {
        let name = kind.name;
        let fault = |what: String| say.send(format!("{name}: {what}")).expect("heard below");
        let sent = (kind.values)();
        let becomes = match &kind.outcome {
            Outcome::Becomes(_, values) => values(),
            _ => (kind.values)(),
        };
        let mut words = [const { Vec::new() }; 4];
        for (at, (sent, becomes)) in sent.iter().zip(&becomes).enumerate() {
            for (way, arrived) in ways.through_threads(kind, at) {
                if arrived.as_ref() != Ok(sent) {
                    fault(format!("{sent:?} through {way}: {arrived:?}"));
                }
            }
            for (way, arrived) in ways.through_processes((number, kind), at) {
                words[0].push(word(&arrived, sent));
                match (&kind.outcome, &arrived) {
                    (Outcome::Refused(texts), Err(why))
                        if texts.iter().all(|text| why.contains(text)) => {}
                    (Outcome::Equal | Outcome::Becomes(..), Ok(animal)) if animal == becomes => {}
                    _ => fault(format!("{sent:?} through {way}: {arrived:?}")),
                }
            }
            let json = through_json(sent);
            words[1].push(word(&json, sent));
            if json.as_ref() == Ok(sent) && !matches!(kind.outcome, Outcome::Equal) {
                fault(format!("{sent:?}: JSON carries it"));
            }
            let (ours, json) = ways.buffered(&|| (kind.values)().swap_remove(at));
            words[2].push(word(&ours, sent));
            words[3].push(word(&json, sent));
            let as_json = ours.is_ok() && ours == json;
            match &ours {
                Ok(animal) if animal == becomes || animal == sent || as_json => {}
                Err(_) if json.as_ref() != Ok(sent) => {}
                _ => fault(format!("{sent:?} in a buffer: {ours:?}; as JSON: {json:?}")),
            }
        }
        let words = words.map(|mut words| {
            words.sort_unstable();
            words.dedup();
            words.join(", ")
        });
        let [process, json, buffered, json_buffered] = words;
        let process = match kind.outcome {
            Outcome::Becomes(why, _) => why,
            _ => &process,
        };
        let _ = writeln!(
            table,
            "{name:56} | {process:26} | {json:26} | {buffered:26} | {json_buffered}"
        );
    }
    println!(
        "{} kinds
{:56} | {:26} | {:26} | {:26} | JSON in `untagged`",
        kinds.len(),
        "kind",
        "process",
        "JSON",
        "process, in `untagged`",
    );
    println!("{table}");
    drop(say);
    let faults: Vec<String> = faults.iter().collect();
    assert!(
        faults.is_empty(),
        "{} faults:
{}",
        faults.len(),
        faults.join(
            "
"
        )
    );
    for (_, to, from, relay) in ways.channels {
        drop((to, from));
        relay.join().expect("it has ended");
    }
}
