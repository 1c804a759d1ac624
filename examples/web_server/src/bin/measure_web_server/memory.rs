//! What a server takes of the machine: memory, and processor time.

use std::fs;
use std::path::Path;
use std::time::Duration;

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

/// Processor time of all processes that run this program, and of those of them that have ended:
/// proc(5), `utime` to `cstime`. It depends less than the clock on what else the machine does.
pub(crate) fn processor_time(program: &Path) -> Duration {
    let ticks = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may have spaces in it.
        let (_, rest) = text.rsplit_once(") ")?;
        let times = rest.split(' ').skip(11).take(4);
        Some(times.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>())
    };
    let ticks: u64 = running(program).into_iter().filter_map(ticks).sum();
    let each = Duration::from_secs(1) / rustix::param::clock_ticks_per_second() as u32;
    each * u32::try_from(ticks).unwrap_or(u32::MAX)
}
