//! What a pool and a supervisor tell those who listen with `tracing`, and that it is what their
//! numbers and streams say.
//!
//! There is one listener for the whole program, so one test runs at a time.

mod supervisors;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use brigade::channel::{self, Receiver, Sender};
use brigade::{JoinError, JoinHandle, Kind, Pool, PoolStats};
use brigade_test_support::wait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    target: String,
    level: Option<Level>,
    message: String,
    fields: BTreeMap<String, String>,
}

impl Seen {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    fn task(&self) -> u64 {
        self.get("task").parse().expect("a number")
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").expect("text");
        match field.name() {
            "message" => self.message = text,
            name => drop(self.fields.insert(name.to_owned(), text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["brigade::pool", "brigade::supervise"].contains(&metadata.target())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen {
            name: event.metadata().name().to_owned(),
            target: event.metadata().target().to_owned(),
            level: Some(*event.metadata().level()),
            ..Seen::default()
        };
        event.record(&mut seen);
        log().push(seen);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn log() -> MutexGuard<'static, Vec<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One kind after the other, with nobody else's events.
fn both(row: impl Fn(Kind)) {
    for_each(&Kind::ALL, row);
}

fn for_each(kinds: &[Kind], row: impl Fn(Kind)) {
    static ONE: Mutex<()> = Mutex::new(());
    static LISTENS: OnceLock<()> = OnceLock::new();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    brigade::init();
    LISTENS.get_or_init(|| tracing::subscriber::set_global_default(Listener).expect("the first"));
    for &kind in kinds {
        log().clear();
        row(kind);
        for seen in log().iter() {
            assert_eq!(seen.get("kind"), kind.to_string(), "{seen:?}");
            assert!(seen.message.contains(' '), "{seen:?}");
            assert_eq!(seen.get("event"), seen.name, "{seen:?}");
        }
    }
}

fn events(name: &str) -> Vec<Seen> {
    log().iter().filter(|e| e.name == name).cloned().collect()
}

fn tasks(name: &str) -> Vec<u64> {
    events(name).iter().map(Seen::task).collect()
}

#[track_caller]
fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(
        wait::comes_about(is_so),
        "waited in vain until {what}: {:#?}",
        log()
    );
}

fn wait_at(gate: Receiver<u32>) -> u32 {
    gate.recv().expect("somebody lets it go on")
}

fn gated(pool: &Pool) -> (Sender<u32>, JoinHandle<u32>) {
    let (open, gate) = channel::pipe(1).expect("a channel");
    (open, pool.submit(wait_at, gate))
}

fn double(n: u32) -> u32 {
    n * 2
}

#[test]
fn a_task_is_started_when_it_runs() {
    both(|kind| {
        let pool = Pool::new(kind, 1).expect("a pool");
        let all: Vec<_> = (0..4).map(|_| gated(&pool)).collect();
        for (n, (open, handle)) in (0..).zip(all) {
            until("the next runs", || tasks("started").len() > n as usize);
            assert_eq!(tasks("started"), (0..=n).collect::<Vec<_>>());
            assert_eq!(tasks("ended"), (0..n).collect::<Vec<_>>());
            let stats = pool.stats();
            assert_eq!((stats.running, stats.queued), (1, 3 - n), "{stats:?}");
            if let Some(pid) = handle.pid() {
                assert_eq!(events("started")[n as usize].get("worker"), pid.to_string());
            }
            open.send(7).expect("sent");
            assert_eq!(handle.join().expect("returns"), 7);
        }
        until("the last ends", || tasks("ended").len() == 4);
        assert_eq!(tasks("submitted"), [0, 1, 2, 3]);
    });
}

/// Tasks that lie ahead of a worker, and that nobody joins: each is told of by itself.
#[test]
fn what_is_begun_early_is_told_early() {
    both(|kind| {
        let pool = Pool::new(kind, 1).expect("a pool");
        let quick: Vec<_> = (0..3).map(|n| pool.submit(double, n)).collect();
        let (open, last) = gated(&pool);
        until("three end and the fourth runs", || {
            tasks("ended") == [0, 1, 2] && tasks("started") == [0, 1, 2, 3]
        });
        open.send(1).expect("sent");
        last.join().expect("returns");
        drop(quick);
    });
}

/// One that refuses to be encoded.
#[derive(Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not this one"))
    }
}

fn take(_: Stubborn) {}

fn panics(_: u32) {
    std::panic::resume_unwind(Box::new(0));
}

fn dies(_: u32) {
    std::process::abort();
}

fn sleeps_for_ever(_: u32) {
    loop {
        std::thread::park();
    }
}

fn agree(stats: &PoolStats) {
    assert_eq!(stats.queued + stats.running, 0, "{stats:?}");
    let count = |name: &str| events(name).len() as u64;
    let ended = |outcome: &str| {
        let ended = events("ended");
        ended.iter().filter(|e| e.get("outcome") == outcome).count() as u64
    };
    assert_eq!(count("submitted"), stats.submitted, "{stats:?}");
    assert_eq!(count("ended"), stats.submitted, "{stats:?}");
    let crashed: u64 = stats.crashed.iter().map(|(_, n)| n).sum();
    for (outcome, number) in [
        ("returned", stats.done),
        ("panicked", stats.panicked),
        ("crashed", crashed),
        ("timed out", stats.timed_out),
        ("cancelled", stats.cancelled),
        ("undeliverable", stats.undeliverable),
        ("closed", stats.closed),
    ] {
        assert_eq!(ended(outcome), number, "{outcome}: {stats:?}");
    }
    assert_eq!(count("retried"), stats.retried, "{stats:?}");
    assert_eq!(
        count("replaced"),
        stats.restarts + stats.recycled,
        "{stats:?}"
    );
    // Each that was run was started, as often as it was run, and only those.
    for seen in events("ended") {
        let task = seen.task();
        let times = |name: &str| tasks(name).iter().filter(|&&t| t == task).count();
        let (started, retried) = (times("started"), times("retried"));
        match seen.get("outcome") {
            "cancelled" => assert!(started <= 1),
            "undeliverable" => assert_eq!(started, 0),
            _ => assert_eq!(started, 1 + retried, "task {task}: {:#?}", log()),
        }
        assert_eq!((times("submitted"), times("ended")), (1, 1), "task {task}");
    }
}

#[test]
fn events_agree_with_the_numbers() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(1).retries(1);
        let pool = builder.timeout(Duration::from_millis(500)).build();
        let pool = pool.expect("a pool");
        assert_eq!(pool.map(double, 0..50).count(), 50);
        assert_eq!(pool.map_unordered(double, 0..50).count(), 50);
        let _ = pool
            .submit(sleeps_for_ever, 1)
            .join()
            .expect_err("too long");
        let _ = pool.submit(panics, 1).join().expect_err("panics");
        let (open, running) = gated(&pool);
        let queued = pool.submit(double, 1);
        queued.cancel();
        let _ = queued.join().expect_err("cancelled");
        open.send(1).expect("sent");
        running.join().expect("returns");
        if kind == Kind::Process {
            let _ = pool.submit(dies, 1).join().expect_err("dies");
            let _ = pool.submit(take, Stubborn).join().expect_err("refused");
            // The first time it was run again.
            until("it is told", || events("crashed").len() == 1);
            let crashed = events("crashed");
            assert!(crashed.iter().all(|e| e.message.contains("abort()")));
        }
        assert_eq!(pool.submit(double, 1).join().expect("returns"), 2);
        until("all is told", || {
            let stats = pool.stats();
            let replaced = events("replaced").len() as u64;
            replaced == stats.restarts && events("ended").len() as u64 == stats.submitted
        });
        agree(&pool.stats());
    });
}

/// An input that can be encoded, and never decoded again.
struct OneWay;

impl Serialize for OneWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("no way back"))
    }
}

fn parks(_: OneWay) {
    sleeps_for_ever(0);
}

/// In a pool of threads a retry runs on the input as it was encoded. If that cannot be decoded, the
/// task has timed out, and its event says what its handle says.
#[test]
fn a_retry_without_an_input_has_timed_out() {
    for_each(&[Kind::Thread], |kind| {
        let builder = Pool::builder(kind).workers(1).retries(1);
        let pool = builder.timeout(Duration::from_millis(100)).build();
        let pool = pool.expect("a pool");
        for result in [
            pool.submit(parks, OneWay).join(),
            pool.map(parks, [OneWay]).next().expect("a result"),
        ] {
            assert!(matches!(result, Err(JoinError::TimedOut(_))), "{result:?}");
        }
        until("all is told", || {
            let stats = pool.stats();
            events("replaced").len() as u64 == stats.restarts && events("ended").len() == 2
        });
        assert_eq!(events("retried").len(), 2);
        assert!(
            events("retried")
                .iter()
                .all(|e| e.get("why") == "ran over its time")
        );
        agree(&pool.stats());
    });
}

/// One that lay ahead of a worker that had no time for it says who has it now.
#[test]
fn a_task_that_moves_says_so() {
    both(|kind| {
        let pool = Pool::new(kind, 2).expect("a pool");
        let held: Vec<_> = (0..2).map(|_| gated(&pool)).collect();
        until("both run", || tasks("started").len() == 2);
        let quick: Vec<_> = (0..6).map(|n| pool.submit(double, n)).collect();
        // The first goes on, and does what lies ahead of the other.
        let mut held = held.into_iter();
        for (open, handle) in held.by_ref().take(1) {
            open.send(1).expect("sent");
            handle.join().expect("returns");
        }
        for (n, handle) in (0..).zip(quick) {
            assert_eq!(handle.join().expect("returns"), n * 2);
        }
        // Whoever joins may go on before it is told.
        until("all that ran are told of", || tasks("started").len() == 8);
        if kind == Kind::Process {
            until("it is told", || !events("moved").is_empty());
        }
        for seen in events("moved") {
            let started = events("started");
            let started = started.iter().find(|e| e.task() == seen.task());
            let worker = started.expect("it ran").get("worker");
            assert_ne!(seen.get("from"), worker, "{seen:?}");
        }
        assert_eq!(!events("moved").is_empty(), kind == Kind::Process);
        for (open, handle) in held {
            open.send(1).expect("sent");
            handle.join().expect("returns");
        }
    });
}
