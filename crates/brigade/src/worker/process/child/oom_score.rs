//! How soon the kernel kills a worker where memory has run out.
//!
//! Problem: the OOM killer takes the process that has most, of those that the limit is for: which
//! is the host, where a task asks for more than the host has left over. So workers are said to
//! have more than they have, by so many thousandths of the limit, or of the machine's memory:
//! /proc/[pid]/oom_score_adj, proc(5). Anybody may raise the value; to lower it below that with
//! which a process began takes CAP_SYS_RESOURCE.

use std::io::{self, Write};

use rustix::fs::OFlags;

use crate::sys::error::Call;
use crate::sys::opened;

const PATH: &str = "/proc/self/oom_score_adj";
/// What workers have unless they are told otherwise: they go first, the one with most before the
/// others. Less would save the host only as long as it has no more than so much of the memory.
pub(in crate::worker::process) const HIGHEST: i16 = 1000;

/// Sets this process's. Allocates nothing: it is done in a worker just forked.
pub(in crate::worker::process) fn set(value: i16) -> io::Result<()> {
    let mut text = [0_u8; 8];
    let mut rest = &mut text[..];
    write!(rest, "{value}")?;
    let len = 8 - rest.len();
    let file = opened::file(PATH, OFlags::WRONLY)?;
    rustix::io::write(&file, &text[..len]).call("write(2)")?;
    Ok(())
}
