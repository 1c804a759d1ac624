//! Descriptors: passing them over a Unix socket (unix(7), `SCM_RIGHTS`), and owning them by number
//! after a fork or an exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::error::{self, Call};
use super::opened;
use super::process;

/// The most descriptors that one message may carry.
///
/// The kernel takes 253 (`SCM_MAX_FD`).
pub(crate) const MAX_FDS: usize = 250;

/// EAGAIN is frequent: it is passed on without a description, which takes time to make.
pub(crate) fn unless_again(call: &'static str, why: Errno) -> io::Error {
    match why {
        Errno::AGAIN => why.into(),
        why => error::named(call, why.into()),
    }
}

/// Sends one datagram with descriptors. Does not block: a full socket is `WouldBlock`.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_parts(socket, &[IoSlice::new(bytes)], fds)
}

/// As [`send`], of a datagram that is in several places.
pub(crate) fn send_parts(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if let ([only], []) = (parts, fds) {
        loop {
            match rustix::net::send(&socket, only, flags) {
                Err(Errno::INTR) => {}
                // It may be this call alone that is denied.
                Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => break,
                Err(e) => return Err(unless_again("sendto(2)", e)),
                Ok(_) => return Ok(()),
            }
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "more descriptors than one message may carry",
        ));
    }
    loop {
        match rustix::net::sendmsg(&socket, parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(unless_again("sendmsg(2)", e)),
            Ok(_) => return Ok(()),
        }
    }
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Zero: the other end is gone.
    pub(crate) bytes: usize,
    /// Descriptors were sent that could not be had: this process has as many as it may.
    pub(crate) descriptors_lost: bool,
}

/// Receives one datagram and its descriptors, which are close-on-exec.
///
/// A datagram that was cut short is an error: part of a message is never taken for a whole one. If
/// not all of its descriptors arrived, none is given.
pub(crate) fn recv(
    socket: impl AsFd,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<Received> {
    recv_parts(socket, &mut [IoSliceMut::new(bytes)], fds, wait)
}

/// As [`recv`], into several places.
pub(crate) fn recv_parts(
    socket: impl AsFd,
    parts: &mut [IoSliceMut<'_>],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        // Without it, what comes is moved afterwards.
        let held = opened::HeldStreams::if_needed().ok().flatten();
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        if !wait || held.is_some() {
            flags |= RecvFlags::DONTWAIT;
        }
        match rustix::net::recvmsg(&socket, parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            // The kernel reports once, before what it has sent, a peer that has ended with
            // something unread: the rest is there all the same.
            Err(Errno::CONNRESET) => {}
            Err(Errno::AGAIN) if wait => {
                // The streams' numbers are not held while it waits.
                drop(held);
                poll_until(&mut [PollFd::new(&socket, PollFlags::IN)], None)?;
            }
            Err(Errno::AGAIN) => return Err(Errno::AGAIN.into()),
            Err(e) => return Err(e).call("recvmsg(2)"),
            Ok(got) => break got,
        }
    };
    let mut descriptors_lost = got.flags.contains(ReturnFlags::CTRUNC);
    let before = fds.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            for fd in list {
                match opened::lifted(fd) {
                    Ok(fd) if !descriptors_lost => fds.push(fd),
                    Ok(_) => {}
                    // It came under the number of a standard stream, and this process may have no
                    // other.
                    Err(_) => descriptors_lost = true,
                }
            }
        }
    }
    if descriptors_lost {
        fds.truncate(before);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message was cut short",
        ));
    }
    Ok(Received {
        bytes: got.bytes,
        descriptors_lost,
    })
}

/// A descriptor by number, in a process whose task may close it and open something else under the
/// same number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    number: RawFd,
    identity: (u64, u64),
}

impl Pinned {
    /// Remembers what is behind `fd` now. The owner may let go of it, as long as no code of ours
    /// closes it.
    pub(crate) fn new(fd: impl AsFd) -> io::Result<Pinned> {
        let fd = fd.as_fd();
        Ok(Pinned {
            number: fd.as_raw_fd(),
            identity: identity(fd)?,
        })
    }

    /// A descriptor that stays open for as long as the process lives, or its task leaves it alone.
    pub(crate) fn leaked(fd: OwnedFd) -> io::Result<Pinned> {
        let pinned = Pinned::new(&fd)?;
        let _ = fd.into_raw_fd();
        Ok(pinned)
    }

    /// The descriptor, if it is still the one that it was.
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: it is used only if the same file is behind it as when it was pinned. Code that
        // closes numbers which are not its own may still do so between this look and the use: then
        // a system call of ours is refused, or meets another file of the same process. No memory
        // depends on it: what is mapped from it is as long as the file is or faults, and is read as
        // atomics.
        let fd = unsafe { BorrowedFd::borrow_raw(self.number) };
        (identity(fd).ok()? == self.identity).then_some(fd)
    }

    pub(crate) fn number(&self) -> RawFd {
        self.number
    }
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd).call("fstat(2)")?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Takes the descriptor with this number, if it is open.
///
/// # Safety
/// Nothing else in the process may own or use that number: called first thing after an exec, for a
/// number that was left open for us.
pub(crate) unsafe fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(error::last("fcntl(F_GETFD)"));
    }
    // SAFETY: it is open, and by the caller's word nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).call("fcntl(F_SETFD)")?;
    Ok(fd)
}

/// Puts `fd` at number `at`, whatever was there, close-on-exec unless it becomes a standard stream.
///
/// # Safety
/// The number `at` must have no owner in this process that will use it again.
pub(crate) unsafe fn place(fd: impl AsFd, at: RawFd) -> io::Result<()> {
    let from = fd.as_fd().as_raw_fd();
    let flags = if at > 2 { libc::O_CLOEXEC } else { 0 };
    if from == at {
        return Ok(());
    }
    // By the bare call, as `process::prctl`.
    // SAFETY: numbers only; the caller vouches for `at`.
    if unsafe { libc::syscall(libc::SYS_dup3, from, at, flags) } == -1 {
        return Err(error::last("dup3(2)"));
    }
    Ok(())
}

/// Clears the close-on-exec flag of a descriptor that no value owns.
pub(crate) fn keep_over_exec(number: RawFd) {
    // SAFETY: numbers only. It fails only where it is denied, which costs this descriptor alone.
    unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
}

/// Closes every descriptor from `first` on.
///
/// # Safety
/// No owner of such a number may use or close it afterwards.
pub(crate) unsafe fn close_from(first: RawFd) {
    // SAFETY: numbers only; the caller vouches for the owners.
    if unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            0,
        )
    } == 0
    {
        return;
    }
    // Linux before 5.9.
    let limit = process::limit(rustix::process::Resource::Nofile)
        .and_then(|limit| limit.current)
        .unwrap_or(4096)
        .min(65_536);
    for number in first..limit as RawFd {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
}

/// Makes `fd` this process's stdin.
pub(crate) fn become_stdin(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: std and C take numbers 0 to 2 as open for good, and use whatever is there. A program
    // that has a file of its own under such a number loses it, in a worker, in the fork server, or
    // in a replay, which is before its own code but for constructors.
    unsafe { place(fd, 0) }
}

/// Makes `fd` this process's stdout.
pub(crate) fn become_stdout(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: as in `become_stdin`.
    unsafe { place(fd, 1) }
}

/// Makes `fd` this process's stderr.
pub(crate) fn become_stderr(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: as in `become_stdin`.
    unsafe { place(fd, 2) }
}

/// In a worker just forked: closes every descriptor but the standard ones and these.
///
/// The owners of the others are in memory that this process copied and never drops: it ends by
/// `_exit`.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut first = 3;
    // No sorted copy: few numbers, and a worker's heap is not to be touched for it.
    while let Some(number) = keep.iter().copied().filter(|&n| n >= first).min() {
        close_between(first, number - 1);
        first = number + 1;
    }
    // SAFETY: as said above.
    unsafe { close_from(first) };
}

/// In a worker that was just started: closes these, whose owners are as in [`close_all_but`].
pub(crate) fn close_all(numbers: &[RawFd]) {
    for &number in numbers {
        close_between(number, number);
    }
}

fn close_between(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: numbers only; see `close_all_but`.
    if unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            last as libc::c_uint,
            0,
        )
    } == 0
    {
        return;
    }
    for number in first..=last {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
}

/// Waits until `fd` can be read or was hung up. `false`: not within `limit`. poll(2): it needs no
/// descriptor of its own.
pub(crate) fn wait_readable(fd: impl AsFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(limit);
    poll_until(&mut [PollFd::new(&fd, PollFlags::IN)], deadline)
}

/// poll(2), until something is there or the deadline has passed, which is `false`.
pub(crate) fn poll_until(
    descriptors: &mut [PollFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<bool> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match rustix::event::poll(descriptors, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e).call("ppoll(2)"),
        }
    }
}
