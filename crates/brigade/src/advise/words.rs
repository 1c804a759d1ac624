//! The sentences of an advice.

use std::time::Duration;

use super::verdict::{TIE, Verdict};
use super::{Alone, Failed, Measured, Together};
use crate::Kind;

/// A part of the time in which tasks wait that is worth a sentence.
const WAITS: f64 = 0.2;

/// The bytes of input and result that are worth a sentence.
const LARGE: u64 = 64 << 10;

pub(super) fn reasons(verdict: Verdict, kind: Kind, found: &Measured) -> Vec<String> {
    let mut reasons = vec![decisive(verdict, found)];
    let by_time = matches!(
        verdict,
        Verdict::Quicker(..) | Verdict::Tie(_) | Verdict::Unclear(..)
    );
    if !by_time {
        reasons.extend(compared(found));
    }
    reasons.push(number_of_workers(found));
    if let Some(panicked) = said(&found.failures.panicked, found, "panicked") {
        reasons.push(format!("{panicked} That is an error in both kinds."));
    }
    let (input, result) = found.carried;
    if input + result >= LARGE {
        reasons.push(format!(
            "To a process {} of input are carried for each task, and {} back.",
            bytes(input),
            bytes(result)
        ));
    }
    if let (Kind::Process, Some(memory)) = (kind, found.worker_memory) {
        reasons.push(format!(
            "Each process has {} of memory of its own.",
            bytes(memory)
        ));
    }
    if let Some(fresh) = found.fresh {
        reasons.push(format!(
            "With a new process for each task, a task takes {} of the pool's time.",
            time(fresh)
        ));
    }
    reasons
}

/// The sentence of what decided.
fn decisive(verdict: Verdict, found: &Measured) -> String {
    match verdict {
        Verdict::Crashes => said(&found.failures.crashed, found, "crashed").unwrap_or_default()
            + " In a thread that is the end of the program; in a process it costs that task.",
        Verdict::CrashesInThreads => {
            let what = match &found.together {
                Some(Together::Crashed(what)) => what,
                _ => "it crashed",
            };
            format!(
                "Each input returned in a process of its own, but when threads of one process ran them at the same time, it ended: {what}. It is not safe in threads."
            )
        }
        Verdict::Hangs => match said(&found.failures.timed_out, found, "ran over the limit of time") {
            Some(hung) => format!("{hung} A process can be killed then, a thread cannot."),
            None => "Each input returned in a process of its own, but when threads of one process ran them at the same time, they did not return. It is not safe in threads.".to_owned(),
        },
        Verdict::Leaks(leaked) => format!(
            "Each task leaves {} of memory behind, and that goes on. Processes can be replaced before it is too much (`recycle_after`, `recycle_above`); in threads the program grows until it ends.",
            bytes(leaked)
        ),
        Verdict::CannotBeCarried => said(&found.failures.undeliverable, found, "could not be carried")
            .unwrap_or_default()
            + " Between threads values are moved.",
        Verdict::NeedsTheProgram => "In a process it gives something else than in this program: it depends on the program's memory (statics that `main` has set), which a process does not have.".to_owned(),
        Verdict::NeedsTasksBefore => "In a worker that has run other tasks it gives something else than in a new one: it depends on what tasks before it have left, which processes do not share.".to_owned(),
        Verdict::Quicker(Kind::Thread, _) | Verdict::Tie(_) | Verdict::Quicker(Kind::Process, _) => {
            compared(found).unwrap_or_default()
        }
        Verdict::Unclear(lower, upper) => unclear(found, lower, upper).unwrap_or_default(),
        Verdict::Unknown => match (&found.together, nothing_returned(found)) {
            (Some(Together::Unknown(why)), _) => format!(
                "Threads could not be tried in a process of their own ({why}), and so were not tried here: a process is safe whatever it does."
            ),
            (_, true) => "No input returned, so there is nothing to compare: a process is safe whatever it does.".to_owned(),
            _ => "Threads were not measured: a process is safe whatever it does.".to_owned(),
        },
    }
}

fn nothing_returned(found: &Measured) -> bool {
    found.failures.panicked.count == found.inputs
}

/// "2 of 10 inputs crashed: …"
fn said(failed: &Failed, found: &Measured, did: &str) -> Option<String> {
    let first = failed.first.as_ref()?;
    let (count, all) = (failed.count, found.inputs);
    Some(format!("{count} of {all} inputs {did}: {first}."))
}

/// Threads beside processes, by the clock.
fn compared(found: &Measured) -> Option<String> {
    let (threads, processes, ratio) = (found.threads?, found.processes?, found.ratio?);
    let times = if ratio >= 1.0 { ratio } else { 1.0 / ratio };
    let said = if times <= TIE {
        "about the same"
    } else if ratio > 1.0 {
        "threads are quicker"
    } else {
        "processes are quicker"
    };
    Some(format!(
        "A task takes {} of the pool's time in threads, {} in processes: {said} ({times:.2} times).",
        time(threads),
        time(processes)
    ))
}

/// Threads beside processes, where each was quicker at times.
fn unclear(found: &Measured, lower: f64, upper: f64) -> Option<String> {
    Some(format!(
        "A task takes {} of the pool's time in threads, {} in processes, but the rounds do not agree (half of them have processes between {lower:.2} and {upper:.2} times as long as threads): either may be quicker. Where the machine has nothing else to do they may agree.",
        time(found.threads?),
        time(found.processes?)
    ))
}

fn number_of_workers(found: &Measured) -> String {
    let processors = found.processors;
    match found.alone {
        Some(Alone { waits, .. }) if waits >= WAITS => format!(
            "It waits {:.0} % of its time (for files, the network, a lock, a sleep): it is I/O-bound, and more workers than the {processors} processors pay.",
            waits * 100.0
        ),
        Some(_) => format!(
            "It computes nearly all of its time: it is CPU-bound, and more workers than the {processors} processors do not help."
        ),
        None => format!(
            "As many workers as there are processors ({processors}): how much it waits was not measured."
        ),
    }
}

pub(super) fn would_change(verdict: Verdict, kind: Kind, found: &Measured) -> Vec<String> {
    let mut changes = Vec::new();
    match verdict {
        Verdict::Crashes | Verdict::Hangs => changes.push(
            "If that is cured, ask again: it was not run in threads of this program, which would not have been safe.".to_owned(),
        ),
        Verdict::CrashesInThreads => changes.push(
            "If it is made safe for threads, ask again.".to_owned(),
        ),
        Verdict::Leaks(_) => changes.push(
            "If the leak is cured, ask again: it was not run in threads of this program, which would have kept what it leaves.".to_owned(),
        ),
        Verdict::CannotBeCarried => changes.push(
            "With an input and a result that serde can carry, processes can be tried.".to_owned(),
        ),
        Verdict::NeedsTheProgram => changes.push(
            "If it is given in its input what it needs (or an initializer computes it in each worker), processes can be tried.".to_owned(),
        ),
        Verdict::NeedsTasksBefore => changes.push(
            "If what it keeps does not matter, or is in a `Shared` region, processes can be tried.".to_owned(),
        ),
        Verdict::Quicker(Kind::Process, _) => changes.push(
            "Threads are held up here by what they share (the pool's queue, an allocator, a lock); a longer task, or one that shares less, costs the same in both, and threads take less memory.".to_owned(),
        ),
        Verdict::Quicker(Kind::Thread, _) => changes.extend(break_even(found)),
        Verdict::Tie(_) | Verdict::Unclear(..) | Verdict::Unknown => {}
    }
    if kind == Kind::Thread && !matches!(verdict, Verdict::CannotBeCarried) {
        let price = match found.ratio {
            Some(ratio) if ratio >= 2.0 => format!(" They take {ratio:.1} times as long here."),
            Some(ratio) if ratio >= 1.01 => {
                format!(" They cost {:.0} % more here.", (ratio - 1.0) * 100.0)
            }
            _ => String::new(),
        };
        changes.push(format!(
            "If an input may crash it, hang it, or come from an enemy: processes.{price}"
        ));
    }
    changes
}

/// How long a task would have to be, or how small its input, for processes to cost the same.
fn break_even(found: &Measured) -> Option<String> {
    let (threads, processes) = (found.threads?, found.processes?);
    let more = processes.saturating_sub(threads);
    // Of the pool's time: `threads + more <= TIE * threads`.
    let long = more.mul_f64(1.0 / (TIE - 1.0)) * found.workers.max(1) as u32;
    let (input, result) = found.carried;
    let advice = if input + result >= LARGE {
        ", or what is large went in a `Shared` region, which is passed and not copied"
    } else {
        ""
    };
    Some(format!(
        "A process costs {} more for each task: were a task longer than some {}{advice}, that would be less than 10 %.",
        time(more),
        time(long)
    ))
}

fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

fn bytes(bytes: u64) -> String {
    let n = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", n / 1024.0),
        _ => format!("{:.1} MiB", n / 1_048_576.0),
    }
}
