//! What processes cost, in time and in memory: proc(5).

use std::fs;
use std::io;

/// Processor time of all threads but that one, in microseconds.
pub(crate) fn processor_time(pid: u32, except: Option<u32>) -> io::Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        if except.is_some_and(|one| thread.file_name() == *one.to_string()) {
            continue;
        }
        // Its first word: nanoseconds on a processor.
        let text = fs::read_to_string(thread.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        sum += first.parse::<f64>().map_err(io::Error::other)? / 1e3;
    }
    Ok(sum)
}

/// Memory that ends with a process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Pages that nobody else has.
    pub(crate) private: f64,
    /// All pages of its mailbox, which its host has too.
    pub(crate) mailbox: f64,
    /// The kernel's page tables for it.
    pub(crate) tables: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> io::Result<Memory> {
        let mut memory = sum(&fs::read_to_string(format!("/proc/{pid}/smaps"))?);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        memory.tables = status
            .lines()
            .find_map(|line| kib(line, "VmPTE:"))
            .unwrap_or(0.0);
        Ok(memory)
    }
}

/// Of `smaps`: a head line for each mapping, then a line for each figure.
fn sum(smaps: &str) -> Memory {
    let mut memory = Memory::default();
    let mut is_mailbox = false;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            is_mailbox = line.contains("/memfd:brigade-mailbox");
        } else if is_mailbox {
            memory.mailbox += kib(line, "Rss:").unwrap_or(0.0);
        } else {
            let private = ["Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"];
            memory.private += private
                .iter()
                .find_map(|name| kib(line, name))
                .unwrap_or(0.0);
        }
    }
    memory
}

fn kib(line: &str, name: &str) -> Option<f64> {
    line.strip_prefix(name)?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_summed_over_threads() {
        let me = rustix::thread::gettid().as_raw_pid().cast_unsigned();
        // A thread sees its own time when the kernel has counted it anew.
        brigade_test_support::wait::until_found("this thread's time to be counted", || {
            crate::work::steps(100_000);
            let others = processor_time(std::process::id(), Some(me))?;
            let all = processor_time(std::process::id(), None)?;
            Ok((others < all).then_some(()))
        })
        .expect("counted");
    }

    #[test]
    fn memory_is_summed_by_kind() {
        let smaps = "\
55d0a0a00000-55d0a0b00000 r-xp 00000000 fe:00 1  /bin/x
Rss:                 100 kB
Private_Clean:         8 kB
Private_Dirty:         4 kB
7f0000000000-7f0000022000 rw-s 00000000 00:01 2  /memfd:brigade-mailbox (deleted)
Rss:                  16 kB
Private_Dirty:        12 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0  [stack]
Private_Dirty:        20 kB
";
        assert_eq!(
            sum(smaps),
            Memory {
                private: 32.0,
                mailbox: 16.0,
                tables: 0.0
            }
        );
        assert!(Memory::of(std::process::id()).expect("memory").private > 100.0);
    }
}
