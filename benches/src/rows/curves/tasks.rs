//! From 10 to 10 M tasks that do nothing in one `map`. A task is to cost the same in all of them.

use std::io;

use brigade::Pool;

use super::{PROCESSES, THREADS, flat, nanoseconds};
use crate::pooled::mapped;
use crate::report::Row;
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::nothing;

const WORKERS: usize = 2;

/// How many tasks, and how often that is done in a turn.
const TASKS: [(&str, u32, u32); 4] = [
    (
        "2 workers, 10 null tasks in a map, and the next map",
        10,
        1000,
    ),
    ("1,000 tasks in a map", 1000, 50),
    ("100,000 tasks in a map", 100_000, 2),
    ("10 M tasks in a map", 10_000_000, 1),
];

/// From so many on, few rounds are enough.
const LONG: u32 = 10_000_000;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let (processes, threads) = (Pool::processes(WORKERS)?, Pool::threads(WORKERS)?);
    let mut rows = Vec::new();
    for (what, tasks, times) in TASKS {
        let rounds = match (quick, tasks >= LONG) {
            (true, true) => 1,
            (true, false) | (false, true) => 3,
            (false, false) => 9,
        };
        let ours = |pool| {
            move || {
                let mut sum = 0.0;
                for _ in 0..times {
                    sum += mapped(pool, nothing, (), tasks)?;
                }
                Ok(nanoseconds(sum / f64::from(times)))
            }
        };
        let contenders = vec![
            Contender::new(PROCESSES, ours(&processes)),
            Contender::new(THREADS, ours(&threads)),
        ];
        let all = take_turns(rounds, contenders)?;
        rows.push(Row::new("Tasks", what, "ns", &all, &[]).ok_or_else(rows::empty)?);
    }
    flat(&mut rows);
    Ok(rows)
}
