//! Where a task is stuck: how long it takes to be told, of one that spins, one that waits for its
//! own lock, and one that reads what never comes.

use std::hint::{black_box, spin_loop};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use brigade::{JoinError, Kind, Pool};
use brigade_test_support::wait;

use crate::report::Row;
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;

fn spins((): ()) {
    loop {
        spin_loop();
    }
}

fn deadlocks((): ()) {
    let lock = Mutex::new(());
    let lock = black_box(&lock);
    let outer = lock.lock();
    let inner = lock.lock();
    drop((outer, inner));
}

fn reads((): ()) {
    if let Ok((reader, writer)) = rustix::pipe::pipe() {
        let _ = rustix::io::read(&reader, &mut [0; 1]);
        drop(writer);
    }
}

/// How a task is stuck, and the task.
type Stuck = (&'static str, fn(()));

const TASKS: [Stuck; 3] = [
    ("it spins", spins),
    ("it waits for its own lock", deadlocks),
    ("it reads from an empty pipe", reads),
];

/// A pool whose only worker is stuck in this.
fn stuck(task: fn(())) -> io::Result<Pool> {
    let pool = Pool::processes(1)?;
    let handle = pool.submit(task, ());
    wait::until("it runs", || handle.pid().is_some());
    Ok(pool)
}

/// What the pool says of its worker: where it is, by the first line of its stack that is the
/// program's, and what it waits in.
fn told(what: &str, pool: &Pool) -> Vec<String> {
    let stacks = pool.stacks();
    let Some(worker) = stacks.workers().first() else {
        return vec![format!("{what}: no worker")];
    };
    let mut lines = vec![format!("{what}: {}", worker.blocked().unwrap_or("it runs"))];
    let text = worker.backtrace().or(worker.why_no_backtrace());
    let text = text.unwrap_or_default();
    lines.extend(text.lines().take(8).map(|line| format!("  {line}")));
    lines
}

/// Milliseconds from the end of its time to the error in the caller's hands.
fn over_time(task: fn(())) -> io::Result<f64> {
    const TIME: Duration = Duration::from_millis(100);
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(TIME)
        .build()?;
    let start = Instant::now();
    match pool.submit(task, ()).join() {
        Err(JoinError::TimedOut(_)) => {
            let after = start.elapsed().saturating_sub(TIME);
            Ok(microseconds(after) / 1e3)
        }
        other => Err(io::Error::other(format!("it has ended: {other:?}"))),
    }
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let pools = TASKS.map(|(_, task)| stuck(task));
    let pools = pools.into_iter().collect::<io::Result<Vec<Pool>>>()?;
    let asked = TASKS.iter().zip(&pools).map(|(&(what, _), pool)| {
        Contender::new(what, move || {
            let start = Instant::now();
            match pool.stacks().workers().len() {
                1 => Ok(microseconds(start.elapsed())),
                other => Err(io::Error::other(format!("{other} workers"))),
            }
        })
    });
    let asked = take_turns(if quick { 5 } else { 41 }, asked.collect())?;
    let what = "Pool::stacks, a worker whose task is stuck";
    let asked = Row::new("Users", what, "µs", &asked, &[]).ok_or_else(rows::empty)?;
    let lines = TASKS.iter().zip(&pools);
    let asked = asked.notes(lines.flat_map(|(&(what, _), pool)| told(what, pool)));
    for pool in &pools {
        pool.abort();
    }
    let timed = TASKS.map(|(what, task)| Contender::new(what, move || over_time(task)));
    let timed = take_turns(if quick { 3 } else { 11 }, timed.into())?;
    let what = "a timeout of 100 ms: from then to the error, with the stack";
    let timed = Row::new("Users", what, "ms", &timed, &[]).ok_or_else(rows::empty)?;
    Ok(vec![asked, timed])
}
