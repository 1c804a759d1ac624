//! Supervisors: for threads and for processes, by one word.
//!
//! The cases of OTP's supervisor suite are here under what they say; then what only we have:
//! readiness, the watchdog, back-off, threads that do not stop, and processes that are killed from
//! outside. A file a subject.

mod asking;
#[path = "../pool/count.rs"]
mod count;
mod kills;
mod puppet;
mod readiness;
mod restarts;
mod starting;
mod stopping;
mod strategies;
mod telling;
mod trees;
mod watchdog;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::Kind;
use brigade::supervise::{
    Child, ChildError, ChildState, Event, Events, Exit, Handle, Strategy, Supervisor, What,
};

use brigade_test_support::wait;
use puppet::{Log, Puppet};

/// Longer than anything takes that does not hang.
const LIMIT: Duration = Duration::from_secs(30);
/// When a test is given up.
const HANG: Duration = Duration::from_secs(120);
/// A limit that is not to be reached.
const LONG: Duration = Duration::from_secs(3600);
/// A limit that is to be reached.
const SHORT: Duration = Duration::from_millis(200);

/// Runs a row for threads and for processes.
fn both(row: impl Fn(Kind)) {
    let only = std::env::var("BRIGADE_TEST_KIND").ok();
    for kind in Kind::ALL {
        if only.as_ref().is_none_or(|only| *only == kind.to_string()) {
            alone(kind, &row);
        }
    }
}

fn alone(kind: Kind, row: impl Fn(Kind)) {
    brigade::init();
    eprintln!("as a {kind}:");
    let (alive, watched) = mpsc::channel::<()>();
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    std::thread::spawn(move || {
        if watched.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let text = format!("{name}, as a {kind}: hangs\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            std::process::abort();
        }
    });
    row(kind);
    drop(alive);
}

/// A supervisor that restarts as often as it has to.
fn tireless(strategy: Strategy) -> Supervisor {
    Supervisor::new(strategy).intensity(1_000_000, LONG)
}

/// Puppets `a`, `b` … with one log.
fn puppets<const N: usize>() -> (Log, [Puppet; N]) {
    let log = Log::new();
    let names: [char; N] = std::array::from_fn(|n| char::from(b'a' + n as u8));
    let puppets = names.map(|name| Puppet::new(name, &log));
    (log, puppets)
}

/// A supervisor of these, in this order.
fn of(supervisor: Supervisor, children: impl IntoIterator<Item = Child>) -> Supervisor {
    children.into_iter().fold(supervisor, Supervisor::child)
}

/// Waits for an event; those before it are passed over.
#[track_caller]
fn until(events: &Events, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.next_timeout(left) {
            Some(event) if is_it(&event) => return event,
            Some(event) => seen.push(event.to_string()),
            None => panic!("waited in vain for: {what}; there were {seen:#?}"),
        }
    }
}

/// Waits until a child is up, once more.
#[track_caller]
fn until_up(events: &Events, child: &str) -> Event {
    until(events, &format!("{child} is up"), |event| {
        event.child() == Some(child) && matches!(event.what(), What::Started)
    })
}

/// Waits until a child has ended. How.
#[track_caller]
fn until_ended(events: &Events, child: &str) -> Exit {
    let event = until(events, &format!("{child} has ended"), |event| {
        event.child() == Some(child) && matches!(event.what(), What::Ended(_))
    });
    match event.what() {
        What::Ended(exit) => exit.clone(),
        _ => unreachable!("looked for"),
    }
}

/// Its children's states, in order: `a running`, …
fn states(of: &Handle) -> Vec<String> {
    let children = of.children();
    children
        .iter()
        .map(|child| format!("{} {}", child.name(), child.state()))
        .collect()
}

fn state(of: &Handle, child: &str) -> Option<ChildState> {
    let children = of.children();
    let found = children.iter().find(|c| c.name() == child);
    found.map(|c| c.state())
}

/// Waits until it has been told to shut down.
fn until_closed(of: &Handle) {
    wait::until("it is closed", || {
        matches!(of.terminate_child("nobody"), Err(ChildError::Closed))
    });
}

/// A child that runs, or is on its way, is neither started again nor forgotten.
#[track_caller]
fn cannot_be_changed(of: &Handle, child: &str) {
    let restarted = of.restart_child(child).map(drop);
    assert!(
        matches!(restarted, Err(ChildError::Running)),
        "{restarted:?}"
    );
    let deleted = of.delete_child(child).map(drop);
    assert!(matches!(deleted, Err(ChildError::Running)), "{deleted:?}");
}
