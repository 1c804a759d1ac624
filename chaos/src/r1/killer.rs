//! Who kills workers from outside.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use brigade::Pool;
use brigade_test_support::{procfs, wait};

use crate::measure::Numbers;
use crate::rollcall::Watched;

/// When a worker was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It had nothing to do.
    Idle,
    /// Whatever it did.
    Anytime,
}

/// Who was killed from outside, by its number. A number is not given to another process so soon.
#[derive(Debug, Default)]
pub(super) struct Killed(Mutex<HashMap<u32, When>>);

impl Killed {
    /// Kills a worker that lives; waits for one, if all that there are have been killed.
    pub(super) fn kill_one(
        &self,
        pool: &Pool,
        when: When,
        numbers: &mut Numbers,
    ) -> io::Result<()> {
        wait::until_found("a worker that lives", || {
            let mut pids = pool.pids();
            {
                let killed = self.lock();
                pids.retain(|pid| !killed.contains_key(pid));
            }
            if pids.is_empty() {
                return Ok(None);
            }
            let pid = pids[numbers.below(pids.len() as u64) as usize];
            let watched = match Watched::new(pid) {
                Ok(watched) => watched,
                Err(e) if procfs::is_gone(&e) => return Ok(None),
                Err(e) => return Err(e),
            };
            // Noted before, so that nobody hears of a death that is not.
            self.lock().insert(pid, when);
            // One that has just died of itself is not killed any more.
            match procfs::state(pid) {
                Ok('Z' | 'X') => self.forget(pid),
                Err(e) if procfs::is_gone(&e) => self.forget(pid),
                Err(e) => return Err(e),
                Ok(_) => {
                    watched.kill()?;
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
    }

    fn forget(&self, pid: u32) {
        self.lock().remove(&pid);
    }

    pub(super) fn when(&self, pid: u32) -> Option<When> {
        self.lock().get(&pid).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, When>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}
