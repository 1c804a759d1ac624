//! What a server takes of the machine's memory.

use std::fs;
use std::path::Path;

/// The processes that run this program. The fork servers and workers of a Brigade program are no
/// descendants of it, but they are the same file.
pub(crate) fn running(program: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let runs_it = |pid: &u32| {
        let running = fs::read_link(format!("/proc/{pid}/exe"));
        running.is_ok_and(|running| running == program)
    };
    pids.filter(runs_it).collect()
}

/// Bytes of all processes that run this program, with each page that several share counted once in
/// all: proc(5), `Pss`.
pub(crate) fn of(program: &Path) -> u64 {
    let pss = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    running(program).into_iter().filter_map(pss).sum::<u64>() << 10
}
