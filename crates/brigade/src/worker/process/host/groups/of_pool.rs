//! A pool that is limited as a whole: its workers' groups are below one of its own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{here, make};
use crate::sys::cgroup;
use crate::sys::error::Call;
use crate::worker::process::ipc::protocol::Limits;

/// What a pool may use, all its workers together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) processes: Option<u64>,
}

/// Makes the groups of a pool, and has its workers make theirs below; [`end_pool`] removes them.
pub(crate) fn limit_pool(limits: &mut Limits, whole: Whole) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if whole.memory.is_none() && whole.processes.is_none() {
        return Ok(());
    }
    let name = format!("pool-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let places = here();
    let cannot = |what: &str, why: &str| {
        let why =
            format!("{what} of a pool as a whole can be limited by control groups only, and {why}");
        io::Error::new(io::ErrorKind::Unsupported, why)
    };
    for (limit, place, what) in [
        (whole.memory, &places.memory, "the memory"),
        (whole.processes, &places.processes, "the processes"),
    ] {
        if let (Some(_), Err(why)) = (limit, place) {
            return Err(cannot(what, why));
        }
    }
    let group = |place: &Result<PathBuf, String>| {
        let path = place.as_ref().map(|place| place.join(&name));
        path.unwrap_or_default()
    };
    let (memory, processes) = (group(&places.memory), group(&places.processes));
    let bytes = |group: &Path| OsString::from(group).into_vec();
    *limits = Limits {
        memory_group: bytes(&memory),
        processes_group: bytes(&processes),
        of_pool: true,
        ..std::mem::take(limits)
    };
    let made = || {
        for group in [&memory, &processes] {
            if !group.as_os_str().is_empty() {
                make_with_children(group)?;
            }
        }
        if let Some(limit) = whole.memory {
            cgroup::limit_memory(&memory, limit)?;
        }
        if let Some(limit) = whole.processes {
            cgroup::limit_processes(&processes, limit)?;
        }
        Ok(())
    };
    made()
        .inspect_err(|_: &io::Error| end_pool(limits))
        .needed_to("limit a pool as a whole")
}

/// A group whose limits hold for those below it together.
fn make_with_children(group: &Path) -> io::Result<()> {
    if let Some(place) = group.parent() {
        make(place)?;
        cgroup::enable_below(place);
    }
    make(group)?;
    cgroup::enable_below(group);
    // Version 1 before 5.11: where it is not set above, groups are not limited with their children.
    let hierarchy = "memory.use_hierarchy";
    if fs::read(group.join(hierarchy)).is_ok_and(|set| set.starts_with(b"0")) {
        cgroup::write(group, hierarchy, "1")?;
    }
    Ok(())
}

/// The pool of these limits has no worker any more.
pub(crate) fn end_pool(limits: &Limits) {
    if limits.of_pool {
        for group in [&limits.memory_group, &limits.processes_group] {
            let group = PathBuf::from(OsString::from_vec(group.clone()));
            cgroup::remove_empty(&group);
        }
    }
}
