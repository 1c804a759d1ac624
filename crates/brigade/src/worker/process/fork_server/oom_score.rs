//! How soon the kernel kills a worker where memory has run out.
//!
//! Problem: the OOM killer takes the process that has most, of those that the limit is for: which
//! is the host, where a task asks for more than the host has left over. So workers have the highest
//! `oom_score_adj`, proc(5): they go first, the one with most before the others. Less would save
//! the host only as long as it has no more than so much of the memory.
//!
//! A process inherits the value of the one that forks it. So the fork server has it for as long as
//! it forks, and its own again after that: to write a worker's own file takes longer, and it would
//! be done in each worker. While it has the value, the fork server is no more likely to be killed
//! than its workers, which have what it has and more.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::sys::opened;
use crate::worker::process::child::oom_score::PATH;

const HIGHEST: &[u8] = b"1000";

/// This process's value.
#[derive(Debug)]
pub(super) struct OomScore {
    /// `None`: refused (no /proc), and the kernel chooses as it does among others.
    file: Option<OwnedFd>,
}

impl OomScore {
    pub(super) fn of_this_process() -> OomScore {
        let file = opened::file(PATH, OFlags::RDWR).ok();
        OomScore { file }
    }

    /// What this process forks from now on has the highest value. Gives its own.
    pub(super) fn raise(&self) -> Option<ScoreText> {
        let file = self.file.as_ref()?;
        let mut own = ScoreText([0; 8], 0);
        own.1 = rustix::io::pread(file, &mut own.0, 0).ok()?;
        rustix::io::pwrite(file, HIGHEST, 0).ok()?;
        Some(own)
    }

    /// What it forks has its own again. Any process may lower the value to what it was: only what
    /// is lower than that takes a capability, and a process that had that has it still.
    pub(super) fn lower(&self, own: Option<ScoreText>) {
        if let Some((file, ScoreText(text, len))) = self.file.as_ref().zip(own) {
            let _ = rustix::io::pwrite(file, &text[..len], 0);
        }
    }
}

/// A value, as the kernel writes it.
#[derive(Debug)]
pub(super) struct ScoreText([u8; 8], usize);
