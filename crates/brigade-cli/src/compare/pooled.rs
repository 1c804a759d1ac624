//! What a task costs in a pool, and what its input costs, for the rows that compare it with a
//! worker of its own.

use super::format::Unit;
use super::row::{Axis, Figure, Value};
use super::stats::Summary;
use crate::fail::Failure;
use crate::helper::{CarryReport, PooledReport, launch};

pub(super) use crate::helper::{TASKS, WORKERS, Way};

/// Nanoseconds per task in a pool of threads and in one of processes, over `samples` samples in as
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

/// The costs for the two sides of a figure: each the number, or the reason why there is none.
pub(super) fn sides(costs: Result<[Summary; 2], Failure>) -> [Result<Summary, Failure>; 2] {
    match costs {
        Ok(costs) => costs.map(Ok),
        Err(reason) => [Err(reason.clone()), Err(reason)],
    }
}

/// Sizes of inputs that a task is given, and how they are named.
const INPUTS: [(usize, &str, &str); 5] = [
    (0, "0 B", "0b"),
    (4 << 10, "4 KiB", "4kib"),
    (64 << 10, "64 KiB", "64kib"),
    (1 << 20, "1 MiB", "1mib"),
    (16 << 20, "16 MiB", "16mib"),
];

/// The lines of the figures of [`inputs`].
pub(super) const INPUT_POOLED: &str = "pooled";
pub(super) const INPUT_FRESH: &str = "fresh";

/// What a task takes from hand-over to result that is given a number of bytes and does nothing with
/// them: in a pool, and in a worker of its own.
pub(super) fn inputs(samples: usize) -> Vec<Figure> {
    let sizes = INPUTS.map(|(bytes, ..)| bytes.to_string());
    let arguments = ["carry".to_owned(), samples.to_string()];
    let arguments: Vec<String> = arguments.into_iter().chain(sizes).collect();
    let reports: Result<Vec<CarryReport>, Failure> = launch::ask(&arguments);
    let mut figures = Vec::new();
    for (index, (bytes, name, id)) in INPUTS.into_iter().enumerate() {
        for (line, what) in [(INPUT_POOLED, "in a pool"), (INPUT_FRESH, "fresh worker")] {
            let side = |kind: usize| {
                let report = reports.as_ref().map_err(Clone::clone)?;
                let of = &report[index];
                let samples = if line == INPUT_POOLED {
                    &of.pooled
                } else {
                    &of.fresh
                };
                Summary::of(&samples[kind])
            };
            let figure = Figure::new(
                format!("input-{line}-{id}"),
                format!("task with {name} of input, {what}"),
                Unit::Nanoseconds,
                Value::from_result(side(0)),
                Value::from_result(side(1)),
            )
            .at(Axis::Input, bytes as f64, line);
            // One size stands for the others in the terminal.
            figures.push(if bytes == 1 << 20 {
                figure
            } else {
                figure.detail()
            });
        }
    }
    figures
}
