//! Descriptors: passing them over a Unix socket (unix(7), `SCM_RIGHTS`), and owning them by number after a fork or an exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The most descriptors that one message may carry.
pub(crate) const MAX_FDS: usize = 4;

/// Sends one datagram with descriptors. Does not block: a full socket is `WouldBlock`.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "more descriptors than one message may carry",
        ));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one datagram and its descriptors, which are close-on-exec. Zero bytes mean that the other end is gone.
///
/// A datagram or a list of descriptors that was cut short is an error: part of a message is never taken for a whole one.
pub(crate) fn recv(
    socket: impl AsFd,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if !wait {
        flags |= RecvFlags::DONTWAIT;
    }
    let got = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(got) => break got,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message was cut short",
        ));
    }
    Ok(got.bytes)
}

/// Takes the descriptor with this number, if it is open.
///
/// # Safety
/// Nothing else in the process may own or use that number: called first thing after an exec, for a number that was left open for us.
pub(crate) unsafe fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller says that it is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Puts `fd` at number `at`, whatever was there, close-on-exec unless it becomes a standard stream.
///
/// # Safety
/// The number `at` must have no owner in this process that will use it again.
pub(crate) unsafe fn place(fd: impl AsFd, at: RawFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let from = fd.as_fd().as_raw_fd();
    let flags = if at > 2 { libc::O_CLOEXEC } else { 0 };
    if from == at {
        return Ok(());
    }
    // SAFETY: numbers only; the caller vouches for `at`.
    if unsafe { libc::dup3(from, at, flags) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(4096)
        .min(65_536);
    for number in first..limit as RawFd {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
}

/// Makes `fd` this process's stderr.
pub(crate) fn become_stderr(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: number 2 is nobody's to own: std and C write to whatever is there.
    unsafe { place(fd, 2) }
}

/// In a worker just forked: closes every descriptor but the standard ones and these.
///
/// The owners of the others are in memory that this process copied and never drops: it ends by `_exit`.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 3;
    for number in keep {
        close_between(first, number - 1);
        first = number + 1;
    }
    // SAFETY: as said above.
    unsafe { close_from(first) };
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
