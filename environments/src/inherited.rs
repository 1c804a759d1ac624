//! What a process has from the one that starts it, and keeps over the exec: signals, descriptors,
//! attributes of its thread.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

/// All signals are blocked.
pub(crate) fn block_signals() -> io::Result<()> {
    // SAFETY: a set of this function's, filled before it is read.
    let done = unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut())
    };
    succeeded(done)
}

/// These signals are ignored.
pub(crate) fn ignore(signals: &[libc::c_int]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: no code is called.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// An attribute of this process, prctl(2).
pub(crate) fn attribute(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: numbers.
    succeeded(unsafe { libc::prctl(option, value, NONE, NONE, NONE) })
}

/// How it is executed, personality(2).
pub(crate) fn personality(of: libc::c_int) -> io::Result<()> {
    // SAFETY: a number.
    match unsafe { libc::personality(of as libc::c_ulong) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// So many descriptors are open, and stay so over the exec.
pub(crate) fn open_descriptors(count: usize) -> io::Result<()> {
    let null = fs::File::open("/dev/null")?;
    for _ in 0..count {
        // SAFETY: a number of our own.
        let copy = unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD, 3) };
        succeeded(copy.min(0))?;
    }
    Ok(())
}

/// This user's pipes have no room left, so that the next ones are of the smallest size: pipe(7),
/// /proc/sys/fs/pipe-user-pages-soft.
pub(crate) fn use_up_pipes() -> io::Result<()> {
    const LARGEST: libc::c_int = 1 << 20;
    const PIPES: usize = 70;
    for _ in 0..PIPES {
        let (read, write) = rustix::pipe::pipe()?;
        // SAFETY: a number of our own. Refused as soon as no room is left.
        let grown = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, LARGEST) };
        // They stay open.
        let _ = (read.into_raw_fd(), write.into_raw_fd());
        if grown == -1 {
            break;
        }
    }
    let (read, _write) = rustix::pipe::pipe()?;
    // SAFETY: as above.
    let size = unsafe { libc::fcntl(read.as_raw_fd(), libc::F_GETPIPE_SZ) };
    if size >= 1 << 16 {
        return Err(io::Error::other("pipes are as large as ever"));
    }
    Ok(())
}

/// Real time, with the lowest priority of it, in turns: sched(7). Without turns (`SCHED_FIFO`) a
/// task that never waits keeps its processor from the program that would end it.
pub(crate) fn real_time() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads the parameter.
    succeeded(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest) })
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
