//! A pool that grows from 1 worker to 16 under a burst, beside one that has 16 from its start.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use brigade::{Kind, Pool};
use brigade_test_support::wait;

use super::{PROCESSES, THREADS};
use crate::report::{Row, figure};
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;

/// How many tasks are submitted at once.
const TASKS: u32 = 64;
/// How long each of them waits, as a request to a slow server does.
const LENGTH: Duration = Duration::from_millis(20);
const MOST: usize = 16;

fn wait_a_little((): ()) {
    wait::pause(LENGTH);
}

/// Milliseconds from the burst to its last result. Notes the most workers that there were.
fn burst(pool: &Pool, most: &Cell<usize>) -> io::Result<f64> {
    let start = Instant::now();
    let handles: Vec<_> = (0..TASKS).map(|_| pool.submit(wait_a_little, ())).collect();
    for handle in handles {
        most.set(most.get().max(pool.workers()));
        crate::traffic::join(handle)?;
    }
    Ok(microseconds(start.elapsed()) / 1e3)
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 3 } else { 11 };
    let most = [Cell::new(0), Cell::new(0)];
    // A new one each time, which has not grown yet.
    let growing = |kind, most| {
        move || {
            let pool = Pool::builder(kind).workers(1..=MOST).build()?;
            burst(&pool, most)
        }
    };
    let from_the_start = |kind| {
        move || {
            let pool = Pool::builder(kind).workers(MOST).build()?;
            burst(&pool, &Cell::new(0))
        }
    };
    let contenders = vec![
        Contender::new(
            "processes, workers(1..=16)",
            growing(Kind::Process, &most[0]),
        ),
        Contender::new("processes, workers(16)", from_the_start(Kind::Process)),
        Contender::new("threads, workers(1..=16)", growing(Kind::Thread, &most[1])),
        Contender::new("threads, workers(16)", from_the_start(Kind::Thread)),
    ];
    let all = take_turns(rounds, contenders)?;
    let what = "64 tasks of 20 ms of waiting, at once";
    let row = Row::new("Users", what, "ms", &all, &[]).ok_or_else(rows::empty)?;
    let ideal = LENGTH.as_secs_f64() * 1e3 * f64::from(TASKS) / MOST as f64;
    Ok(vec![row.note(format!(
        "ideal: {} ms with {MOST} workers; most workers: {PROCESSES} {}, {THREADS} {}",
        figure(ideal),
        most[0].get(),
        most[1].get()
    ))])
}
