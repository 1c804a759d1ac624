//! Tasks of 0 to 100 ms, through `map`, with two workers.

use std::io;
use std::time::Duration;

use brigade::Pool;

use super::{PROCESSES, THREADS, nanoseconds};
use crate::peers::pools::{self, Rayon};
use crate::pooled::mapped;
use crate::report::Row;
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;
use crate::work::{self, lasting};

const WORKERS: usize = 2;

/// Lengths, and how many tasks.
const LENGTHS: [(&str, Duration, u32); 7] = [
    (
        "2 workers, tasks of no length, through map: time for one",
        Duration::ZERO,
        200_000,
    ),
    (
        "tasks of 1 µs: time by the ideal, half of the length",
        Duration::from_micros(1),
        20_000,
    ),
    ("tasks of 10 µs", Duration::from_micros(10), 2000),
    ("tasks of 100 µs", Duration::from_micros(100), 400),
    ("tasks of 1 ms", Duration::from_millis(1), 60),
    ("tasks of 10 ms", Duration::from_millis(10), 10),
    ("tasks of 100 ms", Duration::from_millis(100), 4),
];

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let (processes, threads) = (Pool::processes(WORKERS)?, Pool::threads(WORKERS)?);
    let rayon = Rayon::new(WORKERS)?;
    let mut rows = Vec::new();
    for (what, length, count) in LENGTHS {
        let steps = lasting(length);
        let told = move |micro: f64| {
            if length.is_zero() {
                nanoseconds(micro)
            } else {
                micro * WORKERS as f64 / microseconds(length)
            }
        };
        let ours = |pool| move || mapped(pool, work::steps, steps, count).map(told);
        let contenders = vec![
            Contender::new(PROCESSES, ours(&processes)),
            Contender::new(THREADS, ours(&threads)),
            Contender::new(pools::RAYON_SCOPE, || {
                rayon.scoped(count, move || work::steps(steps)).map(told)
            }),
        ];
        let all = take_turns(if quick { 3 } else { 9 }, contenders)?;
        let unit = if length.is_zero() { "ns" } else { "×" };
        rows.push(Row::new("Length", what, unit, &all, &[]).ok_or_else(rows::empty)?);
    }
    Ok(rows)
}
