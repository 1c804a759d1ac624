//! Row 1: whose memory is it?

use std::sync::atomic::{AtomicU64, Ordering};

use brigade::Kind;

use super::format::Unit;
use super::row::{Figure, Measured, Value, Views};
use super::stats::Summary;
use super::{Context, Experiment, verdict};
use crate::fail::{Failure, OrFail as _};
use crate::helper::{CrowdReport, launch};
use crate::workers::{KINDS, collect};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "memory",
    title: "Memory",
    claim: "Threads share the memory of their program. A process has an address space of its own: no other process sees what it writes.",
    needs: &[],
    run,
};

/// The variable of the program that the tasks write to.
static VARIABLE: AtomicU64 = AtomicU64::new(0);

/// A task: writes the variable, and says what it reads there afterwards.
fn write(value: u64) -> u64 {
    VARIABLE.store(value, Ordering::SeqCst);
    VARIABLE.load(Ordering::SeqCst)
}

/// What the worker and what the host found in the variable after the worker wrote 42.
fn who_sees(kind: Kind) -> Result<(u64, u64), Failure> {
    VARIABLE.store(7, Ordering::SeqCst);
    let handle = kind
        .spawn(write, 42)
        .or_fail(&format!("starting a {kind}"))?;
    let worker = collect(handle, "writing a variable")?;
    Ok((worker, VARIABLE.load(Ordering::SeqCst)))
}

/// Bytes that belong to an idle worker alone.
fn private(kind: Kind, count: usize) -> Result<Summary, Failure> {
    let arguments = [
        "crowd".to_owned(),
        kind.to_string(),
        count.to_string(),
        "gate".to_owned(),
    ];
    Summary::of(&launch::ask::<CrowdReport>(&arguments)?.private)
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let count = context.pick(64, 16);
    let mut seen = Vec::new();
    let mut bytes = Vec::new();
    for kind in KINDS {
        seen.push(who_sees(kind)?);
        bytes.push(Value::from_result(private(kind, count)));
    }
    let [(by_thread, after_thread), (by_process, after_process)] = [seen[0], seen[1]];
    let process_bytes = bytes.pop().unwrap_or(Value::None);
    let thread_bytes = bytes.pop().unwrap_or(Value::None);
    Ok(Measured {
        done: format!(
            "A task writes 42 to a variable that holds 7, and reads it; then the host reads it. {count} idle workers of each \
             kind, in a fresh program, have their memory counted."
        ),
        figures: vec![
            Figure::facts("worker-reads", "the worker then reads", number(by_thread), number(by_process)),
            Figure::facts("host-reads", "the host then reads", number(after_thread), number(after_process)),
            Figure::new("private", "private memory, idle worker", Unit::Bytes, thread_bytes, process_bytes),
        ],
        verdict: verdict::of_facts(
            &[by_thread == 42 && after_thread == 42, by_process == 42 && after_process == 7],
            "the kind of worker",
        ),
        views: Some(Views { thread: view(after_thread), process: view(after_process) }),
        notes: vec![
            "Private is what the worker's end gives back. A thread's figure is an average: its pages are among the host's.".into(),
        ],
    })
}

/// `after`: what the host read after the worker wrote.
fn view(after: u64) -> String {
    if after == 42 {
        format!("the host reads {after}: it was the host's own variable that the worker wrote.")
    } else {
        format!("the host still reads {after}: the worker wrote to a copy of its own.")
    }
}

fn number(value: u64) -> Value {
    Value::Fact {
        text: value.to_string(),
        data: Some(value.into()),
    }
}
