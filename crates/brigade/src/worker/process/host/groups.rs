//! Where workers may have control groups of their own: cgroups(7), `cgroup-v2.rst`,
//! `cgroup-v1/memory.rst`, `cgroup-v1/pids.rst`.
//!
//! They are made below the group that the program is in, so that its limits are theirs too, in a
//! directory named after the program's process. With version 2 a group that limits memory for its
//! children must have no process itself: so the program, its fork server and its workers move to a
//! child first; that is done only where no other process is in the group. Nothing is done at all
//! before a worker is to be limited.
//!
//! What is left of programs that were killed together with their fork server is removed by the next
//! program that looks here.

mod of_pool;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sys::cgroup;
use crate::sys::error::Call;
use crate::sys::per_process::PerProcess;
use crate::sys::process;
use crate::worker::process::host::client::ForkServerClient;

pub(crate) use of_pool::{Whole, end_pool, limit_pool};

/// The start of the name of all directories that are made.
const PREFIX: &str = "brigade-";
/// The group of the program and its other processes, where it had to move.
const PROGRAM: &str = "program";
/// The bytes of both paths that a message to the fork server has room for.
const MAX_PATH_BYTES: usize = 380;

/// Where groups for workers are made, by controller; or why there are none.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) memory: Result<PathBuf, String>,
    pub(crate) processes: Result<PathBuf, String>,
}

/// Of this program; found out once.
pub(crate) fn here() -> &'static Groups {
    static HERE: PerProcess<OnceLock<Groups>> = PerProcess::new(OnceLock::new);
    HERE.get().get_or_init(Groups::find)
}

impl Groups {
    fn find() -> Groups {
        // Both before the first, for which the program may have to move.
        let of = |controller| {
            let directories = cgroup::directories(controller).into_iter();
            directories.map(|(group, _)| group).collect::<Vec<_>>()
        };
        let (memory, processes) = (of("memory"), of("pids"));
        let groups = Groups {
            memory: place(&memory, "memory", &["memory.max", "memory.limit_in_bytes"]),
            processes: place(&processes, "pids", &["pids.max"]),
        };
        let len = [&groups.memory, &groups.processes]
            .into_iter()
            .flatten()
            .map(|path| path.as_os_str().len())
            .sum::<usize>();
        if len <= MAX_PATH_BYTES {
            return groups;
        }
        let too_long = || Err("the path of the control group is too long".to_owned());
        Groups {
            memory: too_long(),
            processes: too_long(),
        }
    }

    /// One of these paths as it stands in a worker's setup: nothing where there is none.
    pub(crate) fn bytes(of: &Result<PathBuf, String>) -> Vec<u8> {
        let path = of.as_ref().map(|path| OsString::from(path).into_vec());
        path.unwrap_or_default()
    }
}

/// A directory below which groups with this controller can be made: they have one of these files.
fn place(groups: &[PathBuf], controller: &str, limits: &[&str]) -> Result<PathBuf, String> {
    let mut why = format!("no control group with the controller {controller} is mounted");
    for group in groups {
        match try_place(group, controller, limits) {
            Ok(place) => return Ok(place),
            Err(e) => why = format!("none can be made in {}: {e}", group.display()),
        }
    }
    Err(why)
}

fn try_place(group: &Path, controller: &str, limits: &[&str]) -> io::Result<PathBuf> {
    remove_left(group);
    if group.join("cgroup.subtree_control").exists() {
        enable(group, controller)?;
    }
    let place = group.join(format!("{PREFIX}{}", std::process::id()));
    make(&place)?;
    if group.join("cgroup.subtree_control").exists() {
        write(
            &place.join("cgroup.subtree_control"),
            &format!("+{controller}"),
        )?;
    }
    // What is made below has the controller's files.
    let probe = place.join("probe");
    make(&probe)?;
    let has = limits.iter().any(|limit| probe.join(limit).exists());
    let _ = fs::remove_dir(&probe);
    // The first worker makes it again, and the fork server removes it.
    let _ = fs::remove_dir(&place);
    if has {
        return Ok(place);
    }
    Err(io::Error::other(format!(
        "the groups below it have no controller {controller}"
    )))
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.call("mkdir(2)"),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::write(file, text).call("write(2)")
}

/// Version 2: lets the groups below this one have the controller.
fn enable(group: &Path, controller: &str) -> io::Result<()> {
    let control = group.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).call("open(2)")?;
    if enabled.split_whitespace().any(|c| c == controller) {
        return Ok(());
    }
    let add = format!("+{controller}");
    match write(&control, &add) {
        // With processes in it, it may not. The root group may.
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {}
        written => return written,
    }
    let own = group.join(format!("{PREFIX}{}-{PROGRAM}", std::process::id()));
    make(&own)?;
    let moved = move_all(group, &own).and_then(|()| write(&control, &add));
    if moved.is_err() {
        let _ = move_all(&own, group);
        let _ = fs::remove_dir(&own);
    }
    moved
}

/// Moves this program and its other processes to a group, if there are no others.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let procs = fs::read_to_string(from.join("cgroup.procs")).call("open(2)")?;
    let pids: Vec<u32> = procs.lines().filter_map(|line| line.parse().ok()).collect();
    if let Some(other) = pids.iter().find(|&&pid| !is_ours(pid)) {
        return Err(io::Error::other(format!(
            "process {other} is in the program's control group too; start the program in one of its own (systemd-run --scope -p Delegate=yes)"
        )));
    }
    for pid in pids {
        write(&to.join("cgroup.procs"), &pid.to_string())?;
    }
    Ok(())
}

/// Whether this is the program itself, one of its fork servers, or a child of one.
fn is_ours(pid: u32) -> bool {
    let servers = ForkServerClient::pids();
    pid == std::process::id()
        || servers.contains(&pid)
        || parent_of(pid).is_some_and(|parent| servers.contains(&parent))
}

/// The fourth field of /proc/[pid]/stat, proc_pid_stat(5), behind the name, which may contain
/// anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(&stat[name_ends + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Removes the directories of programs that have ended.
fn remove_left(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let number = number.and_then(|rest| rest.split('-').next()?.parse().ok());
        if number.is_some_and(|pid: u32| !process::is_there(pid)) {
            cgroup::remove_empty(&entry.path());
        }
    }
}
