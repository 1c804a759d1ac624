//! Control groups of workers: what was killed in them, and their end. See `child/limits.rs`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::oom;
use crate::sys::process;

/// The directories below which workers make groups of their own, once there are any.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Of the controllers of memory, and of processes; the same one, or none of a kind.
    below: Vec<PathBuf>,
    /// Groups that could not be removed: something is in them that is about to end.
    left: Vec<PathBuf>,
}

impl Groups {
    /// The host says where they are.
    pub(super) fn are_below(&mut self, directories: [Vec<u8>; 2]) {
        for directory in directories {
            let directory = PathBuf::from(OsStr::from_bytes(&directory));
            if !directory.as_os_str().is_empty() && !self.below.contains(&directory) {
                self.below.push(directory);
            }
        }
    }

    /// Below which spares make their groups ahead; none before anything was limited.
    pub(super) fn of_spares(&self) -> &[PathBuf] {
        &self.below
    }

    /// Whether the kernel has killed something in a worker's group because that had too much
    /// memory.
    pub(super) fn was_killed_for_memory(&self, pid: u32) -> bool {
        let name = pid.to_string();
        let mut groups = self.below.iter().map(|below| below.join(&name));
        groups.any(|group| oom::kills_in(&group).is_some_and(|kills| kills > 0))
    }

    /// A worker has ended, and all that it has started.
    pub(super) fn remove(&mut self, pid: u32) {
        if self.below.is_empty() {
            return;
        }
        let name = pid.to_string();
        let groups = self.below.iter().map(|below| below.join(&name));
        let mut all = std::mem::take(&mut self.left);
        all.extend(groups);
        all.retain(|group| !is_gone(group));
        self.left = all;
    }

    /// All workers have ended: so have the groups that held theirs, unless another fork server has
    /// workers there.
    pub(super) fn end(&mut self) {
        for below in std::mem::take(&mut self.below) {
            let groups = fs::read_dir(&below).into_iter().flatten().flatten();
            for group in groups {
                // A worker of another fork server may have made its own, and not entered it yet.
                let pid = group
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok());
                if pid.is_some_and(|pid| !process::is_there(pid)) {
                    let _ = fs::remove_dir(group.path());
                }
            }
            let _ = fs::remove_dir(below);
        }
    }
}

fn is_gone(group: &Path) -> bool {
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}
