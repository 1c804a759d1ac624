//! How soon the kernel kills this process where memory has run out: /proc/[pid]/oom_score_adj,
//! proc(5). Any process may raise the value; to lower it below that with which a process began
//! takes CAP_SYS_RESOURCE.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::sys::error::Call;
use crate::sys::opened;

/// The first to be killed. Why workers have it, and who sets it: `fork_server/oom_score.rs`.
pub(in crate::worker::process) const HIGHEST: i16 = 1000;

pub(in crate::worker::process) const PATH: &str = "/proc/self/oom_score_adj";

/// Sets this process's.
pub(in crate::worker::process) fn set(value: i16) -> io::Result<()> {
    write(&opened::file(PATH, OFlags::WRONLY)?, value)
}

/// Writes a value to a process's open file. Allocates nothing.
pub(in crate::worker::process) fn write(file: &OwnedFd, value: i16) -> io::Result<()> {
    let mut text = [0_u8; 8];
    let mut rest = &mut text[..];
    write!(rest, "{value}")?;
    let len = 8 - rest.len();
    rustix::io::pwrite(file, &text[..len], 0).call("pwrite(2)")?;
    Ok(())
}
