//! The children that dead workers leave behind.
//!
//! A worker is the reaper of its own descendants, and the fork server the reaper of its workers'. So when the fork server hears that a worker
//! has ended, what the worker left has become the fork server's child already: every child that is no worker is an orphan, also one that left its
//! session and its process group. /proc/[pid]/task/[tid]/children in proc(5); it needs CONFIG_PROC_CHILDREN, and otherwise all of /proc is read.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use crate::sys::opened;

/// This process's children, asked for often.
#[derive(Debug)]
pub(crate) struct Children {
    file: Option<File>,
    text: Vec<u8>,
}

impl Children {
    pub(crate) fn of_this_process() -> Children {
        let own = rustix::process::getpid().as_raw_pid();
        Children {
            file: opened::file(&format!("/proc/self/task/{own}/children"), OFlags::RDONLY)
                .ok()
                .map(File::from),
            text: vec![0; 4096],
        }
    }

    /// Process ids of all children, ended ones that were not reaped included.
    pub(crate) fn list(&mut self, into: &mut Vec<u32>) {
        into.clear();
        match &self.file {
            Some(file) => {
                let Some(len) = read_whole(file, &mut self.text) else {
                    return;
                };
                parse(&self.text[..len], into);
            }
            None => scan(into),
        }
    }
}

fn read_whole(file: &File, text: &mut Vec<u8>) -> Option<usize> {
    let mut len = 0;
    loop {
        if len == text.len() {
            text.resize(2 * len, 0);
        }
        match file.read_at(&mut text[len..], len as u64).ok()? {
            0 => return Some(len),
            n => len += n,
        }
    }
}

fn parse(text: &[u8], into: &mut Vec<u32>) {
    into.extend(
        text.split(u8::is_ascii_whitespace)
            .filter_map(|word| std::str::from_utf8(word).ok()?.parse::<u32>().ok()),
    );
}

/// Looks at every process for those whose parent this is.
fn scan(into: &mut Vec<u32>) {
    let own = std::process::id();
    let Ok(all) = std::fs::read_dir("/proc") else {
        return;
    };
    for pid in all
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
    {
        if std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| parent(&stat))
            == Some(own)
        {
            into.push(pid);
        }
    }
}

/// The fourth field of /proc/[pid]/stat; the second, the name, is in parentheses and may contain anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_a_child() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        let mut found = Vec::new();
        scan(&mut found);
        assert!(found.contains(&child.id()));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        assert_eq!(parent("12 (a) b) (c) S 34 12 12 0"), Some(34));
        let mut pids = Vec::new();
        parse(b"1 22 333 ", &mut pids);
        assert_eq!(pids, [1, 22, 333]);
    }
}
