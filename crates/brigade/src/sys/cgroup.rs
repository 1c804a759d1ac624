//! Where the files of this process's control groups are: cgroups(7), cgroup_namespaces(7).
//!
//! Problem: /proc/self/cgroup names a group by its path below the root of this process's control
//! group *namespace*; and what is mounted at /sys/fs/cgroup may be another part of the hierarchy,
//! or be mounted elsewhere. So each mount says what part it shows (/proc/self/mountinfo, the field
//! "root"), seen from the same namespace, and the group's path is taken relative to that:
//!
//! - `/` or a group above this process's: what is left of the path is below the mount.
//! - `/..`, `/../..`: the mount is older than the namespace, and shows levels above its root, one
//!   for each `..`. No file says what these levels are called; so the group is looked for there, by
//!   the processes in it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use crate::sys::error::Call;

/// Directories that are looked into, at the most, for a group whose name is not known.
const MOST_SEARCHED: usize = 4096;

/// The directories of the group of this process that has this controller; and the directory that
/// each of them is mounted at, at which the hierarchy ends for this process. Those that have been
/// found by name come first.
pub(crate) fn directories(controller: &str) -> Vec<(PathBuf, PathBuf)> {
    let groups = fs::read("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let is_here = |directory: &Path| has_process(directory, std::process::id());
    find(&groups, &mounts, controller, is_here)
}

/// The lowest limit of threads and processes of this process's group, and of those above it.
pub(crate) fn lowest_pids_max() -> Option<u64> {
    lowest("pids", &["pids.max"])
}

/// The lowest limit of bytes of memory, of the same groups. Where there is none, version 1 says a
/// very large number.
pub(crate) fn lowest_memory_max() -> Option<u64> {
    lowest("memory", &["memory.max", "memory.limit_in_bytes"])
}

/// The lowest number in files of these names, in this process's group and in those above it.
fn lowest(controller: &str, names: &[&str]) -> Option<u64> {
    let limits = directories(controller)
        .into_iter()
        .flat_map(|(group, top)| {
            let groups: Vec<PathBuf> = group
                .ancestors()
                .take_while(|above| above.starts_with(&top))
                .flat_map(|above| names.iter().map(|name| above.join(name)))
                .collect();
            groups.into_iter().filter_map(|file| {
                let text = fs::read_to_string(file).ok()?;
                text.trim().parse().ok()
            })
        });
    limits.min()
}

/// Version 2: what is made in this group has the controllers of memory and processes, where this
/// group has them.
pub(crate) fn enable_below(group: &Path) {
    if group.join("cgroup.subtree_control").exists() {
        for controller in ["+memory", "+pids"] {
            let _ = write(group, "cgroup.subtree_control", controller);
        }
    }
}

/// Removes a group with those below it, as far as there is nothing in them.
pub(crate) fn remove_empty(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        // A group's files are no directories.
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&below.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Limits the memory of a group, with all below it.
pub(crate) fn limit_memory(group: &Path, bytes: u64) -> io::Result<()> {
    let bytes = bytes.to_string();
    if group.join("memory.max").exists() {
        write(group, "memory.max", &bytes)?;
        // Where swap is not counted, there is none to limit.
        let _ = write(group, "memory.swap.max", "0");
    } else {
        write(group, "memory.limit_in_bytes", &bytes)?;
        let _ = write(group, "memory.memsw.limit_in_bytes", &bytes);
    }
    Ok(())
}

/// Limits the processes and threads of a group, with all below it.
pub(crate) fn limit_processes(group: &Path, count: u64) -> io::Result<()> {
    write(group, "pids.max", &count.to_string())
}

/// Writes to one of a group's files.
pub(crate) fn write(group: &Path, file: &str, text: &str) -> io::Result<()> {
    let file = group.join(file);
    fs::write(&file, text)
        .call("write(2)")
        .at(|| file.display().to_string())
}

fn find(
    groups: &[u8],
    mounts: &[u8],
    controller: &str,
    is_here: impl Fn(&Path) -> bool,
) -> Vec<(PathBuf, PathBuf)> {
    let mut named = Vec::new();
    let mut searched = Vec::new();
    for mount in mounts.split(|&b| b == b'\n').filter_map(Mount::parse) {
        let Some(group) = mount.group(groups, controller) else {
            continue;
        };
        match below(&mount.root, &group) {
            Below::Path(path) => named.push((join(&mount.at, &path), mount.at)),
            Below::Unnamed(levels) => {
                let mut left = MOST_SEARCHED;
                if let Some(root) = search(&mount.at, levels, &mut left, &|directory| {
                    is_here(&join(directory, &group))
                }) {
                    searched.push((join(&root, &group), mount.at));
                }
            }
            Below::Outside => {}
        }
    }
    named.append(&mut searched);
    named
}

/// A mount of a hierarchy.
struct Mount {
    /// What of the hierarchy it shows.
    root: PathBuf,
    at: PathBuf,
    /// The mount's controllers, of version 1; `None`: it is of version 2, and has those that are
    /// left.
    controllers: Option<Vec<u8>>,
}

impl Mount {
    /// number parent device root at options fields… - type source options: proc_pid_mountinfo(5).
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|&b| b == b' ');
        let root = path(fields.nth(3)?);
        let at = path(fields.next()?);
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = rest.next()?;
        let controllers = match kind {
            b"cgroup2" => None,
            b"cgroup" => Some(rest.nth(1)?.to_vec()),
            _ => return None,
        };
        Some(Mount {
            root,
            at,
            controllers,
        })
    }

    /// The path of this process's group in this hierarchy, if it may have this controller:
    /// `number:controllers:path` in /proc/self/cgroup, without controllers for version 2.
    fn group(&self, groups: &[u8], controller: &str) -> Option<PathBuf> {
        let has = |list: &[u8]| {
            list.split(|&b| b == b',')
                .any(|c| c == controller.as_bytes())
        };
        if self.controllers.as_deref().is_some_and(|list| !has(list)) {
            return None;
        }
        groups.split(|&b| b == b'\n').find_map(|line| {
            let mut parts = line.splitn(3, |&b| b == b':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_ours = match &self.controllers {
                Some(_) => has(controllers),
                None => controllers.is_empty(),
            };
            is_ours.then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
        })
    }
}

/// A path in mountinfo, in which some bytes are written as three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| first == b'\\');
        let escaped = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Where a group is, seen from a mount.
enum Below {
    Path(PathBuf),
    /// This many levels, whose names are not known, above the root that the group's path begins at.
    Unnamed(usize),
    Outside,
}

fn below(root: &Path, group: &Path) -> Below {
    let is_up = |c: &Component<'_>| matches!(c, Component::ParentDir);
    if group.components().any(|c| is_up(&c)) {
        return Below::Outside;
    }
    if let Ok(path) = group.strip_prefix(root) {
        return Below::Path(path.to_owned());
    }
    let steps: Vec<_> = root
        .components()
        .filter(|c| !matches!(c, Component::RootDir))
        .collect();
    match steps.iter().all(is_up) {
        true => Below::Unnamed(steps.len()),
        false => Below::Outside,
    }
}

/// A path of a group below a directory.
fn join(directory: &Path, group: &Path) -> PathBuf {
    directory.join(group.strip_prefix("/").unwrap_or(group))
}

/// A directory `levels` levels below this one that `is_it`.
fn search(
    directory: &Path,
    levels: usize,
    left: &mut usize,
    is_it: &impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    *left = left.checked_sub(1)?;
    if levels == 0 {
        return is_it(directory).then(|| directory.to_owned());
    }
    let entries = fs::read_dir(directory).ok()?;
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| search(&entry.path(), levels - 1, left, is_it))
}

/// Whether a process is in this group, by the numbers of this process's pid namespace.
fn has_process(group: &Path, pid: u32) -> bool {
    let processes = fs::read(group.join("cgroup.procs")).unwrap_or_default();
    let pid = pid.to_string();
    processes
        .split(|&b| b == b'\n')
        .any(|line| line == pid.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] =
        b"30 25 0:27 ROOT /cg/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
    const V2: &[u8] = b"31 25 0:28 ROOT /cg/un\\040i\xff rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn found(mounts: &[u8], root: &str, groups: &str) -> Vec<PathBuf> {
        let text: Vec<u8> = mounts
            .split(|&b| b == b' ')
            .map(|field| {
                if field == b"ROOT" {
                    root.as_bytes()
                } else {
                    field
                }
            })
            .collect::<Vec<_>>()
            .join(&b' ');
        find(groups.as_bytes(), &text, "memory", |_| false)
            .into_iter()
            .map(|(group, _)| group)
            .collect()
    }

    #[test]
    fn a_group_is_below_its_mount_by_what_that_shows() {
        let group = "9:cpu:/x\n8:name=systemd:/y\n7:hugetlb,memory:/a/b\n0::/c/d\n";
        assert_eq!(found(V1, "/", group), [PathBuf::from("/cg/memory/a/b")]);
        assert_eq!(found(V1, "/a", group), [PathBuf::from("/cg/memory/b")]);
        assert_eq!(found(V1, "/a/b", group), [PathBuf::from("/cg/memory/")]);
        assert!(found(V1, "/other", group).is_empty());
        assert!(found(V1, "/", "7:memory:/../z\n").is_empty());
        let odd = PathBuf::from(OsString::from_vec(b"/cg/un i\xff/c/d".to_vec()));
        assert_eq!(found(V2, "/", group), [odd]);
        assert!(found(b"1 2 0:1 / /proc rw - proc proc rw\n", "/", group).is_empty());
    }

    #[test]
    fn a_group_above_whose_namespace_the_mount_is_is_looked_for() {
        let top = std::env::temp_dir().join(format!("brigade-cgroup-{}", std::process::id()));
        for group in ["one/three", "one/two/deeper", "two/one"] {
            fs::create_dir_all(top.join(group)).expect("made");
        }
        fs::write(top.join("one/two/cgroup.procs"), "7\n77\n").expect("written");
        fs::write(top.join("two/one/cgroup.procs"), "70\n").expect("written");
        let mount = format!(
            "30 25 0:27 /../.. {} rw - cgroup cgroup rw,memory",
            top.display()
        );
        let found = find(b"7:memory:/\n", mount.as_bytes(), "memory", |d| {
            has_process(d, 77)
        });
        assert_eq!(found, [(top.join("one/two"), top.clone())]);
        let found = find(b"7:memory:/\n", mount.as_bytes(), "memory", |d| {
            has_process(d, 71)
        });
        assert!(found.is_empty());
        fs::remove_dir_all(&top).expect("removed");
    }

    #[test]
    fn this_process_is_in_what_is_found() {
        for (group, top) in directories("memory") {
            assert!(group.starts_with(&top), "{group:?} {top:?}");
            if group.join("cgroup.procs").exists() {
                assert!(has_process(&group, std::process::id()), "{group:?}");
            }
        }
    }
}
