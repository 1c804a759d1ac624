//! New descriptors, never under the number of a standard stream.
//!
//! Problem: a program may have closed its stdin, stdout or stderr. The kernel gives out the lowest
//! free number, so the next descriptor of ours would become "stdout", and whatever any code prints
//! would be written into it. So every descriptor is made here, or passes through [`lifted`]. In the
//! usual case that costs a comparison.
//!
//! What is made anew under a higher number is made while [`null`] has the low ones
//! ([`HeldStreams`]): not even for a moment can another thread print into it. What is received
//! cannot be received twice; it is received so from the first time on that a low number was seen to
//! be free.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::EventfdFlags;
use rustix::event::epoll::CreateFlags;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};
use rustix::time::{TimerfdClockId, TimerfdFlags};

use super::error::Call;
use super::process;

/// The lowest number that is no standard stream's.
const FIRST: i32 = 3;

/// One descriptor, or two.
pub(crate) trait Descriptors {
    /// Whether none of them has the number of a standard stream.
    fn are_above(&self) -> bool;
}

impl Descriptors for OwnedFd {
    fn are_above(&self) -> bool {
        self.as_raw_fd() >= FIRST
    }
}

impl Descriptors for (OwnedFd, OwnedFd) {
    fn are_above(&self) -> bool {
        self.0.are_above() && self.1.are_above()
    }
}

/// What `make` opens, above the standard streams. It is called again where it opened something
/// under their numbers.
pub(crate) fn above<T: Descriptors>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    // Another thread may have closed, just now, what it had there for a moment.
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        let _held = HeldStreams::if_needed()?;
        let made = make()?;
        if made.are_above() {
            return Ok(made);
        }
        LOW_ARE_FREE.store(true, Ordering::Relaxed);
    }
    Err(io::Error::other(
        "the program closes its standard streams again and again while a descriptor is made",
    ))
}

/// A descriptor that is there already, above the standard streams.
pub(crate) fn lifted(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.are_above() {
        return Ok(fd);
    }
    LOW_ARE_FREE.store(true, Ordering::Relaxed);
    copy(fd)
}

/// Whether this process was once seen to be without one of its standard streams.
static LOW_ARE_FREE: AtomicBool = AtomicBool::new(false);

/// Keeps the numbers of the standard streams taken, by [`null`] where they are free.
///
/// All threads that need it at the same time share one: what one of them held alone would be free
/// again while another relies on it.
#[derive(Debug, Default)]
pub(crate) struct HeldStreams {
    nulls: Mutex<Vec<OwnedFd>>,
}

impl HeldStreams {
    /// Where this process is known to be without one. For a moment only: they are the program's to
    /// open.
    pub(crate) fn if_needed() -> io::Result<Option<Arc<HeldStreams>>> {
        static CURRENT: Mutex<Weak<HeldStreams>> = Mutex::new(Weak::new());
        if !LOW_ARE_FREE.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let held = current.upgrade().unwrap_or_default();
        *current = Arc::downgrade(&held);
        drop(current);
        let mut nulls = held.nulls.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let null = null()?;
            if null.are_above() {
                break;
            }
            nulls.push(null);
        }
        drop(nulls);
        Ok(Some(held))
    }
}

/// What is open where there is nothing to read, and no reader of what is written: under the lowest
/// number that is free.
///
/// It is `/dev/null`. In a container without it, it is the reading end of a pipe that no process
/// writes to: reading says that this is the end, and writing is EBADF, which std's streams, and
/// C's, take as they take a stream that was closed.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open("/dev/null", flags, Mode::empty()) {
        Ok(null) => Ok(null),
        Err(_) => {
            let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
            let (read, _) = pipe
                .call("pipe2(2)")
                .needed_to("stand in for /dev/null, which cannot be opened")?;
            Ok(read)
        }
    }
}

/// A copy, close-on-exec.
pub(crate) fn copy(fd: impl AsFd) -> io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST).call("fcntl(F_DUPFD_CLOEXEC)")
}

/// pipe(2): the reading and the writing end.
pub(crate) fn pipe(flags: PipeFlags) -> io::Result<(OwnedFd, OwnedFd)> {
    above(|| rustix::pipe::pipe_with(flags | PipeFlags::CLOEXEC).call("pipe2(2)"))
}

/// socketpair(2), of Unix sockets that keep messages apart.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    above(|| {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .call("socketpair(2)")
    })
}

/// eventfd(2), which does not block.
pub(crate) fn event() -> io::Result<OwnedFd> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    above(|| rustix::event::eventfd(0, flags).call("eventfd(2)"))
}

/// timerfd_create(2), of a clock, which does not block.
pub(crate) fn timer(clock: TimerfdClockId) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    above(|| rustix::time::timerfd_create(clock, flags).call("timerfd_create(2)"))
}

/// epoll_create1(2).
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    above(|| rustix::event::epoll::create(CreateFlags::CLOEXEC).call("epoll_create1(2)"))
}

/// pidfd_open(2).
pub(crate) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    above(|| rustix::process::pidfd_open(pid, PidfdFlags::empty()).call("pidfd_open(2)"))
}

/// pidfd_open(2), of the calling thread alone: it becomes readable when that thread ends, also
/// where another thread of the process executes a program. PIDFD_THREAD: Linux 6.9.
pub(crate) fn pidfd_of_this_thread() -> io::Result<OwnedFd> {
    let thread = PidfdFlags::from_bits_retain(OFlags::EXCL.bits());
    let this = process::thread_id()?;
    above(|| Ok(rustix::process::pidfd_open(this, thread)?))
}

/// memfd_create(2).
pub(crate) fn memfd(name: &str, flags: MemfdFlags) -> io::Result<OwnedFd> {
    above(|| rustix::fs::memfd_create(name, flags).call("memfd_create(2)"))
}

/// open(2), of a file that exists.
pub(crate) fn file(path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    file_at(rustix::fs::CWD, path, flags)
}

/// As [`file`], of a path within a directory: openat(2).
pub(crate) fn file_at(
    directory: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let path = path.as_ref();
    above(|| {
        let flags = flags | OFlags::CLOEXEC;
        rustix::fs::openat(&directory, path, flags, Mode::empty())
            .call("open(2)")
            .at(|| path.display().to_string())
    })
}
