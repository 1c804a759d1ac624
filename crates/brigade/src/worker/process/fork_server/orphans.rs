//! The children that dead workers leave behind.
//!
//! A worker is the reaper of its own descendants, and the fork server the reaper of its workers'.
//! So when the fork server hears that a worker has ended, what the worker left has become the fork
//! server's child already: every child that is no worker is an orphan, also one that left its
//! session and its process group. /proc/[pid]/task/[tid]/children in proc(5); it needs
//! CONFIG_PROC_CHILDREN, and otherwise all of /proc is read. What /proc calls a process is not
//! always what we call it ([`numbers`]).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::sys::numbers::{self, Numbers};
use crate::sys::{opened, process};

/// This process's children, asked for often.
#[derive(Debug)]
pub(crate) struct Children {
    file: Option<File>,
    text: Vec<u8>,
    numbers: Numbers,
}

impl Children {
    /// Those of its first thread: an orphan is given to that one.
    ///
    /// # Errors
    /// As of [`Numbers::of_proc`].
    pub(crate) fn of_this_process() -> io::Result<Children> {
        Ok(Children {
            file: numbers::own()
                .map(|own| format!("/proc/self/task/{own}/children"))
                .and_then(|path| opened::file(&path, OFlags::RDONLY).ok())
                .map(File::from),
            text: vec![0; 4096],
            numbers: Numbers::of_proc()?,
        })
    }

    /// Process ids of all children, ended ones that were not reaped included. They stay so until
    /// one is reaped, which only this process does.
    pub(crate) fn list(&mut self, into: &mut Vec<u32>) {
        into.clear();
        match &self.file {
            // One that cannot be read must not pass for one without children.
            Some(file) => match read_whole(file, &mut self.text) {
                Some(len) => parse(&self.text[..len], self.numbers, into),
                None => scan(self.numbers, into),
            },
            None => scan(self.numbers, into),
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

fn parse(text: &[u8], numbers: Numbers, into: &mut Vec<u32>) {
    let words = text.split(u8::is_ascii_whitespace);
    let listed = words.filter_map(|word| std::str::from_utf8(word).ok()?.parse::<u32>().ok());
    into.extend(listed.filter_map(|number| numbers.here(number)));
}

/// Looks at every process for those whose parent this is.
fn scan(numbers: Numbers, into: &mut Vec<u32>) {
    let Some(own) = numbers::own() else {
        return;
    };
    let children = all_in_proc().filter(|&number| parent_in_proc(number) == Some(own));
    into.extend(children.filter_map(|number| numbers.here(number)));
}

/// All processes, as /proc calls them.
fn all_in_proc() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
}

fn parent_in_proc(number: u32) -> Option<u32> {
    process::state_in_proc(number).map(|(_, parent)| parent)
}

/// Kills all that descends from a process that is stopped, or does not reap its children for other
/// reasons, and that is itself about to be killed: afterwards nothing would show whose they are.
/// In the host.
///
/// One look at all of /proc, and another as long as the one before found one alive; so
/// that those are found that were forked meanwhile, by others that were then killed. `is_gone`: the
/// process has ended, and its children are the init process's, so that nothing can be said any
/// more.
pub(crate) fn end_descendants(of: u32, is_gone: impl Fn() -> bool) {
    const LOOKS: usize = 20;
    let (Ok(numbers), Some(of)) = (Numbers::of_proc(), numbers::in_proc(of)) else {
        return;
    };
    for _ in 0..LOOKS {
        let mut killed = false;
        for number in descendants(of) {
            let Some(process) = numbers.open(number) else {
                continue;
            };
            // Looked up again, through its parents, now that its number can be no other's.
            if is_gone() || !descends(number, of) || is_dead(number) {
                continue;
            }
            killed |= rustix::process::pidfd_send_signal(&process, Signal::KILL).is_ok();
        }
        if !killed {
            return;
        }
    }
}

/// Kills and reaps those children of this process that are in a session: its leader was a fork
/// server, is dead, and this program has adopted what it had. In the host.
///
/// `is_its_own`: the session's number still means that session, for its leader is not reaped.
pub(crate) fn end_adopted(session: Pid, is_its_own: impl Fn() -> bool) {
    let own = std::process::id();
    let Ok(numbers) = Numbers::of_proc() else {
        return;
    };
    loop {
        let mut children = Vec::new();
        scan(numbers, &mut children);
        let mut any = false;
        for pid in children {
            let id = Pid::from_raw(pid as i32);
            let Some(Ok(child)) = id.map(opened::pidfd) else {
                continue;
            };
            // Looked up again, now that its number can be no other's. The leader itself is kept for
            // last.
            let is_one = id != Some(session)
                && rustix::process::getsid(id) == Ok(session)
                && process::is_child(pid, own);
            if !is_its_own() {
                return;
            }
            if is_one {
                // One that has ended already needs no signal; another user's is waited for.
                let _ = rustix::process::pidfd_send_signal(&child, Signal::KILL);
                let child = WaitId::PidFd(child.as_fd());
                any |= rustix::process::waitid(child, WaitIdOptions::EXITED).is_ok();
            }
        }
        // Processes with a parent among them come to us when that ends.
        if !any {
            return;
        }
    }
}

// From here on, numbers are those of /proc.

fn is_dead(number: u32) -> bool {
    let state = process::state_in_proc(number);
    matches!(state, None | Some(('Z' | 'X', _)))
}

fn descends(number: u32, of: u32) -> bool {
    let mut at = number;
    // No chain is longer, unless it changes while it is followed.
    for _ in 0..1000 {
        match parent_in_proc(at) {
            Some(parent) if parent == of => return true,
            None | Some(0 | 1) => return false,
            Some(parent) => at = parent,
        }
    }
    false
}

fn descendants(of: u32) -> Vec<u32> {
    let parents: HashMap<u32, u32> = all_in_proc()
        .filter_map(|number| Some((number, parent_in_proc(number)?)))
        .collect();
    let is_one = |number: &u32| {
        let chain = std::iter::successors(parents.get(number), |parent| parents.get(parent));
        chain.take(1000).any(|&parent| parent == of)
    };
    parents.keys().copied().filter(is_one).collect()
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
        let numbers = Numbers::of_proc().expect("a /proc");
        scan(numbers, &mut found);
        assert!(found.contains(&child.id()));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }

    #[test]
    fn lists_are_read_whole() {
        let mut pids = Vec::new();
        let numbers = Numbers::of_proc().expect("a /proc");
        parse(b"1 22 333 ", numbers, &mut pids);
        assert_eq!(pids, [1, 22, 333]);
    }
}
