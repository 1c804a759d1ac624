//! What a program publishes of its pools, as lines of its box.

use crate::published::{Crash, Pool, Published, Worker, age, called};

/// Workers that are listed; the JSON has all.
const WORKERS: usize = 16;

pub(super) fn lines(published: &Published) -> Vec<String> {
    let mut lines = Vec::new();
    if published.is_stale {
        lines.push("it does not answer: its pools as they were before".into());
    }
    for pool in &published.pools {
        lines.push(pool.title());
        lines.push(format!("  {}", counts(pool)));
        let shown = pool.list.iter().take(WORKERS);
        lines.extend(shown.map(|worker| format!("  {}", say(worker))));
        let more = (pool.list.len().saturating_sub(WORKERS) as u64).saturating_add(pool.left_out);
        if more > 0 {
            lines.push(format!("  and {more} more workers"));
        }
    }
    let tasks = published.spawned.iter().take(WORKERS);
    lines.extend(tasks.map(|task| {
        let process = called(task.id, task.id_inside);
        let age = age(task.for_ns);
        format!("process {process} for one task: {} for {age}", task.task)
    }));
    let more = published.spawned.len().saturating_sub(WORKERS) as u64;
    let more = more.saturating_add(published.spawned_left_out);
    if more > 0 {
        lines.push(format!("and {more} more processes for one task each"));
    }
    for crash in published.crashes.iter().take(4) {
        lines.push(format!(
            "crash: process {} died of {} with {}",
            died(crash),
            crash.cause,
            crash.task
        ));
    }
    lines
}

/// `3 queued, 4 running, 120 done, 1 crashed, 1 restart`: what is zero is left out, but for the
/// first three.
pub(crate) fn counts(pool: &Pool) -> String {
    let stats = &pool.stats;
    let mut words = vec![
        format!("{} queued", stats.queued),
        format!("{} running", stats.running),
        format!("{} done", stats.done),
    ];
    for (count, word) in [
        (stats.panicked, "panicked"),
        (stats.crashed, "crashed"),
        (stats.timed_out, "timed out"),
        (stats.cancelled, "cancelled"),
        (stats.undeliverable, "undeliverable"),
        (stats.closed, "closed"),
        (stats.retried, "retried"),
        (stats.restarts, "workers replaced"),
        (stats.stopped, "workers stopped"),
    ] {
        if count > 0 {
            words.push(format!("{count} {word}"));
        }
    }
    words.join(", ")
}

/// Which process that was.
pub(crate) fn died(crash: &Crash) -> String {
    match crash.pid_inside {
        Some(inside) => format!("{inside} of the program's own pid namespace"),
        None => crash.pid.to_string(),
    }
}

fn say(worker: &Worker) -> String {
    let mut text = format!(
        "worker {} {}",
        called(worker.id, worker.id_inside),
        worker.state
    );
    if let Some(task) = &worker.task {
        text.push_str(&format!(" {task}"));
    }
    if let Some(nanos) = worker.for_ns {
        text.push_str(&format!(" for {}", age(nanos)));
    }
    if worker.ahead > 0 {
        text.push_str(&format!(", {} ahead", worker.ahead));
    }
    text
}
