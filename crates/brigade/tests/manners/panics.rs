//! Code of the program's that the library calls and that panics: a subscriber to its events, an
//! executor's wakers. What it panics with panics too, when it is dropped.
//!
//! Everything is awaited, and nobody waits in the library: so what is heard is heard by its own
//! threads, which must not end of it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use brigade::channel::{Receiver, Transport, channel};
use brigade::{JoinError, JoinHandle, Kind, Pool};
use brigade_test_support::block_on;
use libtest_mimic::Trial;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::hosts::{Host, double};
use crate::observe::{HANG, well_behaved};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] =
    &[("subscriber-panics", subscriber), ("wakers-panic", wakers)];

type Done = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for place in ["enabled", "event"] {
            let name = format!("a_subscriber_that_panics_and_a_{kind}: {place}");
            all.push(trial(&name, move || {
                let args = [&*kind.to_string(), place];
                drop(well_behaved("subscriber-panics", &args))
            }));
        }
        let name = format!("wakers_that_panic_and_a_{kind}");
        all.push(trial(&name, move || {
            drop(well_behaved("wakers-panic", &[&kind.to_string()]))
        }));
    }
    all
}

/// What is panicked with.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any("a bomb");
    }
}

fn bang() -> ! {
    panic_any(Bomb)
}

struct Bad {
    enabled: bool,
}

impl Subscriber for Bad {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        if self.enabled && about.target().starts_with("brigade") {
            bang();
        }
        true
    }

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target().starts_with("brigade") {
            bang();
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn subscriber(args: &[String]) -> Done {
    let [kind, place] = args else {
        return Err("a kind, a place".into());
    };
    let kind: Kind = kind.parse()?;
    std::panic::set_hook(Box::new(|_| ()));
    brigade::init();
    tracing::subscriber::set_global_default(Bad {
        enabled: place == "enabled",
    })?;
    let dir = std::env::temp_dir().join(format!("brigade-panics-{}", std::process::id()));
    let ended = (0..3).try_for_each(|_| everything(kind, &dir));
    let _ = std::fs::remove_dir_all(&dir);
    ended
}

/// A task of each ending, awaited; then the pool ends.
fn everything(kind: Kind, dir: &Path) -> Done {
    let pool = Pool::builder(kind)
        .workers(2)
        .recycle_after(8)
        .keep_crashes(dir)
        .build()?;
    for n in 0..30 {
        is(block_on(pool.submit(double, n)).ok(), Some(2 * n))?;
        is(block_on(kind.spawn(double, n)?).ok(), Some(2 * n))?;
    }
    let sum = pool.map(double, 0..1000).sum::<Result<u32, _>>()?;
    is(sum, 999_000)?;
    let panicked = block_on(pool.submit(|()| -> u32 { panic!("as it should") }, ()));
    let Err(JoinError::Panicked(_)) = panicked else {
        return Err(format!("no panic: {panicked:?}").into());
    };
    let (_gate, theirs) = channel(Transport::Socket, 1)?;
    let limit = Duration::from_millis(100);
    let hasty = Pool::builder(kind).workers(1).timeout(limit).build()?;
    let overdue = block_on(hasty.submit(forever, theirs));
    let Err(JoinError::TimedOut(_)) = overdue else {
        return Err(format!("not overdue: {overdue:?}").into());
    };
    let (_gate, theirs) = channel(Transport::Socket, 1)?;
    let cancelled = pool.submit(forever, theirs);
    cancelled.cancel();
    let cancelled = block_on(cancelled);
    let Err(JoinError::Cancelled) = cancelled else {
        return Err(format!("not cancelled: {cancelled:?}").into());
    };
    if kind == Kind::Process {
        let died = |()| -> u32 { std::process::abort() };
        let Err(JoinError::Crashed(crash)) = block_on(pool.submit(died, ())) else {
            return Err("it did not crash".into());
        };
        if crash.file().is_none() {
            return Err(format!("no file: {crash:?}, {:?}", crash.file_error()).into());
        }
        let died = block_on(kind.spawn(died, ())?);
        let Err(JoinError::Crashed(_)) = died else {
            return Err(format!("no crash: {died:?}").into());
        };
    }
    let stats = pool.stats();
    is(stats.submitted, stats.done + stats.failed())
}

/// Panics when it is woken, or when it is dropped.
struct BadWaker {
    panics_when_dropped: bool,
}

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        if !self.panics_when_dropped {
            bang();
        }
    }
}

impl Drop for BadWaker {
    fn drop(&mut self) {
        if self.panics_when_dropped && !std::thread::panicking() {
            bang();
        }
    }
}

fn wakers(args: &[String]) -> Done {
    let kind: Kind = args.first().ok_or("a kind")?.parse()?;
    std::panic::set_hook(Box::new(|_| ()));
    brigade::init();
    let pool = Pool::builder(kind)
        .workers(2)
        .timeout(Duration::from_millis(500))
        .build()?;
    for panics_when_dropped in [true, false] {
        for task in [returns as Gated, forever, panics] {
            let mut handles = Vec::new();
            let mut gates = Vec::new();
            for _ in 0..3 {
                let (gate, theirs) = channel(Transport::Socket, 1)?;
                handles.push(pool.submit(task, theirs));
                gates.push(gate);
                // Nothing ends it by itself.
                if !std::ptr::fn_addr_eq(task, forever as Gated) {
                    let (gate, theirs) = channel(Transport::Socket, 1)?;
                    handles.push(kind.spawn(task, theirs)?);
                    gates.push(gate);
                }
            }
            let mut awaited = 0;
            for handle in &mut handles {
                let waker = Waker::from(Arc::new(BadWaker {
                    panics_when_dropped,
                }));
                let mut context = Context::from_waker(&waker);
                // On a slow machine the time of the first ones is over already.
                awaited += u32::from(pin!(&mut *handle).poll(&mut context).is_pending());
                // The library's copy is the last, but where a time is over meanwhile.
                let own = catch_unwind(AssertUnwindSafe(|| drop(waker)));
                own.unwrap_or_else(std::mem::forget);
            }
            is(awaited > 0, true)?;
            drop(gates);
            // All of them end, though nobody hears of it.
            let limit = Instant::now() + HANG;
            while !handles.iter().all(JoinHandle::is_finished) {
                is(Instant::now() < limit, true)?;
                std::thread::yield_now();
            }
            is(block_on(pool.submit(double, 21)).ok(), Some(42))?;
            is(block_on(kind.spawn(double, 21)?).ok(), Some(42))?;
        }
    }
    Ok(())
}

type Gated = fn(Receiver<()>) -> u32;

/// Waits until the gate is opened: its sender is gone.
fn returns(gate: Receiver<()>) -> u32 {
    u32::from(gate.recv().is_ok())
}

fn panics(gate: Receiver<()>) -> u32 {
    panic!("as it should: {}", returns(gate))
}

fn forever(gate: Receiver<()>) -> u32 {
    loop {
        std::hint::black_box(&gate);
        std::thread::park();
    }
}

fn is<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Done {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{got:?}, and not {wanted:?}").into())
}
