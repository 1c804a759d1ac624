//! Pools of 1 to 256 workers: tasks that do nothing, through `map` and one at a time. A task is to
//! cost the same in all of them.

use std::io;

use brigade::{Kind, Pool};

use super::{PROCESSES, THREADS, flat, nanoseconds};
use crate::peers::pools::{self, Rayon};
use crate::pooled::{mapped, one_at_a_time};
use crate::report::Row;
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::work::nothing;

/// How many workers, and what that is called in both rows.
const WORKERS: [(usize, &str, &str); 8] = [
    (
        1,
        "1 worker, null tasks through map",
        "1 worker, null tasks one at a time",
    ),
    (2, "2 workers, map", "2 workers, one at a time"),
    (4, "4 workers, map", "4 workers, one at a time"),
    (8, "8 workers, map", "8 workers, one at a time"),
    (16, "16 workers, map", "16 workers, one at a time"),
    (32, "32 workers, map", "32 workers, one at a time"),
    (64, "64 workers, map", "64 workers, one at a time"),
    (256, "256 workers, map", "256 workers, one at a time"),
];
/// More may be too many for the machine.
const USUAL: usize = 64;

const MAPPED: u32 = 200_000;
const ONE_BY_ONE: u32 = 2000;

/// A pool of each kind.
type Pools = (Pool, Pool, Rayon);

fn start(workers: usize) -> io::Result<Pools> {
    let new = |kind| Pool::new(kind, workers);
    Ok((
        new(Kind::Process)?,
        new(Kind::Thread)?,
        Rayon::new(workers)?,
    ))
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let (mut by_map, mut by_one) = (Vec::new(), Vec::new());
    let mut skipped = None;
    for (workers, map, one) in WORKERS {
        let (processes, threads, rayon) = match start(workers) {
            Ok(pools) => pools,
            Err(e) if workers > USUAL => {
                skipped = Some(format!("{workers} workers: skipped, because {e}"));
                continue;
            }
            Err(e) => return Err(e),
        };
        let rounds = if quick { 3 } else { 7 };

        let ours = |pool| move || mapped(pool, nothing, (), MAPPED).map(nanoseconds);
        let contenders = vec![
            Contender::new(PROCESSES, ours(&processes)),
            Contender::new(THREADS, ours(&threads)),
            Contender::new(pools::RAYON_SCOPE, || {
                rayon.scoped(MAPPED, || ()).map(nanoseconds)
            }),
        ];
        let all = take_turns(rounds, contenders)?;
        by_map.push(Row::new("Workers", map, "ns", &all, &[]).ok_or_else(rows::empty)?);

        let ours = |pool| move || one_at_a_time(pool, ONE_BY_ONE).map(nanoseconds);
        let contenders = vec![
            Contender::new(PROCESSES, ours(&processes)),
            Contender::new(THREADS, ours(&threads)),
            Contender::new(pools::RAYON_INSTALL, || {
                rayon.installed(ONE_BY_ONE).map(nanoseconds)
            }),
        ];
        let all = take_turns(rounds, contenders)?;
        by_one.push(Row::new("Workers", one, "ns", &all, &[]).ok_or_else(rows::empty)?);
    }
    flat(&mut by_map);
    flat(&mut by_one);
    by_map.extend(by_one);
    if let Some(last) = by_map.last_mut() {
        last.notes.extend(skipped);
    }
    Ok(by_map)
}
