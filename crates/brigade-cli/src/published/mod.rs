//! What a program that uses Brigade publishes of its pools (`brigade::publish`), read from its
//! memory. It may be any program's, with anything in it.
//!
//! - reader: the memory, and how the program is asked for a new text
//! - numbers: the processes of a program that is in a pid namespace of its own
//! - this file: the text

pub(crate) mod numbers;
mod reader;

use serde::{Deserialize, Serialize};

use crate::inspect::escape::visible;

pub(crate) use numbers::{Namespace, Numbers, called};
pub(crate) use reader::Reader;

/// Of these there are no more, whatever the text says.
const MOST_POOLS: usize = 64;
const MOST_WORKERS: usize = 4096;
const MOST_CRASHES: usize = 64;
/// Bytes of a text of the program's that are shown.
const MOST_TEXT: usize = 1024;

/// All that a program publishes. Texts are harmless to a terminal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Published {
    /// The version of the library.
    pub(crate) brigade: String,
    pub(crate) pools: Vec<Pool>,
    pub(crate) fork_servers: Vec<u32>,
    /// Tasks that have a process of their own.
    pub(crate) spawned: Vec<Spawned>,
    pub(crate) spawned_left_out: u64,
    pub(crate) crashes: Vec<Crash>,
    /// What processes have written to stderr last.
    pub(crate) stderr: Vec<Written>,
    pub(crate) stderr_left_out: u64,
    /// Pools and crashes for which there was no room.
    pub(crate) left_out: u64,
    /// The program did not answer: this is what it wrote before.
    #[serde(skip_deserializing)]
    pub(crate) is_stale: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    pub(crate) number: u64,
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) workers: u64,
    pub(crate) fork_server: Option<u32>,
    pub(crate) stats: Stats,
    pub(crate) list: Vec<Worker>,
    /// Workers for which there was no room.
    pub(crate) left_out: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    pub(crate) submitted: u64,
    pub(crate) queued: u64,
    pub(crate) running: u64,
    pub(crate) done: u64,
    pub(crate) panicked: u64,
    pub(crate) crashed: u64,
    pub(crate) timed_out: u64,
    pub(crate) cancelled: u64,
    pub(crate) undeliverable: u64,
    pub(crate) closed: u64,
    pub(crate) retried: u64,
    pub(crate) restarts: u64,
    pub(crate) recycled: u64,
    pub(crate) not_ready: u64,
    pub(crate) stopped: u64,
    pub(crate) busy_ns: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) longest_ns: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    /// The worker's process, or its thread; 0 if it has none yet, or none that is seen here.
    pub(crate) id: u32,
    /// What the program calls it, where the program is in a pid namespace of its own.
    #[serde(skip_deserializing)]
    pub(crate) id_inside: Option<u32>,
    pub(crate) state: String,
    pub(crate) task: Option<String>,
    pub(crate) for_ns: Option<u64>,
    pub(crate) ahead: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Crash {
    pub(crate) pool: u64,
    /// 0: its number here is not known.
    pub(crate) pid: u32,
    #[serde(skip_deserializing)]
    pub(crate) pid_inside: Option<u32>,
    pub(crate) cause: String,
    pub(crate) task: String,
    pub(crate) unix_ms: u64,
    pub(crate) stderr: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Spawned {
    pub(crate) id: u32,
    #[serde(skip_deserializing)]
    pub(crate) id_inside: Option<u32>,
    pub(crate) task: String,
    pub(crate) for_ns: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    pub(crate) id: u32,
    #[serde(skip_deserializing)]
    pub(crate) id_inside: Option<u32>,
    pub(crate) text: String,
}

impl Published {
    /// Its fork servers, those of its pools among them.
    pub(crate) fn servers(&self) -> Vec<u32> {
        let of_pools = self.pools.iter().filter_map(|pool| pool.fork_server);
        let mut servers: Vec<u32> = of_pools.chain(self.fork_servers.iter().copied()).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// What this process has written to stderr last.
    pub(crate) fn stderr_of(&self, pid: u32) -> Option<&str> {
        let mut all = self.stderr.iter();
        let written = all.find(|written| written.id == pid && pid != 0)?;
        Some(&written.text)
    }

    /// Whether each of its workers is in this, beside those that were given nothing yet.
    pub(crate) fn has_all(&self) -> bool {
        let left_out = self.left_out + self.spawned_left_out;
        let mut pools = self.pools.iter();
        !self.is_stale && left_out == 0 && pools.all(|pool| pool.left_out == 0)
    }

    /// Reads the text, and makes it harmless.
    fn parse(text: &[u8]) -> Result<Published, String> {
        let mut published: Published = serde_json::from_slice(text)
            .map_err(|error| format!("what it publishes is not as expected: {error}"))?;
        published.pools.truncate(MOST_POOLS);
        published.crashes.truncate(MOST_CRASHES);
        published.fork_servers.truncate(MOST_POOLS);
        published.spawned.truncate(MOST_WORKERS);
        published.stderr.truncate(MOST_WORKERS);
        for task in &mut published.spawned {
            tame(&mut task.task);
        }
        for written in &mut published.stderr {
            tame_lines(&mut written.text);
        }
        tame(&mut published.brigade);
        for pool in &mut published.pools {
            pool.list.truncate(MOST_WORKERS);
            tame(&mut pool.kind);
            pool.name.iter_mut().for_each(tame);
            for worker in &mut pool.list {
                tame(&mut worker.state);
                worker.task.iter_mut().for_each(tame);
            }
        }
        for crash in &mut published.crashes {
            tame(&mut crash.cause);
            tame(&mut crash.task);
            tame_lines(&mut crash.stderr);
        }
        Ok(published)
    }
}

fn tame(text: &mut String) {
    let end = (0..=MOST_TEXT.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    *text = visible(text);
}

/// Lines stay lines, and it is the last of them that count.
fn tame_lines(text: &mut String) {
    let begin = text.len().saturating_sub(MOST_TEXT);
    let begin = (begin..=text.len()).find(|&at| text.is_char_boundary(at));
    text.drain(..begin.unwrap_or(0));
    let lines = text.lines().map(visible);
    *text = lines.collect::<Vec<_>>().join("\n");
}

impl Pool {
    /// `pool 1 "images", 4 processes`.
    pub(crate) fn title(&self) -> String {
        let name = self.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!(" “{name}”"));
        let kind = match (self.kind.as_str(), self.workers) {
            ("process", 1) => "process".into(),
            ("process", _) => "processes".into(),
            ("thread", 1) => "thread".into(),
            ("thread", _) => "threads".into(),
            (other, _) => format!("workers ({other})"),
        };
        format!("pool {}{name}, {} {kind}", self.number, self.workers)
    }
}

/// `1.2 s`, `3 min`: how long something takes, short.
pub(crate) fn age(nanos: u64) -> String {
    let seconds = nanos as f64 / 1e9;
    match seconds {
        s if s < 0.001 => format!("{} µs", nanos / 1000),
        s if s < 1.0 => format!("{} ms", nanos / 1_000_000),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_not_as_expected_are_errors_and_no_panics() {
        let deep = "[".repeat(100_000);
        let wrong_type = r#"{"pools":7}"#;
        let negative = r#"{"pools":[{"number":-1}]}"#;
        let huge = r#"{"pools":[{"number":1e999}]}"#;
        for text in ["", "{", "null", "\u{1}", &deep, wrong_type, negative, huge] {
            assert!(Published::parse(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(Published::parse(b"{\"brigade\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_is_missing_is_nothing_and_what_is_new_is_left_alone() {
        let published = Published::parse(br#"{"new":[1],"pools":[{"number":3,"newer":{}}]}"#);
        assert_eq!(published.unwrap().pools[0].number, 3);
        assert_eq!(Published::parse(b"{}").unwrap(), Published::default());
    }

    #[test]
    fn no_text_steers_the_terminal_and_no_list_is_endless() {
        let task = "\\u001b[2J".to_owned() + &"x".repeat(5000);
        let worker = format!(r#"{{"state":"\u001b]0;x\u0007","task":"{task}"}}"#);
        let list = vec![worker; 40].join(",");
        let workers = vec!["{}"; 50_000].join(",");
        let text = format!(
            r#"{{"brigade":"\u009b","pools":[{{"name":"\n","list":[{list}]}},{{"list":[{workers}]}}],
               "crashes":[{{"cause":"\u202e","task":"\r","stderr":"a\nb\u001b[1m"}}]}}"#
        );
        let published = Published::parse(text.as_bytes()).unwrap();
        let shown = serde_json::to_string(&published).unwrap();
        let is_steering = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!shown.contains(is_steering), "{shown:.200}");
        assert_eq!(published.crashes[0].stderr, "a\nb\\u{1b}[1m");
        assert_eq!(published.pools[1].list.len(), MOST_WORKERS);
        let task = published.pools[0].list[0].task.as_ref().unwrap();
        assert!(task.len() < 2 * MOST_TEXT);
    }

    #[test]
    fn ages_are_short() {
        for (nanos, text) in [
            (0, "0 µs"),
            (1_500_000, "1 ms"),
            (1_240_000_000, "1.2 s"),
            (200_000_000_000, "3 min"),
            (u64::MAX, "213504 d"),
        ] {
            assert_eq!(age(nanos), text);
        }
    }
}
