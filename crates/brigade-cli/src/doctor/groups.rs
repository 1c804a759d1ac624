//! Control groups: limits for a worker and all that it starts, and killing them together.

use super::{Finding, Status};
use crate::cgroups::{self, Hierarchy};

/// What Brigade can use.
const USEFUL: [&str; 4] = ["memory", "pids", "cpu", "freezer"];

pub(super) fn look() -> Vec<Finding> {
    let hierarchies = cgroups::hierarchies();
    let writable = Hierarchy::is_writable;
    vec![
        first_version(&hierarchies, writable),
        second_version(&hierarchies, writable),
    ]
}

fn first_version(hierarchies: &[Hierarchy], writable: impl Fn(&Hierarchy) -> bool) -> Finding {
    let (id, name) = ("cgroup-v1", "control groups, v1");
    let ours: Vec<(&Hierarchy, bool)> = hierarchies
        .iter()
        .filter(|hierarchy| hierarchy.version == 1)
        .map(|one| (one, writable(one)))
        .collect();
    let controllers = |wanted: bool| -> Vec<&str> {
        let of_kind = ours.iter().filter(|(_, writable)| *writable == wanted);
        of_kind
            .flat_map(|(hierarchy, _)| &hierarchy.controllers)
            .map(String::as_str)
            .collect()
    };
    let (can, cannot) = (controllers(true), controllers(false));
    if can.is_empty() && cannot.is_empty() {
        return Finding::new(
            id,
            name,
            Status::No,
            "not mounted",
            "Nothing to worry about if v2 is there: see below.",
        );
    }
    let useful: Vec<&str> = USEFUL
        .into_iter()
        .filter(|name| can.contains(name))
        .collect();
    let mut found = Vec::new();
    if !can.is_empty() {
        found.push(format!("writable: {}", can.join(", ")));
    }
    if !cannot.is_empty() {
        found.push(format!("read-only: {}", cannot.join(", ")));
    }
    Finding::new(
        id,
        name,
        status(useful.len()),
        found.join("; "),
        meaning(&useful),
    )
}

fn second_version(hierarchies: &[Hierarchy], writable: impl Fn(&Hierarchy) -> bool) -> Finding {
    let (id, name) = ("cgroup-v2", "control groups, v2");
    let Some(ours) = hierarchies.iter().find(|hierarchy| hierarchy.version == 2) else {
        return Finding::new(
            id,
            name,
            Status::No,
            "not mounted",
            "Nothing to worry about if v1 is there: see above.",
        );
    };
    let writable = writable(ours);
    let list = if ours.controllers.is_empty() {
        "no controllers".to_owned()
    } else {
        ours.controllers.join(", ")
    };
    let found = format!(
        "{}, at {}; {list}",
        if writable { "writable" } else { "read-only" },
        ours.folder.display()
    );
    if !writable {
        let means = "Limits for a worker and all it starts take a group that is delegated to this user (systemd: Delegate=yes).";
        return Finding::new(id, name, Status::No, found, means);
    }
    // Freezing needs no controller in v2: every group below the root can be frozen, and killed as a
    // whole.
    let useful: Vec<&str> = USEFUL
        .into_iter()
        .filter(|name| ours.controllers.iter().any(|one| one == name))
        .chain(["freezer"])
        .collect();
    let means = format!(
        "{} A worker and all it started can be killed in one step.",
        meaning(&useful)
    );
    Finding::new(id, name, status(useful.len()), found, means)
}

fn status(useful: usize) -> Status {
    match useful {
        0 => Status::No,
        some if some >= USEFUL.len() => Status::Yes,
        _ => Status::Partly,
    }
}

fn meaning(useful: &[&str]) -> String {
    if useful.is_empty() {
        return "Workers can be limited by their own rlimits only, not together with what they start.".to_owned();
    }
    let words: Vec<&str> = useful
        .iter()
        .map(|name| match *name {
            "memory" => "their memory limited",
            "pids" => "their number limited",
            "cpu" => "their share of the processor limited",
            _ => "all of them frozen",
        })
        .collect();
    format!("A worker and what it starts can have {}.", words.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn hierarchy(version: u8, controllers: &[&str]) -> Hierarchy {
        Hierarchy {
            version,
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            folder: PathBuf::from("/sys/fs/cgroup"),
            mount: PathBuf::from("/sys/fs/cgroup"),
        }
    }

    #[test]
    fn both_versions_are_judged_by_what_can_be_used() {
        let first = [
            hierarchy(1, &["memory"]),
            hierarchy(1, &["pids"]),
            hierarchy(1, &["cpu"]),
            hierarchy(1, &["freezer"]),
        ];
        assert_eq!(first_version(&first, |_| true).status, Status::Yes);
        assert_eq!(first_version(&first, |_| false).status, Status::No);
        assert_eq!(first_version(&[], |_| true).status, Status::No);
        let second = [hierarchy(2, &["cpu", "memory", "pids"])];
        assert_eq!(second_version(&second, |_| true).status, Status::Yes);
        assert_eq!(
            second_version(&[hierarchy(2, &[])], |_| true).status,
            Status::Partly
        );
        assert_eq!(second_version(&second, |_| false).status, Status::No);
    }

    #[test]
    fn this_machine_gives_an_answer_for_each() {
        assert_eq!(look().len(), 2);
    }
}
