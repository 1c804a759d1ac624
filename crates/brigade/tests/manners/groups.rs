//! Control groups for hosts, of version 1 or 2: cgroups(7).

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::hosts::until;

/// A group of its own, gone when dropped.
pub(crate) struct Group(PathBuf);

impl Group {
    /// With this limit, which has a file in each version, and a name for its controller. `None`:
    /// there is none to be had; said aloud.
    pub(crate) fn new(controller: &str, files: [&str; 2], limit: u64) -> Option<Group> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("brigade-test-{}-{number}", std::process::id());
        let first = Path::new("/sys/fs/cgroup").join(controller);
        let tops = [first.as_path(), Path::new("/sys/fs/cgroup")];
        let made = tops.iter().zip(files).find_map(|(top, file)| {
            let group = Group(top.join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join(file), limit.to_string()).ok()?;
            Some(group)
        });
        if made.is_none() {
            eprintln!("skipped, because no control group can be made that limits {controller}");
        }
        made
    }

    /// Has this command begin in it; and then in a namespace of groups of its own, whose root it
    /// is.
    pub(crate) fn takes(&self, command: &mut Command, is_namespace: bool) {
        let procs = self.0.join("cgroup.procs");
        let enter = move || {
            std::fs::write(&procs, "0")?;
            // SAFETY: no memory is involved.
            if is_namespace && unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: it makes system calls, and allocates for a path, which glibc allows in a fork of
        // a process with threads.
        unsafe { command.pre_exec(enter) };
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was in it has ended, or is about to.
        let _ = until(
            || Ok(std::fs::remove_dir(&self.0).is_ok()),
            "an empty group",
        );
    }
}
