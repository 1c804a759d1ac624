//! How much there is of everything: cores, and what one user or program may have.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::{Finding, Status};
use crate::{cgroups, cores, procfs};

pub(super) fn look() -> Vec<Finding> {
    vec![processors(), descriptors(), tasks(), memory()]
}

fn processors() -> Finding {
    let usable = cores::allowed().len();
    let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let online = online.map_or_else(String::new, |list| format!(" (online: {})", list.trim()));
    let quota = quota();
    let quota_text = quota.map_or_else(String::new, |cores| {
        format!("; a quota of {cores:.1} cores")
    });
    let found = format!("{usable} that this program may use{online}{quota_text}");
    let (status, means) = match usable {
        1 => (
            Status::Partly,
            "Workers take turns: no speed-up, and waiting by looking again would only be in the way.".to_owned(),
        ),
        many => (Status::Yes, format!("Up to {many} workers compute at once, and a waiter may look again before it sleeps.")),
    };
    let (status, means) = match quota {
        Some(cores) if cores < usable as f64 => (
            Status::Partly,
            format!(
                "More than {cores:.1} busy workers are throttled by the control group, though {usable} cores are seen."
            ),
        ),
        _ => (status, means),
    };
    Finding::new("cores", "cores", status, found, means)
}

/// Cores that our control groups allow, if they set a quota.
fn quota() -> Option<f64> {
    let mut least: Option<f64> = None;
    for hierarchy in cgroups::hierarchies() {
        if !hierarchy.controllers.iter().any(|name| name == "cpu") {
            continue;
        }
        let pair = if hierarchy.version == 2 {
            let text = fs::read_to_string(hierarchy.folder.join("cpu.max")).unwrap_or_default();
            let mut words = text.split_whitespace().map(str::parse::<f64>);
            words.next().zip(words.next())
        } else {
            let read = |name| {
                fs::read_to_string(hierarchy.folder.join(name))
                    .ok()
                    .map(|text| text.trim().parse::<f64>())
            };
            read("cpu.cfs_quota_us").zip(read("cpu.cfs_period_us"))
        };
        // `max`, and -1 in the first version: no quota.
        if let Some((Ok(quota), Ok(period))) = pair
            && quota > 0.0
            && period > 0.0
        {
            least = Some(least.map_or(quota / period, |least| least.min(quota / period)));
        }
    }
    least
}

fn limit_text(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let found = format!(
        "RLIMIT_NOFILE {}, at most {}",
        limit_text(limit.current),
        limit_text(limit.maximum)
    );
    // A few per worker process (of the fork server, which has the same limit), and some for the
    // program itself.
    let (status, means) = if soft >= 4096 {
        (
            Status::Yes,
            "Enough for about a thousand worker processes at once.",
        )
    } else {
        (
            Status::Partly,
            "Each worker process takes a few: raise the limit (ulimit -n) for hundreds at once.",
        )
    };
    Finding::new("descriptors", "open descriptors", status, found, means)
}

fn tasks() -> Finding {
    let limit = getrlimit(Resource::Nproc).current;
    let root = rustix::process::geteuid().is_root();
    let pid_max = procfs::number("/proc/sys/kernel/pid_max");
    let threads_max = procfs::number("/proc/sys/kernel/threads-max");
    let group = cgroups::room_for_tasks();
    let mut found = vec![format!(
        "RLIMIT_NPROC {}{}",
        limit_text(limit),
        if root { " (not applied to root)" } else { "" }
    )];
    found.extend(pid_max.map(|max| format!("pid_max {max}")));
    found.extend(threads_max.map(|max| format!("threads-max {max}")));
    found.extend(group.map(|room| format!("room for {room} more in the control group")));
    let user = if root { None } else { limit };
    let least = [user, pid_max, threads_max, group]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX);
    let status = if least >= 2_048 {
        Status::Yes
    } else {
        Status::Partly
    };
    let means = if root {
        "As root only the control group limits how many processes a worker may start; a sandbox has to use that, or another user."
            .to_owned()
    } else {
        format!(
            "At most {} tasks at once, threads and processes together.",
            limit_text(Some(least))
        )
    };
    Finding::new(
        "tasks",
        "processes and threads",
        status,
        found.join(", "),
        means,
    )
}

fn memory() -> Finding {
    let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let available = procfs::available().ok();
    let overcommit = procfs::number("/proc/sys/vm/overcommit_memory");
    let address_space = getrlimit(Resource::As).current;
    let mut found: Vec<String> = Vec::new();
    found.extend(
        procfs::total()
            .zip(available)
            .map(|(all, free)| format!("{} of {} free", gibibytes(free), gibibytes(all))),
    );
    found.extend(overcommit.map(|mode| format!("overcommit_memory {mode}")));
    found.push(format!(
        "RLIMIT_AS {}",
        address_space.map_or_else(|| "unlimited".to_owned(), gibibytes)
    ));
    let (status, means) = match overcommit {
        Some(2) => (
            Status::Partly,
            "Without overcommit a large program may be refused a fork. Brigade forks from a small server, not from the program.",
        ),
        _ => (
            Status::Yes,
            "A worker over its limit fails alone; a machine out of memory is the kernel's to settle.",
        ),
    };
    Finding::new("memory", "memory", status, found.join(", "), means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_found_on_a_machine_with_proc() {
        for finding in look() {
            assert!(!finding.found.is_empty(), "{finding:?}");
        }
    }
}
