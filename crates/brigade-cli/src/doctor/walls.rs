//! What the library makes of it: by what a worker's limits and the effects of a sandbox are
//! enforced here. It starts a worker in a sandbox, and looks for control groups as the library
//! does.

use brigade::Sandbox;
use brigade::process::{Enforcement, Limit, limited_by};
use brigade::sandbox::Effect;

use super::{Finding, Status};
use crate::cgroups::{self, Hierarchy};
use crate::procfs;

pub(super) fn look() -> Vec<Finding> {
    let report = Sandbox::deny_all().report();
    let limits = Limit::ALL.map(|limit| {
        let (id, name, means) = of_limit(limit);
        finding(id, name, &limited_by(limit), means)
    });
    let effects = Effect::ALL.map(|effect| {
        let (id, name) = of_effect(effect);
        let means = "In a sandbox that requires it; without it no worker starts.";
        finding(id, name, report.of(effect), means)
    });
    limits
        .into_iter()
        .chain(effects)
        .chain(oom_group(&cgroups::hierarchies()))
        .collect()
}

fn finding(
    id: &'static str,
    name: &'static str,
    state: &Enforcement,
    means: &'static str,
) -> Finding {
    let status = match state {
        Enforcement::Enforced(_) => Status::Yes,
        Enforcement::Partial(_) => Status::Partly,
        _ => Status::No,
    };
    Finding::new(id, name, status, state.to_string(), means)
}

fn of_limit(limit: Limit) -> (&'static str, &'static str, &'static str) {
    match limit {
        Limit::Memory => (
            "limit-memory",
            "limit: memory",
            "A worker over its memory_limit is ended, and no other.",
        ),
        Limit::Cpu => (
            "limit-cpu",
            "limit: processor time",
            "A task over its cpu_limit is ended.",
        ),
        Limit::OpenFiles => (
            "limit-files",
            "limit: open files",
            "A task gets an error for one more.",
        ),
        Limit::FileSize => (
            "limit-file-size",
            "limit: file size",
            "A task gets an error for one byte more.",
        ),
        Limit::Processes => (
            "limit-processes",
            "limit: processes",
            "A task gets an error for one more, threads included.",
        ),
        _ => ("limit", "limit", ""),
    }
}

fn of_effect(effect: Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::Files => ("sandbox-files", "sandbox: no files"),
        Effect::Network => ("sandbox-network", "sandbox: no network"),
        Effect::Programs => ("sandbox-programs", "sandbox: no new programs"),
        Effect::Signals => ("sandbox-signals", "sandbox: no signals to others"),
        Effect::Memory => ("sandbox-memory", "sandbox: no outside memory"),
        _ => ("sandbox", "sandbox"),
    }
}

/// Where the program's own control group is killed as a whole, or one that it is in, one worker's
/// lack of memory ends the program: Kubernetes does that since 1.28.
fn oom_group(hierarchies: &[Hierarchy]) -> Option<Finding> {
    // The library may have moved this program to a group below its own to look for places.
    let groups = hierarchies.iter().flat_map(|hierarchy| {
        let above = hierarchy.folder.ancestors();
        above.take_while(|group| group.starts_with(&hierarchy.mount))
    });
    let set: Vec<bool> = groups
        .filter_map(|group| procfs::number(group.join("memory.oom.group").to_str()?))
        .map(|number| number == 1)
        .collect();
    if set.is_empty() {
        return None;
    }
    let is_set = set.contains(&true);
    Some(Finding::new(
        "oom-group",
        "memory.oom.group",
        if is_set { Status::Partly } else { Status::Yes },
        if is_set { "set" } else { "not set" },
        if is_set {
            "If a worker takes more memory than the group may have, the kernel ends the whole group, this program too: give workers a memory_limit, or clear it (Kubernetes: singleProcessOOMKill)."
        } else {
            "A worker that is killed for lack of memory takes nothing along."
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_group_above_that_is_killed_as_a_whole_is_told() {
        let mount = std::env::temp_dir().join(format!("brigade-oom-{}", std::process::id()));
        let folder = mount.join("service/program");
        fs::create_dir_all(&folder).unwrap();
        let hierarchy = Hierarchy {
            version: 2,
            controllers: Vec::new(),
            folder: folder.clone(),
            mount: mount.clone(),
        };
        let status = || oom_group(std::slice::from_ref(&hierarchy)).map(|finding| finding.status);
        assert_eq!(status(), None);
        fs::write(folder.join("memory.oom.group"), "0\n").unwrap();
        assert_eq!(status(), Some(Status::Yes));
        fs::write(mount.join("service/memory.oom.group"), "1\n").unwrap();
        assert_eq!(status(), Some(Status::Partly));
        fs::remove_dir_all(&mount).unwrap();
    }
}
