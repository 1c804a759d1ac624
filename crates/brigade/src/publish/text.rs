//! What is published, as JSON: README.md has the fields.
//!
//! There is room for so much, and no more: what does not fit is left out, and counted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{PoolPicture, TaskPicture, WorkerPicture, last_of, lock, pools};
use crate::PoolStats;
use crate::task::contain::attempt;
use crate::task::name::TaskName;
use crate::worker::process::host::client::{LiveWorker, live_workers};

/// Bytes of a name of a task, or of a pool.
const MOST_NAME: usize = 200;
/// What is kept free for the end of the text.
const TAIL: usize = 4 << 10;
/// Names of functions that are kept.
const MOST_NAMES: usize = 1024;
/// How long the fork servers have to tell what workers have written.
const STDERR_WITHIN: Duration = Duration::from_millis(25);
/// The most pools that the text has.
const MOST_POOLS: usize = 64;

/// Writes one text after another, and keeps the names of functions, which take long to find.
#[derive(Default)]
pub(super) struct Writer {
    /// By the address of the function, and of the place where it was started.
    names: HashMap<(usize, usize), String>,
}

struct StatsText<'a>(&'a PoolStats);

impl Writer {
    /// The state of all pools, in at most `most` bytes.
    pub(super) fn write(&mut self, most: usize) -> Vec<u8> {
        let limit = most.saturating_sub(TAIL);
        let mut out = String::with_capacity(4 << 10);
        let _ = write!(
            out,
            r#"{{"brigade":"{}","written_unix_ms":{},"pools":["#,
            env!("CARGO_PKG_VERSION"),
            unix_ms(SystemTime::now())
        );
        let mut left_out = 0;
        let pools = pools();
        // Each pool has a part of the room, so that a large one does not take another's.
        let shown = pools.len().min(MOST_POOLS);
        let each = (limit - limit / 4) / shown.max(1);
        for (at, (number, pool)) in pools.iter().enumerate() {
            if at >= MOST_POOLS {
                left_out += 1;
                continue;
            }
            // What a pool has to do may run code of the program's.
            let Some(picture) = attempt(|| pool.picture()) else {
                left_out += 1;
                continue;
            };
            comma(&mut out);
            self.pool(&mut out, *number, &picture, each);
        }
        let (servers, workers) = live_workers(Instant::now() + STDERR_WITHIN);
        out.push_str(r#"],"fork_servers":["#);
        for pid in servers {
            comma(&mut out);
            let _ = write!(out, "{pid}");
        }
        // Crashes, and what workers have written, find room behind them.
        spawned(&mut out, &workers, limit - limit / 8);
        left_out += crashes(&mut out, limit);
        stderr(&mut out, &workers, limit);
        let _ = write!(out, r#","left_out":{left_out}}}"#);
        out.into_bytes()
    }

    fn pool(&mut self, out: &mut String, number: u64, pool: &PoolPicture, room: usize) {
        let until = out.len() + room;
        let _ = write!(out, r#"{{"number":{number},"kind":"{}","name":"#, pool.kind);
        match &pool.name {
            Some(name) => text(out, shorten(name)),
            None => out.push_str("null"),
        }
        let _ = write!(out, r#","workers":{},"fork_server":"#, pool.stats.workers);
        match pool.fork_server {
            Some(pid) => {
                let _ = write!(out, "{pid}");
            }
            None => out.push_str("null"),
        }
        out.push_str(r#","stats":{"#);
        StatsText(&pool.stats).write(out);
        out.push_str(r#"},"list":["#);
        let mut left_out = 0;
        for worker in &pool.workers {
            let before = out.len();
            comma(out);
            self.worker(out, worker);
            if out.len() > until {
                out.truncate(before);
                left_out += 1;
            }
        }
        let _ = write!(out, r#"],"left_out":{left_out}}}"#);
    }

    fn worker(&mut self, out: &mut String, worker: &WorkerPicture) {
        let WorkerPicture {
            id, state, ahead, ..
        } = worker;
        let _ = write!(
            out,
            r#"{{"id":{id},"state":"{state}","ahead":{ahead},"task":"#
        );
        match &worker.task {
            Some(task) => {
                let name = self.name(task);
                text(out, name);
                let _ = write!(out, r#","for_ns":{}}}"#, task.since.as_nanos());
            }
            None => out.push_str("null,\"for_ns\":null}"),
        }
    }

    fn name(&mut self, task: &TaskPicture) -> &str {
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        let key = (task.function, std::ptr::from_ref(task.call_site).addr());
        self.names.entry(key).or_insert_with(|| {
            let name = TaskName::at(task.function, None, task.call_site);
            shorten(name.get()).to_owned()
        })
    }
}

impl StatsText<'_> {
    fn write(&self, out: &mut String) {
        let PoolStats {
            stopped,
            submitted,
            queued,
            running,
            done,
            panicked,
            crashed,
            timed_out,
            cancelled,
            undeliverable,
            closed,
            retried,
            restarts,
            not_ready,
            recycled,
            busy,
            bytes_in,
            bytes_out,
            context_bytes,
            latencies,
            ..
        } = self.0;
        let crashed: u64 = crashed.iter().map(|(_, count)| count).sum();
        let quantile = |part| latencies.quantile(part).map_or(0, nanos);
        let all = [
            ("stopped", *stopped as u64),
            ("submitted", *submitted),
            ("queued", *queued),
            ("running", *running),
            ("done", *done),
            ("panicked", *panicked),
            ("crashed", crashed),
            ("timed_out", *timed_out),
            ("cancelled", *cancelled),
            ("undeliverable", *undeliverable),
            ("closed", *closed),
            ("retried", *retried),
            ("restarts", *restarts),
            ("not_ready", *not_ready),
            ("recycled", *recycled),
            ("busy_ns", nanos(*busy)),
            ("bytes_in", *bytes_in),
            ("bytes_out", *bytes_out),
            ("context_bytes", *context_bytes),
            ("p50_ns", quantile(0.5)),
            ("p99_ns", quantile(0.99)),
            ("longest_ns", nanos(latencies.longest())),
        ];
        for (name, value) in all {
            comma(out);
            let _ = write!(out, r#""{name}":{value}"#);
        }
    }
}

/// Writes an element of a list, unless it would end beyond `until`. Says whether it did.
fn element(out: &mut String, until: usize, write: impl FnOnce(&mut String)) -> bool {
    let before = out.len();
    comma(out);
    write(out);
    let fits = out.len() <= until;
    if !fits {
        out.truncate(before);
    }
    fits
}

/// The tasks that have a process of their own.
fn spawned(out: &mut String, workers: &[LiveWorker], until: usize) {
    let mut left_out = 0;
    out.push_str(r#"],"spawned":["#);
    let tasks = workers
        .iter()
        .filter_map(|worker| Some((worker.pid, worker.task.as_ref()?)));
    for (pid, (name, since)) in tasks {
        let fits = element(out, until, |out| {
            let _ = write!(out, r#"{{"id":{pid},"for_ns":{},"task":"#, nanos(*since));
            text(out, shorten(name.get()));
            out.push('}');
        });
        left_out += u32::from(!fits);
    }
    let _ = write!(out, r#"],"spawned_left_out":{left_out}"#);
}

/// Returns how many were left out.
fn crashes(out: &mut String, until: usize) -> usize {
    let mut left_out = 0;
    out.push_str(r#","crashes":["#);
    for crash in lock(&super::REGISTRY.get().crashes).iter() {
        let fits = element(out, until, |out| {
            let _ = write!(
                out,
                r#"{{"pool":{},"pid":{},"cause":"#,
                crash.pool, crash.pid
            );
            text(out, &crash.cause);
            out.push_str(r#","task":"#);
            text(out, shorten(&crash.task));
            let _ = write!(out, r#","unix_ms":{},"stderr":"#, unix_ms(crash.at));
            text(out, &crash.stderr);
            out.push('}');
        });
        left_out += usize::from(!fits);
    }
    left_out
}

/// The last lines that workers have written.
fn stderr(out: &mut String, workers: &[LiveWorker], until: usize) {
    let mut left_out = 0;
    out.push_str(r#"],"stderr":["#);
    for worker in workers.iter().filter(|worker| !worker.stderr.is_empty()) {
        let fits = element(out, until, |out| {
            let _ = write!(out, r#"{{"id":{},"text":"#, worker.pid);
            text(out, &last_of(&worker.stderr));
            out.push('}');
        });
        left_out += u32::from(!fits);
    }
    let _ = write!(out, r#"],"stderr_left_out":{left_out}"#);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn unix_ms(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

/// Between two elements.
fn comma(out: &mut String) {
    if !out.ends_with(['[', '{']) {
        out.push(',');
    }
}

fn shorten(name: &str) -> &str {
    let end = (0..=MOST_NAME.min(name.len()))
        .rev()
        .find(|&at| name.is_char_boundary(at));
    &name[..end.unwrap_or(0)]
}

/// A string of JSON.
fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::Kind;
    use crate::publish::PoolSource;

    /// A pool with more workers than there is room for, and names that need escaping.
    struct Large(usize);

    impl PoolSource for Large {
        fn picture(&self) -> PoolPicture {
            let task = TaskPicture {
                function: 16,
                call_site: Location::caller(),
                since: Duration::from_secs(2),
            };
            PoolPicture {
                kind: Kind::Process,
                name: Some("a \"pool\"\\\n\u{1}ü".repeat(50).into()),
                fork_server: Some(7),
                stats: PoolStats::default(),
                workers: (0..self.0)
                    .map(|id| WorkerPicture {
                        id: id as u32,
                        state: "running",
                        task: Some(task),
                        ahead: 3,
                    })
                    .collect(),
            }
        }
    }

    #[test]
    fn there_is_never_more_than_there_is_room_for() {
        let large = std::sync::Arc::new(Large(10_000));
        let weak = std::sync::Arc::downgrade(&large);
        let ours = crate::publish::register(weak);
        let text = Writer::default().write(64 << 10);
        assert!(text.len() <= 64 << 10, "{}", text.len());
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pools = value["pools"].as_array().unwrap();
        let pool = pools.iter().find(|pool| pool["number"] == ours.number());
        let pool = pool.unwrap();
        let list = pool["list"].as_array().unwrap();
        assert!(list.len() > 20);
        assert_eq!(pool["left_out"], 10_000 - list.len());
        assert!(
            pool["name"]
                .as_str()
                .unwrap()
                .starts_with("a \"pool\"\\\n\u{1}ü")
        );
        drop(ours);
        let text = Writer::default().write(64 << 10);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pools = value["pools"].as_array().unwrap();
        assert!(pools.iter().all(|pool| pool["left_out"] == 0));
    }

    #[test]
    fn what_was_written_last_is_whole_lines_where_it_can_be() {
        assert_eq!(last_of(b"one\ntwo"), "one\ntwo");
        let lines = "0123456789\n".repeat(100);
        assert_eq!(last_of(lines.as_bytes()), "0123456789\n".repeat(46));
        let long = "x".repeat(5000) + "\n";
        assert_eq!(last_of(long.as_bytes()).len(), crate::publish::MOST_STDERR);
        assert_eq!(last_of(b"\xff\n"), "\u{fffd}\n");
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shorten("abc"), "abc");
        assert_eq!(shorten(&"ü".repeat(150)).len(), 200);
        assert_eq!(shorten(&format!("a{}", "ü".repeat(150))).len(), 199);
    }
}
