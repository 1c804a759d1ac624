//! What a process is called here and in /proc: pid_namespaces(7), proc(5).
//!
//! /proc has the numbers of the pid namespace that it was mounted in. Where that is an outer one (a
//! new namespace without a new /proc, as `unshare --pid` alone gives), our number for a process is
//! a stranger's there, and a number that is read there is a stranger's here. So a number of ours
//! becomes a path, and one from there becomes ours, through this file only: a pidfd tells what
//! /proc calls its process, and /proc/[pid]/status tells all numbers from there to here (`NSpid`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::opened;

/// What /proc calls a process. `None`: there is none, it was reaped, or it is not in that /proc.
///
/// It is certain to be that process's for as long as that is not reaped. Nothing is allocated, and
/// no lock is taken: it is asked in a process that was just forked.
pub(crate) fn in_proc(pid: u32) -> Option<u32> {
    let id = Pid::from_raw(pid as i32)?;
    // For a moment, and closed at once: what another thread would print into it is an error.
    let told = match rustix::process::pidfd_open(id, PidfdFlags::empty()) {
        Ok(process) => of_pidfd(&process),
        Err(Errno::SRCH) => return None,
        Err(_) => None,
    };
    match told {
        Some(number) => u32::try_from(number).ok().filter(|&number| number > 0),
        // Denied, or no descriptor is free. Its number does where the two are the same for us.
        None => (own() == Some(std::process::id())).then_some(pid),
    }
}

/// What /proc calls this process.
pub(crate) fn own() -> Option<u32> {
    let mut text = [std::mem::MaybeUninit::uninit(); 16];
    let (text, _) = rustix::fs::readlinkat_raw(rustix::fs::CWD, "/proc/self", &mut text).ok()?;
    parse(text)
}

/// What /proc calls a pidfd's process: `Pid` in /proc/self/fdinfo, pidfd_open(2). -1: it was
/// reaped. 0: it is not in that /proc. `None`: it could not be asked.
fn of_pidfd(process: impl AsFd) -> Option<i32> {
    use std::io::Write;
    let mut path = [0_u8; 40];
    let mut rest = &mut path[..];
    write!(rest, "/proc/self/fdinfo/{}", process.as_fd().as_raw_fd()).ok()?;
    let unused = rest.len();
    let path = &path[..path.len() - unused];
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // A few lines of numbers; `Pid` stands before the one that may be long.
    let mut text = [0_u8; 512];
    let len = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut text[..])).ok()?;
    parse(line(&text[..len], b"Pid:")?.trim_ascii())
}

/// How /proc numbers processes, seen from here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// How many numbers there are for this process, from that /proc's to its own. 1: they are the
    /// same.
    depth: usize,
}

impl Numbers {
    /// As it is now.
    ///
    /// # Errors
    /// /proc is another namespace's, and does not tell our numbers.
    pub(crate) fn of_proc() -> io::Result<Numbers> {
        // Where it cannot be read, nothing is read there either.
        let status = fs::read("/proc/self/status").unwrap_or_default();
        let depth = namespaces(&status).map_or(1, Iterator::count).max(1);
        if depth == 1 && own().is_some_and(|own| own != std::process::id()) {
            return Err(io::Error::other(
                "/proc is that of another pid namespace, and does not say how processes are \
                 numbered in this one (NSpid in /proc/self/status): mount a /proc of this \
                 namespace (mount -t proc proc /proc)",
            ));
        }
        Ok(Numbers { depth })
    }

    /// What is called so in /proc is called so here. `None`: it is gone, or not in our namespace.
    ///
    /// It is certain where it is a child of this process that is not reaped meanwhile; of others,
    /// see [`open`](Self::open).
    pub(crate) fn here(self, number: u32) -> Option<u32> {
        if self.depth == 1 {
            return Some(number);
        }
        let status = fs::read(format!("/proc/{number}/status")).ok()?;
        namespaces(&status)?.nth(self.depth - 1)
    }

    /// As [`in_proc`], of a child that is not reaped meanwhile.
    pub(crate) fn there(self, pid: u32) -> Option<u32> {
        match self.depth {
            1 => Some(pid),
            _ => in_proc(pid),
        }
    }

    /// What is called so in /proc, by a descriptor that cannot come to mean another process.
    pub(crate) fn open(self, number: u32) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.here(number)? as i32)?;
        let process = opened::pidfd(pid).ok()?;
        // Our number for it may have become another's before that.
        let is_it = self.depth == 1 || of_pidfd(&process) == number.try_into().ok();
        is_it.then_some(process)
    }
}

/// A process's numbers, from those of that /proc to its own, by its `status`.
fn namespaces(status: &[u8]) -> Option<impl Iterator<Item = u32>> {
    let numbers = line(status, b"NSpid:")?;
    let words = numbers.split(u8::is_ascii_whitespace);
    Some(words.filter(|word| !word.is_empty()).map_while(parse))
}

/// What stands behind a name, in a file of lines.
fn line<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = text.split(|&byte| byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name))
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_numbers_are_the_same() {
        let own = std::process::id();
        assert_eq!((in_proc(own), super::own()), (Some(own), Some(own)));
        let numbers = Numbers::of_proc().expect("a /proc");
        assert_eq!((numbers.depth, numbers.here(own)), (1, Some(own)));
        assert_eq!(in_proc(u32::MAX >> 1), None);
    }

    #[test]
    fn a_process_of_an_inner_namespace_has_several() {
        let status = b"Name:\tx\nPid:\t812\nNStgid:\t9\nNSpid:\t812\t17\t1\nNSpgid:\t3\n";
        let all: Vec<u32> = namespaces(status).expect("a line").collect();
        assert_eq!(all, [812, 17, 1]);
        assert!(namespaces(b"Name:\tx\n").is_none());
        assert_eq!(
            namespaces(b"NSpid:\t12\tx\t3\n").map(Iterator::count),
            Some(1)
        );
    }

    #[test]
    fn who_was_reaped_is_called_nothing() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        let numbers = Numbers::of_proc().expect("a /proc");
        let process = numbers.open(child.id()).expect("it lives");
        assert_eq!(of_pidfd(&process), Some(child.id() as i32));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
        assert_eq!(of_pidfd(&process), Some(-1));
    }
}
