//! What it costs that workers' events go to the program: an event, beside one that is told where it
//! happens; and a task, with it and without.

use std::fmt::{Debug, Write};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use brigade::{Kind, Pool};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::pooled::{mapped, one_at_a_time};
use crate::report::Row;
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;
use crate::traffic::join;
use crate::work::nothing;

/// How many events a task sends: a worker's socket has room for them all.
const EVENTS: u64 = 200;

/// Writes each event as a line, as one that logs does, and forgets it.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<AtomicU64>,
    line: Arc<Mutex<String>>,
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.clear();
        let metadata = event.metadata();
        let _ = write!(line, "{} {}:", metadata.level(), metadata.target());
        event.record(&mut Line(&mut line));
        drop(line);
        self.heard.fetch_add(1, Ordering::Release);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Nanoseconds for each.
fn tell(count: u64) -> f64 {
    let start = Instant::now();
    for n in 0..count {
        tracing::info!(n, of = "many", "an event");
    }
    microseconds(start.elapsed()) * 1e3 / count as f64
}

/// The same, above the level that is sent.
fn tell_nobody(count: u64) -> f64 {
    let start = Instant::now();
    for n in 0..count {
        tracing::debug!(n, of = "many", "an event");
    }
    microseconds(start.elapsed()) * 1e3 / count as f64
}

fn one_event(_: ()) {
    tracing::info!("an event");
}

fn pool(kind: Kind) -> io::Result<Pool> {
    let builder = Pool::builder(kind).workers(2);
    builder.forward_tracing(LevelFilter::INFO).build()
}

fn events(quick: bool, listener: &Listener) -> io::Result<Row> {
    let pool = pool(Kind::Process)?;
    let until_told = || {
        let before = listener.heard.load(Ordering::Acquire);
        let start = Instant::now();
        join(pool.submit(tell, EVENTS))?;
        while listener.heard.load(Ordering::Acquire) < before + EVENTS {
            std::thread::yield_now();
        }
        Ok(microseconds(start.elapsed()) * 1e3 / EVENTS as f64)
    };
    // Each turn begins with an empty socket.
    let in_worker = || {
        let before = listener.heard.load(Ordering::Acquire);
        let sent = join(pool.submit(tell, EVENTS))?;
        while listener.heard.load(Ordering::Acquire) < before + EVENTS {
            std::thread::yield_now();
        }
        Ok(sent)
    };
    let contenders = vec![
        Contender::new("process, forwarded: the worker's part", in_worker),
        Contender::new("process, until all are told", until_told),
        Contender::new("told where it happens", || Ok(tell(EVENTS))),
        Contender::new("process, above the level", || {
            join(pool.submit(tell_nobody, EVENTS))
        }),
    ];
    let all = take_turns(if quick { 5 } else { 41 }, contenders)?;
    let what = "an event of three fields, of 200 in a row, and a subscriber that writes a line";
    Row::new("Users", what, "ns", &all, &[]).ok_or_else(rows::empty)
}

fn tasks(quick: bool) -> io::Result<Vec<Row>> {
    let (on, off) = (pool(Kind::Process)?, Pool::processes(2)?);
    let (threads_on, threads_off) = (pool(Kind::Thread)?, Pool::threads(2)?);
    let rounds = if quick { 5 } else { 21 };
    let alone = |pool| move || one_at_a_time(pool, 2000);
    let contenders = vec![
        Contender::new("processes, forwarding, no events", alone(&on)),
        Contender::new("processes", alone(&off)),
        Contender::new("processes, forwarding, an event each", || {
            crate::rounds::each(500, || join(on.submit(one_event, ())))
        }),
        Contender::new("threads, with spans", alone(&threads_on)),
        Contender::new("threads", alone(&threads_off)),
    ];
    let all = take_turns(rounds, contenders)?;
    let what = "2 workers, a null task, one at a time";
    let one = Row::new("Users", what, "µs", &all, &[]).ok_or_else(rows::empty)?;
    let count = 20_000;
    let map = |pool| move || mapped(pool, nothing, (), count).map(|micro| micro * 1e3);
    let contenders = vec![
        Contender::new("processes, forwarding, no events", map(&on)),
        Contender::new("processes", map(&off)),
        Contender::new("threads, with spans", map(&threads_on)),
        Contender::new("threads", map(&threads_off)),
    ];
    let all = take_turns(rounds, contenders)?;
    let what = "2 workers, 20,000 null tasks through map: time for one";
    let many = Row::new("Users", what, "ns", &all, &[]).ok_or_else(rows::empty)?;
    Ok(vec![one, many])
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), || {
        let mut rows = vec![events(quick, &listener)?];
        rows.extend(tasks(quick)?);
        Ok(rows)
    })
}
