//! What a task costs in a thread, in a pooled process and in a fresh one, by the measured figures:
//! the formula behind the page's movable chart.
//!
//! A task lasts *L*, is given *S* bytes and crashes with probability *p*. It is run until it
//! succeeds. What it costs each time until its result is there, and what a crash costs beside:
//!
//! > cost = (L + h + c(S)) / (1 − p) + r · p / (1 − p)
//!
//! | | thread, of a pool | process, of a pool | fresh process |
//! |---|---|---|---|
//! | *h*, to hand the task over | row `creation`, `pooled` | the same | `spawn` |
//! | *c(S)*, to carry its input | row `communication`, `input-pooled-…` | the same | `input-fresh-…` |
//! | *r*, to have a worker again | row `creation`, `program`: the whole program starts again | `spawn` | 0: each task has a new one |
//!
//! *c(S)* is what a task with *S* bytes takes more than one with none: between two sizes that were
//! measured on a straight line, beyond the largest on that of the last two. The division counts all
//! of an attempt that crashes as lost, as if each crash came at the task's end. What a dying
//! program loses beside (the tasks of its other threads, what it had in memory) no formula knows.
//!
//! `page.js` has the formula and the sentences once more, for the sliders. The test of the page in
//! a browser compares the two on the table of typical tasks.

use serde::Serialize;

use super::super::creation::{PROGRAM, SPAWN};
use super::super::format::{Unit, ratio};
use super::super::pooled::{INPUT_FRESH, INPUT_POOLED};
use super::super::row::{Axis, Figure, Report, Value};
use super::super::{creation, verdict::THRESHOLD};
use crate::fail::Failure;

/// What a process may cost more and still be called equal: as in row 10.
const MARGIN: f64 = 1.05;
const _: () = assert!(MARGIN < THRESHOLD);

/// The figures that the formula needs, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Model {
    pub(super) thread: Worker,
    pub(super) pooled: Worker,
    pub(super) fresh: Worker,
}

/// Those of a way to run a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Worker {
    /// *h*
    hand_over: f64,
    /// Points of a curve, by size: the bytes of an input, and the nanoseconds that a task takes
    /// with such an input. The first is of no bytes.
    input: Vec<(f64, f64)>,
    /// *r*
    recovery: f64,
}

/// A task, as a reader describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Task {
    /// Nanoseconds.
    pub(super) length: f64,
    /// Bytes.
    pub(super) input: f64,
    /// How many tasks there are for each one that crashes; 0: none crashes.
    pub(super) crash: f64,
}

/// What it costs, in nanoseconds, by what it is spent on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub(super) task: f64,
    pub(super) hand_over: f64,
    pub(super) input: f64,
    pub(super) crashes: f64,
}

impl Cost {
    pub(super) fn total(&self) -> f64 {
        self.task + self.hand_over + self.input + self.crashes
    }

    pub(super) fn parts(&self) -> [f64; 4] {
        [self.task, self.hand_over, self.input, self.crashes]
    }
}

impl Worker {
    fn cost(&self, task: Task) -> Cost {
        let probability = if task.crash > 0.0 {
            1.0 / task.crash
        } else {
            0.0
        };
        let attempt = [task.length, self.hand_over, self.carry(task.input)];
        let again = probability / (1.0 - probability);
        Cost {
            task: attempt[0],
            hand_over: attempt[1],
            input: attempt[2],
            crashes: (attempt.iter().sum::<f64>() + self.recovery) * again,
        }
    }

    /// *c(S)*
    fn carry(&self, bytes: f64) -> f64 {
        let Some((&(_, none), rest)) = self.input.split_first() else {
            return 0.0;
        };
        let index = rest.iter().position(|&(size, _)| bytes <= size);
        let last = index.unwrap_or(rest.len().saturating_sub(1));
        let Some(&(above, high)) = rest.get(last) else {
            return 0.0;
        };
        let (below, low) = self.input[last];
        let at = low + (high - low) * (bytes - below) / (above - below);
        (at - none).max(0.0)
    }
}

impl Model {
    /// Fails with the name of what was not measured.
    pub(super) fn of(report: &Report) -> Result<Self, Failure> {
        let creation = |id: &str, side: Side| {
            let figure = report.figure(creation::EXPERIMENT.id, id);
            median(figure, side).ok_or_else(|| {
                Failure::new(format!("row {}, figure {id}", creation::EXPERIMENT.id))
            })
        };
        let spawn = creation(SPAWN, process)?;
        let worker = |hand_over, line, side, recovery| {
            Ok(Worker {
                hand_over,
                input: inputs(report, line, side)?,
                recovery,
            })
        };
        let pooled = |side| creation(creation::POOLED, side);
        Ok(Self {
            thread: worker(
                pooled(thread)?,
                INPUT_POOLED,
                thread,
                creation(PROGRAM, process)?,
            )?,
            pooled: worker(pooled(process)?, INPUT_POOLED, process, spawn)?,
            fresh: worker(spawn, INPUT_FRESH, process, 0.0)?,
        })
    }

    /// In a thread, in a pooled process, in a fresh one.
    pub(super) fn costs(&self, task: Task) -> [Cost; 3] {
        [&self.thread, &self.pooled, &self.fresh].map(|worker| worker.cost(task))
    }

    /// Which to take, in a word and in a sentence.
    pub(super) fn verdict(&self, task: Task) -> (&'static str, String) {
        let totals = self.costs(task).map(|cost| cost.total());
        let [thread, pooled, fresh] = totals.map(|total| Unit::Nanoseconds.one(total));
        let by = ratio(Some(totals[1] / totals[0]));
        if task.crash > 0.0 {
            let text = format!(
                "Take a process: a thread that crashes ends the whole program. A pooled process costs {pooled} a task, a fresh one {fresh}."
            );
            ("process", text)
        } else if totals[1] > MARGIN * totals[0] {
            let text = format!(
                "Take a thread: it costs {thread} a task, a pooled process {pooled} ({by}) and a fresh one {fresh}."
            );
            ("thread", text)
        } else if totals[0] > MARGIN * totals[1] {
            let text = format!(
                "Take a pooled process: it costs {pooled} a task, {by} what a thread does ({thread}), and its crash would be contained."
            );
            ("process", text)
        } else {
            let text = format!(
                "Take either: a thread costs {thread} a task, a pooled process {pooled}, within 5 % of each other. The process, if a crash would hurt."
            );
            ("either", text)
        }
    }
}

type Side = fn(&Figure) -> &Value;

fn thread(figure: &Figure) -> &Value {
    &figure.thread
}

fn process(figure: &Figure) -> &Value {
    &figure.process
}

fn median(figure: Option<&Figure>, side: Side) -> Option<f64> {
    Some(side(figure?).summary()?.median)
}

/// The points of this line, from no input to the most.
fn inputs(report: &Report, line: &str, side: Side) -> Result<Vec<(f64, f64)>, Failure> {
    let measured = report
        .rows
        .iter()
        .filter_map(|row| row.result.as_ref().ok());
    let figures = measured.flat_map(|measured| &measured.figures);
    let mut points: Vec<(f64, f64)> = figures
        .filter_map(|figure| {
            let at = figure.at.as_ref()?;
            let is_of_line = at.axis == Axis::Input && at.line == line;
            Some((at.value, median(is_of_line.then_some(figure), side)?))
        })
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points.dedup_by_key(|point| point.0);
    match points[..] {
        [(0.0, _), _, ..] => Ok(points),
        _ => Err(Failure::new(format!(
            "row communication, the figures input-{line}-…"
        ))),
    }
}

/// Tasks that a reader may have in mind, with a name.
pub(super) const TYPICAL: [(&str, Task); 8] = [
    ("a small calculation", task(1e4, 0.0, 0.0)),
    ("a request", task(1e6, 4096.0, 0.0)),
    ("a request with a file", task(1e6, 1_048_576.0, 0.0)),
    ("a photo to convert", task(2e8, 16_777_216.0, 0.0)),
    ("a film to encode", task(6e10, 268_435_456.0, 0.0)),
    ("a foreign library", task(1e7, 65_536.0, 1e6)),
    ("hostile input", task(1e6, 65_536.0, 100.0)),
    ("a plugin that crashes often", task(1e5, 4096.0, 10.0)),
];

const fn task(length: f64, input: f64, crash: f64) -> Task {
    Task {
        length,
        input,
        crash,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn worker(hand_over: f64, input: &[(f64, f64)], recovery: f64) -> Worker {
        Worker {
            hand_over,
            input: input.to_vec(),
            recovery,
        }
    }

    fn model() -> Model {
        Model {
            thread: worker(10.0, &[(0.0, 5.0), (100.0, 5.0)], 1e6),
            pooled: worker(20.0, &[(0.0, 7.0), (100.0, 107.0), (200.0, 407.0)], 1e5),
            fresh: worker(1e5, &[(0.0, 1e5), (100.0, 1e5 + 100.0)], 0.0),
        }
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() <= 1e-9 * right.abs(), "{left} {right}");
    }

    #[test]
    fn without_a_crash_it_is_the_sum() {
        let costs = model().costs(task(1000.0, 50.0, 0.0));
        close(costs[0].total(), 1010.0);
        close(costs[1].total(), 1000.0 + 20.0 + 50.0);
        close(costs[2].total(), 1000.0 + 1e5 + 50.0);
        assert!(costs.iter().all(|cost| cost.crashes == 0.0));
    }

    #[test]
    fn inputs_lie_on_straight_lines_and_beyond_the_last_on_its_own() {
        let pooled = model().pooled;
        for (bytes, carried) in [
            (0.0, 0.0),
            (50.0, 50.0),
            (100.0, 100.0),
            (150.0, 250.0),
            (200.0, 400.0),
            (300.0, 700.0),
        ] {
            close(pooled.carry(bytes), carried);
        }
        // What noise makes cheaper than nothing is nothing.
        assert_eq!(worker(1.0, &[(0.0, 9.0), (9.0, 2.0)], 0.0).carry(9.0), 0.0);
    }

    #[test]
    fn one_crash_in_two_costs_an_attempt_and_a_recovery_more() {
        let costs = model().costs(task(1000.0, 0.0, 2.0));
        close(costs[0].total(), 2.0 * 1010.0 + 1e6);
        close(costs[1].total(), 2.0 * 1020.0 + 1e5);
        close(costs[2].total(), 2.0 * (1000.0 + 1e5));
    }

    #[test]
    fn the_verdict_follows_the_figures() {
        let word = |length, input, crash| model().verdict(task(length, input, crash)).0;
        assert_eq!(word(100.0, 0.0, 0.0), "thread");
        assert_eq!(word(1000.0, 0.0, 0.0), "either");
        assert_eq!(word(1000.0, 200.0, 0.0), "thread");
        assert_eq!(word(100.0, 0.0, 1e9), "process");
        let mut quick = model();
        quick.pooled.hand_over = 1.0;
        assert_eq!(quick.verdict(task(100.0, 0.0, 0.0)).0, "process");
        let (_, text) = model().verdict(task(1e6, 0.0, 0.0));
        assert!(
            text.starts_with("Take either: a thread costs 1.00 ms a task"),
            "{text}"
        );
    }
}
