//! What the kernel says of a process in `/proc`.

use std::fs;

use crate::fail::{Failure, OrFail as _};

/// Memory of one process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Pages that nobody else has: what its end gives back.
    pub(crate) private: u64,
    /// The private pages, plus its share of those that several have.
    pub(crate) proportional: u64,
}

/// `self` or a process id, as a folder of `/proc`.
fn folder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"))
}

/// Memory of a process; `None` is this one.
pub(crate) fn memory(pid: Option<u32>) -> Result<Memory, Failure> {
    let path = format!("{}/smaps_rollup", folder(pid));
    let text = fs::read_to_string(&path).or_fail(&path)?;
    parse_rollup(&text).ok_or_else(|| Failure::new(format!("{path} has no figures")))
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let private =
        ["Private_Clean", "Private_Dirty", "Private_Hugetlb"].map(|name| field(text, name));
    private[1]?;
    Some(Memory {
        private: private.into_iter().flatten().sum(),
        proportional: field(text, "Pss")?,
    })
}

/// A line `Name:   12 kB` in bytes.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Bytes of page tables of a process.
pub(crate) fn page_tables(pid: Option<u32>) -> Result<u64, Failure> {
    let path = format!("{}/status", folder(pid));
    let text = fs::read_to_string(&path).or_fail(&path)?;
    field(&text, "VmPTE").ok_or_else(|| Failure::new(format!("{path} has no VmPTE")))
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> Result<u32, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).or_fail(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|parent| parent.trim().parse().ok())
        .ok_or_else(|| Failure::new(format!("{path} has no PPid")))
}

/// Bytes of address space of this process.
pub(crate) fn address_space() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/self/status").or_fail("/proc/self/status")?;
    field(&text, "VmSize").ok_or_else(|| Failure::new("/proc/self/status has no VmSize"))
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: Option<u32>) -> Result<usize, Failure> {
    let path = format!("{}/fd", folder(pid));
    let count = fs::read_dir(&path).or_fail(&path)?.count();
    // Reading our own list takes one descriptor, which is in the list.
    Ok(if pid.is_none() {
        count.saturating_sub(1)
    } else {
        count
    })
}

/// Mapped areas of a process.
pub(crate) fn mappings(pid: Option<u32>) -> Result<usize, Failure> {
    let path = format!("{}/maps", folder(pid));
    Ok(fs::read_to_string(&path).or_fail(&path)?.lines().count())
}

/// Bytes that programs can still get without swapping.
pub(crate) fn available() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/meminfo").or_fail("/proc/meminfo")?;
    field(&text, "MemAvailable").ok_or_else(|| Failure::new("/proc/meminfo has no MemAvailable"))
}

/// Bytes of memory of the machine.
pub(crate) fn total() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// A file that holds one number, or a word such as `max`: then `None`.
pub(crate) fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:     2000 kB\nPss:      120 kB\n\
        Pss_Dirty:  64 kB\nPrivate_Clean:   4 kB\nPrivate_Dirty:  60 kB\nSwap: 0 kB\n";

    #[test]
    fn a_rollup_is_read() {
        let memory = parse_rollup(ROLLUP).unwrap();
        assert_eq!(
            memory,
            Memory {
                private: 64 * 1024,
                proportional: 120 * 1024
            }
        );
        assert_eq!(parse_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        assert!(memory(None).unwrap().proportional > 0);
        assert!(descriptors(None).unwrap() >= 3);
        assert!(mappings(None).unwrap() > 3);
        assert!(page_tables(None).unwrap() > 0);
        assert_eq!(
            parent(std::process::id()).unwrap(),
            std::os::unix::process::parent_id()
        );
    }
}
