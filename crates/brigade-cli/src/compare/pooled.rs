//! What a task costs in a pool, for the rows that compare it with a worker of its own.

use super::stats::Summary;
use crate::fail::Failure;
use crate::helper::PooledReport;
use crate::helper::launch;

pub(super) use crate::helper::{TASKS, WORKERS, Way};

/// Nanoseconds per task in a pool of threads and in one of processes, over so many samples in so
/// many pools of each.
pub(super) fn costs(way: Way, turns: u32, samples: u32) -> Result<[Summary; 2], Failure> {
    let way = match way {
        Way::Single => "single",
        Way::Map => "map",
    };
    let arguments = [
        "pooled".to_owned(),
        way.to_owned(),
        turns.to_string(),
        samples.to_string(),
    ];
    let report: PooledReport = launch::ask(&arguments)?;
    Ok([Summary::of(&report.thread)?, Summary::of(&report.process)?])
}

/// The same for the two sides of a figure: each the number, or the reason why there is none.
pub(super) fn sides(costs: Result<[Summary; 2], Failure>) -> [Result<Summary, Failure>; 2] {
    match costs {
        Ok(costs) => costs.map(Ok),
        Err(reason) => [Err(reason.clone()), Err(reason)],
    }
}
