//! The contract of pools: one suite, for threads and for processes; then what only processes
//! survive.
//!
//! A file a subject. Nothing here waits for a time: tasks and tests wait for each other at a
//! [`Count`], and a watchdog ends what hangs.

mod attempts;
mod balance;
mod captured;
mod closing;
mod context;
mod count;
mod ends;
mod futures;
mod handles;
mod initializer;
mod keyed_tasks;
mod large;
mod large_states;
mod map;
mod map_ref;
mod on_done;
mod options;
mod queue;
mod resize;
mod room;
mod scope;
mod sharing;
mod size;
mod state;
mod state_tasks;
mod stats;
mod streams;
mod task_options;
mod time;
mod values;
mod worker_for;

// Only processes.
mod crash;
mod held_streams;
mod kills;
mod last_words;
mod leaving;
mod matrix;
mod scarce;
mod taken_back;
mod unsendable;

use std::sync::mpsc;
use std::time::Duration;

use brigade::{Crash, JoinError, JoinHandle, Kind, Panic, Pool, PoolStats};
use brigade_test_support::doorbell;
use brigade_test_support::signal::{exists, kill};
use brigade_test_support::wait::{LIMIT, until};

use count::Count;

/// When a test is given up.
const HANG: Duration = Duration::from_secs(180);

/// Runs a row for threads and for processes.
fn both(row: impl Fn(Kind)) {
    // `scripts/tsan` can look at threads only.
    let only = std::env::var("BRIGADE_TEST_KIND").ok();
    for kind in Kind::ALL {
        if only.as_ref().is_none_or(|only| *only == kind.to_string()) {
            alone(kind, &row);
        }
    }
}

/// Runs what can be tried with processes only.
fn processes(row: impl Fn()) {
    if std::env::var("BRIGADE_TEST_KIND").is_ok_and(|only| only != "process") {
        eprintln!("skipped, because only threads are asked for");
        return;
    }
    alone(Kind::Process, |_| row());
}

fn alone(kind: Kind, row: impl Fn(Kind)) {
    brigade::init();
    eprintln!("as a {kind}:");
    let _watchdog = Watchdog::new(kind);
    row(kind);
}

/// Ends the program, and says why, if a test hangs: a test that waits for ever tells nobody
/// anything.
struct Watchdog(#[expect(dead_code, reason = "its end is what is heard")] mpsc::Sender<()>);

impl Watchdog {
    fn new(kind: Kind) -> Watchdog {
        let (alive, watched) = mpsc::channel::<()>();
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            if watched.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Past the harness, which keeps what is printed until the test ends.
                let _ = rustix::io::write(
                    rustix::stdio::stderr(),
                    format!("{name}, as a {kind}: hangs\n").as_bytes(),
                );
                std::process::abort();
            }
        });
        Watchdog(alive)
    }
}

fn pool(kind: Kind, workers: usize) -> Pool {
    Pool::new(kind, workers).expect("a pool")
}

/// As [`pool`], for tasks that panic by the hundred: its processes print nothing of that.
fn quiet_pool(kind: Kind, workers: usize) -> Pool {
    fn hush() {
        let null = std::fs::File::create("/dev/null").expect("opened");
        rustix::stdio::dup2_stderr(null).expect("replaced");
    }
    let builder = Pool::builder(kind).workers(workers);
    match kind {
        Kind::Thread => builder,
        Kind::Process => builder.initializer(hush),
    }
    .build()
    .expect("a pool")
}

/// A task that says that it has begun, and ends when it is let.
fn wait_at((begun, gate): (Count, Count)) -> u32 {
    begun.add();
    gate.wait_for(1);
    7
}

/// Has a worker wait at a gate. When this returns, it does.
fn occupy(pool: &Pool) -> (JoinHandle<u32>, Count) {
    let (begun, gate) = (Count::new(), Count::new());
    let handle = pool.submit(wait_at, (begun.clone(), gate.clone()));
    begun.wait_for(1);
    (handle, gate)
}

/// A task that never ends by itself, and takes no processor time. A thread that is let go keeps it
/// for as long as the program runs.
fn for_ever(begun: Count) -> u32 {
    begun.add();
    loop {
        std::thread::park();
    }
}

/// The same in a process that is to be killed, with nothing but a text as its input: a worker that
/// is starved may be replaced before it begins a task with descriptors. When the bell has rung, it
/// runs: a worker that dies before it has read the input leaves its task to another.
fn rings_for_ever(door: String) -> u32 {
    doorbell::ring(&door, &[]).expect("the test listens");
    loop {
        std::thread::park();
    }
}

fn double(n: u32) -> u32 {
    n * 2
}

/// The worker that runs this: its process, and its thread there.
fn who(_: u32) -> String {
    format!("{} {:?}", std::process::id(), std::thread::current().id())
}

fn add(count: Count) {
    count.add();
}

/// That a pool is in order: each of its workers takes part in a task.
fn works(pool: &Pool) {
    let (begun, gate) = (Count::new(), Count::new());
    let handles: Vec<_> = (0..pool.workers())
        .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
        .collect();
    begun.wait_for(pool.workers() as u32);
    gate.add();
    for handle in handles {
        assert_eq!(join(handle).expect("an innocent task succeeds"), 7);
    }
}

/// How many workers were replaced, but for those that were starved: the task with descriptors that
/// such a one has not begun is taken back, and it is ended, for it still has them.
fn restarts(stats: &PoolStats) -> u64 {
    stats.restarts - stats.died_idle
}

/// Joins; who hangs is told by name.
fn join<R: std::fmt::Debug>(handle: JoinHandle<R>) -> Result<R, JoinError> {
    handle
        .join_timeout(LIMIT)
        .unwrap_or_else(|handle| panic!("{handle:?} has not ended after {LIMIT:?}"))
}

fn panic_of<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Panic {
    match ended {
        Err(JoinError::Panicked(panic)) => panic,
        other => panic!("expected a panic, got {other:?}"),
    }
}

fn crash_of<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Crash {
    match ended {
        Err(JoinError::Crashed(crash)) => crash,
        other => panic!("expected a crash, got {other:?}"),
    }
}
