//! Workers whose memory no control group limits: what they have, with their children, is looked at
//! again and again, and a worker that has too much is ended.
//!
//! Each of their processes has a limit of its address space by itself (`child/limits.rs`), which
//! holds at once. Here the processes of a task count together: 20 ms after the last change, and up
//! to 320 ms where nothing changes.
//!
//! Counted is what is resident and of no file: proc_pid_statm(5), the second number without the
//! third. Pages that processes have shared since a fork count for each, so before one is ended the
//! kernel is asked for exact shares (`Pss_Anon` in proc_pid_smaps(5), `smaps_rollup`), which takes
//! it longer. Memory files count for no process, mapped or not.

use std::fs;
use std::time::{Duration, Instant};

use crate::sys::{numbers, process};

const LOOK_AFTER_CHANGE: Duration = Duration::from_millis(20);
const LOOK_WITHOUT_CHANGE: Duration = Duration::from_millis(320);

/// Processes of a worker that are counted, at the most.
const MAX_PROCESSES: usize = 4096;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Looks {
    at: Option<Instant>,
    pause: Duration,
}

/// A worker that is looked at.
#[derive(Debug)]
pub(super) struct WatchedWorker {
    bytes: u64,
    /// What it had at the last look.
    had: u64,
    /// The worker was ended because it has too much.
    pub(super) is_over: bool,
}

impl Looks {
    pub(super) fn new() -> Looks {
        Looks {
            at: None,
            pause: LOOK_AFTER_CHANGE,
        }
    }

    /// There is another to be looked at.
    pub(super) fn begin(&mut self) {
        self.pause = LOOK_AFTER_CHANGE;
        self.at = Some(Instant::now() + LOOK_AFTER_CHANGE);
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// A look is over. `none`: there was no worker to look at; `changed`: a worker has more, or
    /// less, than at the last.
    pub(super) fn end(&mut self, none: bool, changed: bool) {
        self.pause = if changed {
            LOOK_AFTER_CHANGE
        } else {
            LOOK_WITHOUT_CHANGE.min(self.pause * 2)
        };
        self.at = (!none).then(|| Instant::now() + self.pause);
    }
}

impl WatchedWorker {
    pub(super) fn to(bytes: u64) -> WatchedWorker {
        WatchedWorker {
            bytes,
            had: 0,
            is_over: false,
        }
    }

    /// Looks at this worker. Gives whether what it has is another amount than it was.
    pub(super) fn look(&mut self, pid: u32) -> bool {
        if self.is_over {
            // It ends, and has less and less.
            return false;
        }
        let processes = numbers::in_proc(pid).map(with_children).unwrap_or_default();
        let sum = |of: fn(u32) -> Option<u64>| processes.iter().filter_map(|&pid| of(pid)).sum();
        let has: u64 = sum(process::anonymous_bytes);
        self.is_over = has > self.bytes && sum(exactly) > self.bytes;
        std::mem::replace(&mut self.had, has) != has
    }
}

/// A process, and all that it has started or adopted, as /proc calls them.
fn with_children(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            let numbers = children.split_ascii_whitespace();
            all.extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
        }
        if all.len() >= MAX_PROCESSES {
            break;
        }
    }
    all
}

/// Bytes of anonymous memory, where a page that several processes share counts in part for each:
/// `Pss_Anon`, proc(5). Where the kernel does not tell that, all of each page counts.
fn exactly(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.map_or_else(|| process::anonymous_bytes(pid), |kib| Some(kib * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_what_it_takes() {
        let own = std::process::id();
        let taken = vec![1_u8; 32 << 20];
        // Other tests of this process take and give back meanwhile.
        assert!(process::anonymous_bytes(own).expect("a number") >= 24 << 20);
        assert!(exactly(own).expect("a number") >= 24 << 20);
        assert_eq!(taken.len(), 32 << 20);
    }

    #[test]
    fn looks_become_rare_where_nothing_changes() {
        let mut looks = Looks::new();
        looks.begin();
        for _ in 0..10 {
            looks.end(false, false);
        }
        assert_eq!(looks.pause, LOOK_WITHOUT_CHANGE);
        looks.end(false, true);
        assert_eq!(looks.pause, LOOK_AFTER_CHANGE);
        looks.end(true, false);
        assert!(looks.at().is_none());
    }
}
