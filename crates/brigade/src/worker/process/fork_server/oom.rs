//! Whether the kernel's OOM killer was at work: its counter for our control group, or for the
//! machine.
//!
//! Control groups v2: `memory.events`; v1: `memory.oom_control` (kernel documents `cgroup-v2.rst`,
//! `cgroup-v1/memory.rst`), of the group that this process is in, wherever that is mounted
//! ([`cgroup`]); where neither has the counter (the root group), `/proc/vmstat`, which counts every
//! process of the machine.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use crate::sys::cgroup;

/// The counter.
#[derive(Debug)]
pub(crate) struct OomKills {
    file: Option<File>,
}

impl OomKills {
    /// Of this process's control group.
    pub(crate) fn watch() -> OomKills {
        // Whatever cannot be read here is another place's turn; without any, no death is laid to
        // the OOM killer.
        let groups = cgroup::directories("memory");
        let files = groups.iter().flat_map(|(group, _)| files(group));
        let file = files
            .chain([PathBuf::from("/proc/vmstat")])
            .filter_map(|path| File::open(path).ok())
            .find(|file| count(file).is_some());
        OomKills { file }
    }

    /// How many were killed so far. `None`: it is not known. A death is laid to the OOM killer only
    /// between two numbers.
    pub(crate) fn count(&self) -> Option<u64> {
        self.file.as_ref().and_then(count)
    }
}

fn files(group: &Path) -> [PathBuf; 2] {
    ["memory.oom_control", "memory.events"].map(|name| group.join(name))
}

/// How many were killed in this group so far.
pub(super) fn kills_in(group: &Path) -> Option<u64> {
    let files = files(group).into_iter();
    files
        .filter_map(|path| File::open(path).ok())
        .find_map(|file| count(&file))
}

/// Whether there were more kills than before, as far as both are known.
pub(crate) fn is_more(now: Option<u64>, before: Option<u64>) -> bool {
    now.zip(before).is_some_and(|(now, before)| now > before)
}

fn count(file: &File) -> Option<u64> {
    // What a group has to say is short. This is asked for each worker, and after each fork the
    // pages that are touched are copied: a large piece of the heap would be four of them.
    let mut short = [MaybeUninit::uninit(); 256];
    let (text, rest) = rustix::io::pread(file, &mut short[..], 0).ok()?;
    if !rest.is_empty() {
        return parse(text);
    }
    let mut long = Vec::with_capacity(16 * 1024);
    rustix::io::pread(file, rustix::buffer::spare_capacity(&mut long), 0).ok()?;
    parse(&long)
}

fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_could_not_be_read_is_no_fewer() {
        assert!(is_more(Some(2), Some(1)) && !is_more(Some(2), Some(2)));
        assert!(!is_more(Some(2), None) && !is_more(None, Some(1)));
    }

    #[test]
    fn both_versions_are_read() {
        assert_eq!(parse(b"low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n"), Some(2));
        assert_eq!(
            parse(b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            Some(5)
        );
        assert_eq!(parse(b"nothing of the kind"), None);
    }
}
