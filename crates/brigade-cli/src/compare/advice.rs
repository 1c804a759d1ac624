//! Row 10: when to use which, from the figures of the rows above.
//!
//! The break-even: a task of length L costs L + T where a task that does nothing costs T. A process
//! costs less than 5 % more than a thread when (L + P) < 1.05 × (L + T), which is when L > (P −
//! 1.05 × T) / 0.05.
//!
//! T and P are those of a pool, submitted and joined one at a time: who has many tasks has a pool.
//! Beside it, the same for a fresh worker for each task.

use super::format::Unit;
use super::row::{Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{Outcome, Verdict};
use super::{Context, Experiment, communication, concurrency, creation, pooled};
use crate::fail::Failure;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "advice",
    title: "When to use which",
    claim: "Use threads for many small tasks that share much data. Use processes for tasks that must not harm each other.",
    needs: &[
        "creation",
        "resources",
        "communication",
        "crash",
        "concurrency",
    ],
    run,
};

/// What a process may cost more.
pub(super) const MARGIN: f64 = 0.05;

/// Nanoseconds a task must last for one that costs `process` in addition to cost under 5 % more
/// than one that costs `thread`.
fn break_even(process: f64, thread: f64) -> f64 {
    ((process - (1.0 + MARGIN) * thread) / MARGIN).max(0.0)
}

/// The range: the process's worst against the thread's best, and the other way round.
fn break_even_summary(process: Summary, thread: Summary) -> Summary {
    Summary {
        median: break_even(process.median, thread.median),
        lower: break_even(process.lower, thread.upper),
        upper: break_even(process.upper, thread.lower),
        samples: process.samples.min(thread.samples),
    }
}

/// The two numbers of a figure of another row.
fn both(context: &Context<'_>, row: &str, figure: &str) -> Result<(Summary, Summary), Failure> {
    let figure = context.figure(row, figure)?;
    match (figure.thread.summary(), figure.process.summary()) {
        (Some(thread), Some(process)) => Ok((thread, process)),
        _ => Err(Failure::new(format!(
            "the row {row} has no figures for {}",
            figure.label
        ))),
    }
}

/// Both break-evens.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    /// In workers that are there already.
    pooled: Summary,
    /// In a worker of its own.
    fresh: Summary,
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let (pooled_thread, pooled_process) = both(context, creation::EXPERIMENT.id, creation::POOLED)?;
    let (thread, process) = both(context, creation::EXPERIMENT.id, creation::SPAWN)?;
    let lengths = Lengths {
        pooled: break_even_summary(pooled_process, pooled_thread),
        fresh: break_even_summary(process, thread),
    };
    let figure = |id, label: String, length| {
        let length = Value::Measured(length);
        Figure::new(id, label, Unit::Nanoseconds, Value::None, length)
    };
    let mut figures = vec![
        figure(
            "break-even-pooled",
            format!("break-even, pool of {}", pooled::WORKERS),
            lengths.pooled,
        ),
        figure(
            "break-even-fresh",
            "break-even, fresh process".to_owned(),
            lengths.fresh,
        ),
    ];
    if let Some(program) = context
        .figure(creation::EXPERIMENT.id, creation::PROGRAM)?
        .process
        .summary()
    {
        figures.push(figure(
            "break-even-program",
            "break-even, whole program".to_owned(),
            break_even_summary(program, thread),
        ));
    }
    Ok(Measured {
        done: format!(
            "From the rows above: how long a task must last for a process to cost under 5 % more than a thread. In a pool, by \
             what a task costs that is submitted and joined ({} with threads, {} with processes): on this the verdict rests. \
             For comparison: when each task gets a fresh worker, or a whole program.",
            Unit::Nanoseconds.one(pooled_thread.median),
            Unit::Nanoseconds.one(pooled_process.median),
        ),
        figures,
        views: Some(views([pooled_thread, pooled_process, process], lengths)),
        verdict: verdict(lengths),
        notes: rules(context, lengths),
    })
}

fn views([thread, pooled, fresh]: [Summary; 3], lengths: Lengths) -> Views {
    let [thread, pooled, fresh] =
        [thread, pooled, fresh].map(|cost| Unit::Nanoseconds.one(cost.median));
    let from = Unit::Nanoseconds.one(lengths.pooled.median);
    Views {
        thread: if lengths.pooled.median == 0.0 {
            format!(
                "a task costs {thread} more than its own work in a pool of threads, and that is no reason for a thread here."
            )
        } else {
            format!(
                "a task costs {thread} more than its own work in a pool of threads: the cheaper for tasks shorter than {from}."
            )
        },
        process: format!(
            "a task costs {pooled} more than its own work in a pool of processes, {fresh} in a process of its own; and its crash is contained."
        ),
    }
}

fn verdict(lengths: Lengths) -> Verdict {
    let pooled = lengths.pooled;
    if pooled.median == 0.0 {
        let mut evidence =
            "in a pool, a process costs no more than 5 % over a thread, whatever the task"
                .to_owned();
        if pooled.upper > 0.0 {
            let most = Unit::Nanoseconds.one(pooled.upper);
            evidence.push_str(&format!("; allowing for noise, from {most} on"));
        }
        return Verdict {
            outcome: Outcome::DoesNotHold,
            on: None,
            evidence,
        };
    }
    let evidence = format!(
        "in a pool, from {} on, a process costs under 5 % more",
        Unit::Nanoseconds.summary(&pooled)
    );
    Verdict {
        outcome: Outcome::Depends,
        on: Some("the length of the task".to_owned()),
        evidence,
    }
}

/// The rules for this machine. A rule whose row could not be measured is left out.
fn rules(context: &Context<'_>, lengths: Lengths) -> Vec<String> {
    let mut rules = Vec::new();
    let [in_pool, fresh] =
        [lengths.pooled, lengths.fresh].map(|length| Unit::Nanoseconds.one(length.median));
    rules.push(if lengths.pooled.median == 0.0 {
        "Any length, in a pool, one task at a time: speed is no reason against a process here.".to_owned()
    } else {
        format!("A task of {in_pool} or more, in a pool: take processes whenever a crash would hurt. A shorter one: threads, or put several in one task.")
    });
    if lengths.fresh.median > 0.0 {
        rules.push(format!(
            "A fresh process for each task, for what must not meet the tasks before it: from {fresh} on."
        ));
    }
    if let Ok((thread, process)) = both(
        context,
        concurrency::EXPERIMENT.id,
        concurrency::POOLED_RATE,
    ) {
        let [thread, process] = [thread, process].map(|rate| Unit::PerSecond.one(rate.median));
        rules.push(format!(
            "Many tiny tasks at once: a map over a pool of {} hands out {thread} to threads, {process} to processes.",
            pooled::WORKERS
        ));
    }
    if crash_is_contained(context) {
        rules.push("Code that may crash (foreign libraries, unsafe code, hostile input): a process, however short the task.".into());
    }
    if let Ok((thread, process)) = both(
        context,
        communication::EXPERIMENT.id,
        communication::ROUND_TRIP,
    ) {
        let (thread, process) = (
            Unit::Nanoseconds.one(thread.median),
            Unit::Nanoseconds.one(process.median),
        );
        let pipe = both(context, communication::EXPERIMENT.id, communication::PIPE).ok();
        let pipe =
            pipe.map(|(_, pipe)| format!(", {} over a pipe", Unit::Nanoseconds.one(pipe.median)));
        rules.push(format!(
            "Workers that talk often: a channel's round trip takes {thread} between threads, {process} between processes over \
             shared memory{}.",
            pipe.unwrap_or_default()
        ));
    }
    if let Ok((thread, process)) = both(context, "resources", "memory") {
        let (thread, process) = (
            Unit::Bytes.one(thread.median),
            Unit::Bytes.one(process.median),
        );
        rules.push(format!(
            "Thousands of workers at once: {thread} each as threads, {process} each as processes."
        ));
    }
    rules
}

/// Did every process of the crash row die alone?
fn crash_is_contained(context: &Context<'_>) -> bool {
    [
        "segfault",
        "abort",
        "stack-overflow",
        "exit",
        "out-of-memory",
    ]
    .iter()
    .all(|fault| {
        let figure = context.figure("crash", fault);
        figure.is_ok_and(|figure| match &figure.process {
            Value::Fact {
                data: Some(data), ..
            } => data["contained"] == true,
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::super::verdict;
    use super::*;

    #[test]
    fn at_the_break_even_a_process_costs_five_percent_more() {
        let (process, thread) = (200_000.0, 50_000.0);
        let length = break_even(process, thread);
        let more = (length + process) / (length + thread);
        assert!((more - 1.05).abs() < 1e-9, "{more}");
    }

    #[test]
    fn a_process_that_is_no_dearer_needs_no_length() {
        assert_eq!(break_even(50_000.0, 50_000.0), 0.0);
        assert_eq!(break_even(10.0, 50_000.0), 0.0);
        let free = break_even_summary(Summary::exact(1.0), Summary::exact(2.0));
        let fresh = Summary::exact(7e6);
        let judged = |pooled| verdict(Lengths { pooled, fresh });
        assert_eq!(judged(free).outcome, Outcome::DoesNotHold);
        assert!(!judged(free).evidence.contains("noise"));
        let noisy = Summary {
            upper: 20_000.0,
            ..free
        };
        assert_eq!(judged(noisy).outcome, Outcome::DoesNotHold);
        assert!(judged(noisy).evidence.contains("20 µs"));
    }

    /// A row with this figure.
    fn row(experiment: &Experiment, figures: Vec<Figure>) -> Row {
        Row {
            number: 1,
            id: experiment.id.into(),
            title: experiment.title.into(),
            claim: experiment.claim.into(),
            result: Ok(Measured {
                done: String::new(),
                figures,
                views: None,
                verdict: verdict::of_facts(&[true], ""),
                notes: Vec::new(),
            }),
        }
    }

    fn costs(id: &'static str, unit: Unit, thread: f64, process: f64) -> Figure {
        let [thread, process] = [thread, process].map(|cost| Value::Measured(Summary::exact(cost)));
        Figure::new(id, id, unit, thread, process)
    }

    fn creation_row(pooled: Figure) -> Row {
        let nanoseconds = Unit::Nanoseconds;
        let figures = vec![
            costs(creation::SPAWN, nanoseconds, 50_000.0, 200_000.0),
            costs(creation::PROGRAM, nanoseconds, 0.0, 1e6),
            pooled,
        ];
        row(&creation::EXPERIMENT, figures)
    }

    #[test]
    fn the_verdict_rests_on_the_pool_and_the_fresh_worker_stands_beside_it() {
        let pooled = costs(creation::POOLED, Unit::Nanoseconds, 4_000.0, 5_000.0);
        let rate = costs(concurrency::POOLED_RATE, Unit::PerSecond, 4e6, 2e6);
        let earlier = [
            creation_row(pooled),
            row(&concurrency::EXPERIMENT, vec![rate]),
        ];
        let context = Context {
            quick: true,
            earlier: &earlier,
        };
        let measured = run(&context).unwrap();
        let length = |id: &str| {
            let figure = measured.figure(id).unwrap();
            figure.process.summary().unwrap().median
        };
        // (5 − 1.05 × 4) / 0.05 and (200 − 1.05 × 50) / 0.05 microseconds.
        assert!((length("break-even-pooled") - 16_000.0).abs() < 1e-3);
        assert!((length("break-even-fresh") - 2_950_000.0).abs() < 1e-3);
        assert!(length("break-even-program") > length("break-even-fresh"));
        assert_eq!(measured.verdict.outcome, Outcome::Depends);
        let text = measured.verdict.text();
        assert!(text.contains("in a pool, from 16 µs on"), "{text}");
        let notes = measured.notes.join("\n");
        assert!(notes.contains("A task of 16 µs or more"), "{notes}");
        assert!(notes.contains("from 2.95 ms on"), "{notes}");
        assert!(notes.contains("2 M/s to processes"), "{notes}");
    }

    #[test]
    fn without_the_cost_in_a_pool_there_is_no_advice() {
        let missing = Value::Missing(Failure::new("no pool"));
        let pooled = Figure::new(
            creation::POOLED,
            "a pooled task",
            Unit::Nanoseconds,
            missing.clone(),
            missing,
        );
        let earlier = [creation_row(pooled)];
        let context = Context {
            quick: true,
            earlier: &earlier,
        };
        let reason = run(&context).unwrap_err().to_string();
        assert!(reason.contains("a pooled task"), "{reason}");
    }

    #[test]
    fn the_range_contains_the_median() {
        let process = Summary {
            median: 200.0,
            lower: 180.0,
            upper: 260.0,
            samples: 9,
        };
        let thread = Summary {
            median: 50.0,
            lower: 45.0,
            upper: 60.0,
            samples: 7,
        };
        let length = break_even_summary(process, thread);
        assert!(length.lower < length.median && length.median < length.upper);
        assert_eq!(length.samples, 7);
    }
}
