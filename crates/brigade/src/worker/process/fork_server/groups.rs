//! Control groups of workers: what was killed in them, and their end. See `child/limits.rs`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::oom;
use crate::sys::process;

/// The directories below which workers make groups of their own, once there are any.
#[derive(Debug, Default)]
pub(super) struct GroupDirectories {
    /// Of the controllers of memory, and of processes; the same one, or none of a kind.
    below: Vec<PathBuf>,
    /// Workers are limited that are of no such pool.
    spares_move: bool,
    /// Directories of pools that are limited as wholes, for as long as their hosts have them.
    of_pools: Vec<PathBuf>,
    /// Groups that could not be removed: something is in them that is about to end.
    left: Vec<PathBuf>,
}

impl GroupDirectories {
    /// The host says where they are.
    pub(super) fn are_below(&mut self, directories: [Vec<u8>; 2], of_pool: bool) {
        let directories = directories.iter().filter(|directory| !directory.is_empty());
        for directory in directories {
            let directory = Path::new(OsStr::from_bytes(directory));
            let place = if of_pool {
                add(&mut self.of_pools, directory);
                directory.parent().unwrap_or(directory)
            } else {
                self.spares_move = true;
                directory
            };
            add(&mut self.below, place);
        }
    }

    /// Those that this worker may have made.
    fn of(&self, pid: u32) -> impl Iterator<Item = PathBuf> + '_ {
        let all = self.below.iter().chain(&self.of_pools);
        all.map(move |below| below.join(pid.to_string()))
    }

    /// Below which spares make their groups ahead; none before anything was limited.
    pub(super) fn of_spares(&self) -> &[PathBuf] {
        if self.spares_move { &self.below } else { &[] }
    }

    /// Whether the kernel has killed something in a worker's group because that had too much
    /// memory.
    pub(super) fn was_killed_for_memory(&self, pid: u32) -> bool {
        self.of(pid)
            .any(|group| oom::kills_in(&group).is_some_and(|kills| kills > 0))
    }

    /// A worker has ended, and all that it has started.
    pub(super) fn remove(&mut self, pid: u32) {
        let mut all = std::mem::take(&mut self.left);
        all.extend(self.of(pid));
        all.retain(|group| !is_gone(group));
        self.left = all;
        self.of_pools.retain(|pool| pool.exists());
    }

    /// All workers have ended: so have the groups that held theirs, unless another fork server has
    /// workers there. `host_is_gone`: its pools are, too.
    pub(super) fn end(&mut self, host_is_gone: bool) {
        let of_pools = std::mem::take(&mut self.of_pools).into_iter();
        let of_pools = of_pools.filter(|_| host_is_gone);
        for below in of_pools.chain(std::mem::take(&mut self.below)) {
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

fn add(known: &mut Vec<PathBuf>, directory: &Path) {
    if !known.iter().any(|one| one == directory) {
        known.push(directory.to_owned());
    }
}

fn is_gone(group: &Path) -> bool {
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}
