//! The control groups of this worker: cgroups(7).
//!
//! It makes a group of its own below the directory that the host names, called by its process
//! number, and moves there. The fork server removes it after the worker's end.
//!
//! A move waits for the kernel to have seen all processors pass a quiet state: 8 ms here, some 40
//! times what it takes to start a task in a spare. So spares move when they are made, once the host
//! has limited anything, and a group's limits are written when its worker is given a task: any
//! spare does for any limits. To be born in the group instead (clone3(2), `CLONE_INTO_CGROUP`,
//! version 2 only) would save the fork server no time and a task none, and the C library does not
//! know a process that it has not forked: abort(3) in it would signal another thread.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::sys::cgroup;
use crate::sys::error::Call;

/// The groups that this worker is in: at most one of each controller's.
static ENTERED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A spare: moves to groups of its own below these directories, ahead of its task. Where it cannot,
/// the error comes when it is to be limited.
pub(super) fn enter_ahead(directories: &[PathBuf]) {
    for below in directories {
        let _ = enter(below.as_os_str().as_bytes());
    }
}

/// The group of this worker below a directory, with this worker in it.
pub(super) fn enter(below: &[u8]) -> io::Result<PathBuf> {
    let group = Path::new(OsStr::from_bytes(below)).join(std::process::id().to_string());
    let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !entered.contains(&group) {
        make(&group)?;
        cgroup::write(&group, "cgroup.procs", "0")?;
        entered.push(group.clone());
    }
    Ok(group)
}

fn make(group: &Path) -> io::Result<()> {
    if let Some(below) = group.parent() {
        // The directory itself is removed by the last fork server that uses it, or by the host with
        // its pool. Another worker may have made it just now, and not come as far.
        let _ = fs::create_dir(below);
        cgroup::enable_below(below);
    }
    fs::create_dir_all(group)
        .call("mkdir(2)")
        .needed_to("make a control group")?;
    // Version 2: all of a worker is killed, or nothing: its children are of no use without it.
    let _ = cgroup::write(group, "memory.oom.group", "1");
    Ok(())
}
