//! What /proc says of a process in one line: /proc/[pid]/stat, proc(5).

use super::{Ended, ended};
use crate::sys::numbers;

/// What /proc says, after its name, of the process that it calls so ([`numbers`]):
/// /proc/[pid]/stat, proc(5); the second field, the name, is in parentheses and may contain
/// anything.
fn stat_in_proc(number: u32) -> Option<Vec<u8>> {
    let stat = std::fs::read(format!("/proc/{number}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|&b| b == b')')?;
    Some(stat[name_ends + 1..].trim_ascii().to_vec())
}

/// The state's letter of a process, and its parent, as /proc calls that.
pub(crate) fn state_in_proc(number: u32) -> Option<(char, u32)> {
    let stat = String::from_utf8(stat_in_proc(number)?).ok()?;
    let mut fields = stat.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process is another's child.
pub(crate) fn is_child(pid: u32, of: u32) -> bool {
    let parent = numbers::in_proc(pid).and_then(state_in_proc);
    parent.is_some_and(|(_, parent)| numbers::in_proc(of) == Some(parent))
}

/// Whether a signal has stopped this process, or a debugger.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let state = numbers::in_proc(pid).and_then(state_in_proc);
    matches!(state, Some(('T' | 't', _)))
}

/// Whether it has ended, and was not reaped.
pub(crate) fn is_zombie(pid: u32) -> bool {
    let state = numbers::in_proc(pid).and_then(state_in_proc);
    matches!(state, Some(('Z', _)))
}

/// The status of a process that waits to be reaped.
pub(super) fn zombies_status_of(number: u32) -> Option<i32> {
    zombies_status(&stat_in_proc(number)?)
}

/// The status in what /proc says of a process, if that waits to be reaped.
fn zombies_status(stat: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(stat).ok()?;
    let status = text.rsplit(' ').next().filter(|_| text.starts_with('Z'));
    status?.parse().ok()
}

/// How the main thread of a process ended, by what /proc says of the process, where others of its
/// threads live: to waitid(2) it has not ended. `None`: it lives, or all have ended.
pub(crate) fn main_thread_ended(number: u32) -> Option<Ended> {
    outlived(&stat_in_proc(number)?)
}

fn outlived(stat: &[u8]) -> Option<Ended> {
    // The twentieth field of all, of which two are cut off: how many threads there are, those that
    // are not reaped included.
    const THREADS: usize = 20 - 3;
    let status = zombies_status(stat)?;
    let threads = std::str::from_utf8(stat).ok()?.split(' ').nth(THREADS)?;
    (threads.parse::<u32>().ok()? > 1).then(|| ended(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a kernel wrote it, with another state, number of threads and status.
    fn stat(state: char, threads: u32, status: i32) -> Vec<u8> {
        format!(
            "{state} 3318 3319 3319 0 -1 4227148 211 0 0 0 0 0 0 0 20 0 {threads} 0 9126 0 0 \
             18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 {status}"
        )
        .into_bytes()
    }

    #[test]
    fn a_main_thread_has_ended_alone() {
        assert_eq!(outlived(&stat('Z', 2, 0)), Some(Ended::Exited(0)));
        assert_eq!(outlived(&stat('Z', 3, 7 << 8)), Some(Ended::Exited(7)));
        let killed = stat('Z', 2, libc::SIGSYS);
        assert_eq!(outlived(&killed), Some(Ended::Signaled(libc::SIGSYS)));
        // All of it has ended, or nothing.
        assert_eq!(outlived(&stat('Z', 1, 7 << 8)), None);
        assert_eq!(outlived(&stat('S', 2, 0)), None);
        assert_eq!(outlived(b"Z 1"), None);
    }
}
