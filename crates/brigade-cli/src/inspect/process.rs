//! Reads what the kernel says of one process and of its threads.

use std::fs;
use std::time::Duration;

use super::descriptors;
use super::escape::{visible, visible_bytes};
use super::picture::{Memory, Process, Seen, State, Thread};
use super::proc_dir::{Hidden, ProcDir};
use crate::published::Reader;

/// A line `stat`, of a process or a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) parent: u32,
    /// In ticks: since the machine was started.
    pub(crate) started: u64,
    /// In ticks: what it has used, itself and the kernel for it.
    pub(crate) cpu: u64,
    pub(crate) threads: u32,
    /// A thread of the kernel, which has no memory of its own.
    pub(crate) is_kernel: bool,
}

/// `PF_KTHREAD` of the kernel's, in the flags of a process.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    /// The name stands in parentheses, and may have parentheses, spaces and line feeds in it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Stat> {
        let open = bytes.iter().position(|&byte| byte == b'(')?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let name = bytes.get(open + 1..close)?;
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third of proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            name: visible_bytes(name),
            state: State::of(*fields.first()?.as_bytes().first()?),
            parent: u32::try_from(field(4)?).ok()?,
            started: field(22)?,
            cpu: field(14)?.checked_add(field(15)?)?,
            threads: u32::try_from(field(20)?).ok()?,
            is_kernel: field(9)? & KERNEL_THREAD != 0,
        })
    }

    pub(crate) fn read(dir: &ProcDir, path: &str) -> Result<Stat, Hidden> {
        Stat::of(&dir.read(path)?, path)
    }

    /// What a `stat` of this path holds.
    pub(crate) fn of(bytes: &[u8], path: &str) -> Result<Stat, Hidden> {
        Stat::parse(bytes)
            .ok_or_else(|| Hidden::Other(format!("/proc/PID/{path} is not as expected")))
    }
}

/// What of a tick of the processor's time is a second.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

/// A process with everything. `None`: it has ended, or another one has its number.
pub(crate) fn read(pid: u32, started: u64, users: &Users) -> Option<(ProcDir, Process)> {
    let dir = ProcDir::open(pid).ok()?;
    let stat = Stat::read(&dir, "stat").ok()?;
    if stat.started != started {
        return None;
    }
    let has_ended = matches!(stat.state, State::Zombie | State::Ended);
    let threads = threads(&dir);
    // One that ends while it is read is said to have ended.
    let threads = match threads {
        Err(Hidden::Ended) if !has_ended => return Some((dir, ended(pid, stat))),
        threads => seen(threads),
    };
    let published = match Reader::find(&dir) {
        Ok(reader) => reader.map(|reader| match reader.read(patience(stat.state)) {
            Ok(published) => Seen::Seen(published),
            Err(why) => Seen::not(why),
        }),
        // Whether it does cannot be known: `descriptors` says why.
        Err(_) => None,
    };
    let process = Process {
        pid,
        parent: stat.parent,
        command: seen(command(&dir)),
        user: seen(user(&dir, users)),
        state: stat.state,
        started_ticks: stat.started,
        cpu_seconds: seconds(stat.cpu),
        memory: memory(&dir, &stat),
        threads,
        descriptors: if has_ended {
            Seen::not(Hidden::Ended)
        } else {
            seen(descriptors::read(&dir))
        },
        name: stat.name,
        published,
        because: None,
    };
    Some((dir, process))
}

/// How long a program may take to say what its pools do. One that is stopped says nothing.
fn patience(state: State) -> Duration {
    match state {
        State::Stopped | State::Traced => Duration::from_millis(50),
        _ => Duration::from_secs(5),
    }
}

fn ended(pid: u32, stat: Stat) -> Process {
    Process {
        pid,
        parent: stat.parent,
        name: stat.name,
        command: Seen::not(Hidden::Ended),
        user: Seen::not(Hidden::Ended),
        state: State::Ended,
        started_ticks: stat.started,
        cpu_seconds: seconds(stat.cpu),
        memory: Memory::not(Hidden::Ended),
        threads: Seen::not(Hidden::Ended),
        descriptors: Seen::not(Hidden::Ended),
        published: None,
        because: None,
    }
}

pub(crate) fn seen<T>(result: Result<T, Hidden>) -> Seen<T> {
    match result {
        Ok(value) => Seen::Seen(value),
        Err(why) => Seen::not(why),
    }
}

/// The words of the command line: 64 of them, and 4 KiB of each.
fn command(dir: &ProcDir) -> Result<Vec<String>, Hidden> {
    let mut bytes = dir.read("cmdline")?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        // A zombie, or a thread of the kernel.
        return Ok(Vec::new());
    }
    let words = bytes.split(|&byte| byte == 0).take(64);
    Ok(words
        .map(|word| visible_bytes(&word[..word.len().min(4096)]))
        .collect())
}

pub(crate) fn threads(dir: &ProcDir) -> Result<Vec<Thread>, Hidden> {
    let mut threads = Vec::new();
    for tid in dir.numbers("task")? {
        let stat = match Stat::read(dir, &format!("task/{tid}/stat")) {
            Ok(stat) => stat,
            // It has ended since.
            Err(Hidden::Ended) => continue,
            Err(why) => return Err(why),
        };
        threads.push(Thread {
            tid,
            name: stat.name,
            state: stat.state,
            cpu_seconds: seconds(stat.cpu),
        });
    }
    if threads.is_empty() {
        return Err(Hidden::Ended);
    }
    Ok(threads)
}

/// Resident memory, in bytes, that `statm` tells of: what anybody may know.
pub(crate) fn resident(statm: &[u8]) -> Result<u64, Hidden> {
    let text = std::str::from_utf8(statm).ok();
    let pages = text.and_then(|text| text.split(' ').nth(1)?.parse().ok());
    let pages: u64 =
        pages.ok_or_else(|| Hidden::Other("/proc/PID/statm is not as expected".into()))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

pub(crate) fn memory(dir: &ProcDir, stat: &Stat) -> Memory {
    if matches!(stat.state, State::Zombie | State::Ended) {
        return Memory::not(Hidden::Ended);
    }
    if stat.is_kernel {
        return Memory::not("none of its own, as a thread of the kernel");
    }
    let rollup = dir.text("smaps_rollup");
    let sum = |names: &[&str]| match &rollup {
        Ok(text) => {
            let found: Vec<u64> = names
                .iter()
                .filter_map(|name| crate::procfs::field(text, name))
                .collect();
            if found.is_empty() {
                Seen::not("smaps_rollup has no such line")
            } else {
                Seen::Seen(found.iter().sum())
            }
        }
        Err(why) => Seen::not(why),
    };
    Memory {
        resident: seen(dir.read("statm").and_then(|statm| resident(&statm))),
        private: sum(&["Private_Clean", "Private_Dirty", "Private_Hugetlb"]),
        shared: sum(&["Shared_Clean", "Shared_Dirty", "Shared_Hugetlb"]),
    }
}

fn user(dir: &ProcDir, users: &Users) -> Result<String, Hidden> {
    let text = dir.text("status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, of the file system.
    let id = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    let id = id.ok_or_else(|| Hidden::Other("/proc/PID/status has no Uid".into()))?;
    Ok(users.name(id))
}

/// The names of users, as far as /etc/passwd knows them.
#[derive(Debug)]
pub(crate) struct Users(Vec<(u32, String)>);

impl Users {
    pub(crate) fn read() -> Users {
        let text = fs::read("/etc/passwd").unwrap_or_default();
        Users(parse_users(&String::from_utf8_lossy(&text)))
    }

    fn name(&self, id: u32) -> String {
        let known = self.0.iter().find(|(known, _)| *known == id);
        known.map_or_else(|| format!("user {id}"), |(_, name)| name.clone())
    }
}

fn parse_users(text: &str) -> Vec<(u32, String)> {
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, visible(name)))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_line_feeds_is_read() {
        let line = b"12 (a) R (b)\n) S 7 12 12 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 3 0 991 10 20 \
            18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.name, r"a) R (b)\n");
        assert_eq!(stat.state, State::Sleeping);
        assert_eq!((stat.parent, stat.started), (7, 991));
        assert_eq!((stat.cpu, stat.threads), (42, 3));
        assert!(!stat.is_kernel);
        let kernel = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0 0";
        assert!(Stat::parse(kernel).unwrap().is_kernel);
    }

    #[test]
    fn what_is_no_line_of_stat_is_none() {
        for line in [
            &b""[..],
            b"1 (a",
            b"1 a) S 1",
            b")(",
            b"1 (a) ",
            b"1 (a) S 1 2 3",
        ] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn users_have_names_or_numbers() {
        let users = Users(parse_users(
            "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:z::\n",
        ));
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(7), "user 7");
    }
}
