//! A store and what needs it, kept running: one crashes, and the rest is started again after it.
//!
//! `cargo run --example supervised -- process` (or `thread`, where nothing crashes: it panics)

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use brigade::supervise::{self, Child, Context, Restart, Strategy, Supervisor};
use brigade::{Kind, Shared};

const SECOND: Duration = Duration::from_secs(1);

/// The first time, it fails after half a second.
fn store(runs: Shared<AtomicU32>) {
    let run = runs.fetch_add(1, Ordering::SeqCst);
    let context = Context::current();
    context.ready();
    if run > 0 {
        context.wait_for_stop();
    } else if !context.wait_for_stop_timeout(SECOND / 2) {
        panic!("the disk is on fire");
    }
}

/// Works as long as it is let, and says that it does.
fn reader(name: String) -> Result<(), String> {
    let context = Context::current();
    supervise::ready();
    while !context.wait_for_stop_timeout(SECOND / 10) {
        supervise::alive();
    }
    println!("{name} stops");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let kind: Kind = match std::env::args().nth(1) {
        Some(word) => word.parse()?,
        None => Kind::Process,
    };
    let runs = Shared::new(AtomicU32::new(0))?;
    let child = |name: &str| {
        Child::new(kind, name, reader, name.to_owned())
            .ready_within(5 * SECOND)
            .watchdog(5 * SECOND)
    };
    let supervisor = Supervisor::new(Strategy::RestForOne)
        .name("example")
        .intensity(3, 60 * SECOND)
        .child(Child::new(kind, "store", store, runs).ready_within(5 * SECOND))
        .child(child("web").restart(Restart::Transient))
        .child(child("mail"));
    let events = supervisor.events();
    let running = supervisor.start()?;
    // Three are up, one fails, and three are up again: then that is enough.
    let mut up = 0;
    for event in events {
        println!("{event}");
        up +=
            u32::from(matches!(event.what(), supervise::What::Started) && event.child().is_some());
        if up == 6 {
            break;
        }
    }
    println!("{}", running.shutdown());
    Ok(())
}
