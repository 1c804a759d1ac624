//! The control groups this program is in: where they are, what they control, and how many tasks
//! they leave room for.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::procfs;

/// One hierarchy of control groups, and our place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// 1 or 2.
    pub(crate) version: u8,
    /// What can be controlled in our group.
    pub(crate) controllers: Vec<String>,
    /// The folder of our group.
    pub(crate) folder: PathBuf,
    /// Where the hierarchy is mounted: groups above it cannot be seen.
    pub(crate) mount: PathBuf,
}

impl Hierarchy {
    /// May this program make groups below its own?
    pub(crate) fn is_writable(&self) -> bool {
        access(&self.folder, Access::WRITE_OK).is_ok()
            && access(self.folder.join("cgroup.procs"), Access::WRITE_OK).is_ok()
    }
}

/// All hierarchies that are mounted where this program can see them.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = parse(&ours, &mounts);
    for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.version == 2) {
        let list =
            fs::read_to_string(hierarchy.folder.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.controllers = list.split_whitespace().map(str::to_owned).collect();
    }
    found
}

fn parse(ours: &str, mounts: &str) -> Vec<Hierarchy> {
    let groups: Vec<(&str, &str)> = ours
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    mounts
        .lines()
        .filter_map(|line| place(line, &groups))
        .collect()
}

/// Our place under a line of `mountinfo`, if that is a mount of control groups.
fn place(line: &str, groups: &[(&str, &str)]) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, mount) = (fields.next()?, fields.next()?);
    let mut fields = filesystem.split(' ');
    let (version, options) = match fields.next()? {
        "cgroup" => (1, fields.nth(1)?),
        "cgroup2" => (2, ""),
        _ => return None,
    };
    let mounted: Vec<&str> = options.split(',').collect();
    let (names, path) = groups.iter().find(|(names, _)| match version {
        1 => names
            .split(',')
            .any(|name| !name.is_empty() && mounted.contains(&name)),
        _ => names.is_empty(),
    })?;
    let below = path
        .strip_prefix(root)
        .unwrap_or(path)
        .trim_start_matches('/');
    let controllers = names
        .split(',')
        .filter(|name| !name.is_empty() && !name.starts_with("name="));
    Some(Hierarchy {
        version,
        controllers: controllers.map(str::to_owned).collect(),
        folder: Path::new(mount).join(below),
        mount: PathBuf::from(mount),
    })
}

/// How many more tasks our groups allow; `None` when none of them sets a limit.
pub(crate) fn room_for_tasks() -> Option<u64> {
    hierarchies()
        .iter()
        .filter(|hierarchy| hierarchy.controllers.iter().any(|name| name == "pids"))
        .flat_map(|hierarchy| {
            let top = hierarchy.mount.clone();
            hierarchy
                .folder
                .ancestors()
                .take_while(|folder| folder.starts_with(&top))
                .map(Path::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|folder| {
            let max = procfs::number(folder.join("pids.max").to_str()?)?;
            let now = procfs::number(folder.join("pids.current").to_str()?)?;
            Some(max.saturating_sub(now))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/a\n0::/u\n";
    const MOUNTS: &str = "\
30 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 25 0:28 /a /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
32 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
33 25 0:30 / /proc rw - proc proc rw
34 25 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
";

    #[test]
    fn both_versions_are_placed() {
        let found = parse(OURS, MOUNTS);
        let folders: Vec<_> = found
            .iter()
            .map(|hierarchy| hierarchy.folder.to_str().unwrap())
            .collect();
        // The second is mounted from /a, which is where we are; `devices` is mounted, but we are in
        // no group of it.
        assert_eq!(
            folders,
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/cpu,cpuacct/",
                "/sys/fs/cgroup/unified/u"
            ]
        );
        assert_eq!(found[1].controllers, ["cpu", "cpuacct"]);
        assert_eq!(found[2].version, 2);
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        assert_eq!(
            parse("x\n::\n", "nonsense\n1 2 3\na b c d e - cgroup\n"),
            []
        );
    }
}
