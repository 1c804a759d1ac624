//! What a process has from the one that starts it, and keeps over the exec: signals, descriptors,
//! attributes of its thread, capabilities.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

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

/// What is written to stderr has no reader, and the signal that tells so ends a program.
pub(crate) fn stderr_without_reader() -> io::Result<()> {
    let (_, write) = rustix::pipe::pipe()?;
    rustix::stdio::dup2_stderr(&write)?;
    // SAFETY: no code is called.
    match unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What a container engine leaves to a container's root, if it is not told otherwise.
pub(crate) const OF_CONTAINERS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Neither this process nor any that it starts has more than these: capabilities(7).
pub(crate) fn no_capabilities_but(these: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if these.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    let left = CapabilitySets {
        effective: these,
        permitted: these,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, left)?)
}

/// One that an ordinary user keeps over the exec, as a service manager gives it.
pub(crate) fn ambient_capability(one: CapabilitySet, user: u32) -> io::Result<()> {
    rustix::thread::set_keep_capabilities(true)?;
    crate::place::become_user(user)?;
    let all = CapabilitySets {
        effective: one,
        permitted: one,
        inheritable: one,
    };
    rustix::thread::set_capabilities(None, all)?;
    Ok(rustix::thread::configure_capability_in_ambient_set(
        one, true,
    )?)
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
