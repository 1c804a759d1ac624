//! What does not go through a worker's ring: large values, in a memory file each, and descriptors.
//! They go through the worker's descriptor socket, a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::error::{self, Call};
use crate::sys::fds;
use crate::sys::value_file::ValueFile;
use crate::transport::{attachment, bounds};

/// What the calls are for.
const PURPOSE: &str = "pass on a value that is large or has descriptors";

/// Sends the descriptors of a value.
pub(crate) fn send(fd_socket: impl AsFd, descriptors: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    fds::send(fd_socket, &[1], &descriptors).needed_to(PURPOSE)
}

/// Sends descriptors under a number.
pub(crate) fn send_numbered(
    fd_socket: impl AsFd,
    number: u64,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    fds::send(fd_socket, &number.to_ne_bytes(), descriptors).needed_to(PURPOSE)
}

/// Waits for the descriptors that were sent under this number. Those that come before them have no
/// reader any more, and are closed.
pub(crate) fn recv_numbered(fd_socket: impl AsFd, number: u64) -> io::Result<Vec<OwnedFd>> {
    loop {
        let mut descriptors = Vec::new();
        let mut bytes = [0; 8];
        let received =
            fds::recv(&fd_socket, &mut bytes, &mut descriptors, true).needed_to(PURPOSE)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if u64::from_ne_bytes(bytes) == number {
            if received.descriptors_lost {
                return Err(error::as_if("recvmsg(2)", libc::EMFILE)).needed_to(PURPOSE);
            }
            return Ok(descriptors);
        }
    }
}

/// Receives the descriptors of a value, which were sent before.
pub(crate) fn recv(fd_socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let received = fds::recv(fd_socket, &mut [0; 8], &mut descriptors, false).needed_to(PURPOSE)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.descriptors_lost {
        return Err(error::as_if("recvmsg(2)", libc::EMFILE)).needed_to(PURPOSE);
    }
    if descriptors.len() > bounds::MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more descriptors than a value may have",
        ));
    }
    Ok(descriptors)
}

/// The large value of `len` bytes among descriptors that were received, and its other descriptors.
/// The sender may be hostile.
pub(crate) fn open_large(
    mut descriptors: Vec<OwnedFd>,
    len: u64,
) -> io::Result<(ValueFile, Vec<OwnedFd>)> {
    if descriptors.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a large value without its file",
        ));
    }
    let file = descriptors.remove(0);
    Ok((attachment::map(file, len)?, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mapping::memfd;
    use rustix::fs::SealFlags;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair")
    }

    fn send_large(fd_socket: &OwnedFd, bytes: &[u8], mut beside: Vec<OwnedFd>) {
        beside.insert(0, attachment::file_of(&[bytes]).expect("written"));
        send(fd_socket, &beside).expect("sent");
    }

    fn recv_large(fd_socket: &OwnedFd, len: u64) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (value, beside) = open_large(recv(fd_socket)?, len)?;
        Ok((value.to_vec()?, beside))
    }

    #[test]
    fn a_value_arrives_as_it_was_with_its_descriptors() {
        let (a, b) = pair();
        let value: Vec<u8> = (0..200_000_u32).map(|i| (i * 7) as u8).collect();
        let beside = vec![memfd("test").expect("memfd")];
        send_large(&a, &value, beside);
        let (got, beside) = recv_large(&b, value.len() as u64).expect("received");
        assert!(got == value && beside.len() == 1);
    }

    /// The worker has ended, and has not received what was sent ahead for a task that it never ran.
    #[test]
    fn a_value_arrives_though_its_sender_has_ended_and_left_something_unread() {
        let (worker, host) = pair();
        send_large(&worker, &[7; 100], Vec::new());
        send(&host, &[memfd("test").expect("memfd")]).expect("sent");
        drop(worker);
        let (got, beside) = recv_large(&host, 100).expect("received");
        assert!(got == [7; 100] && beside.is_empty());
        assert!(recv(&host).is_err(), "nobody there");
    }

    #[test]
    fn what_is_not_sealed_or_not_as_announced_is_refused() {
        let (a, b) = pair();
        let open = memfd("test").expect("memfd");
        rustix::fs::ftruncate(&open, 100).expect("sized");
        send(&a, &[open]).expect("sent");
        assert!(recv_large(&b, 100).is_err(), "not sealed");
        send_large(&a, &[0; 100], Vec::new());
        assert!(recv_large(&b, 101).is_err(), "shorter than announced");
        send_large(&a, &[0; 100], Vec::new());
        assert!(recv_large(&b, u64::MAX).is_err(), "over the limit");
        let sparse = memfd("test").expect("memfd");
        rustix::fs::ftruncate(&sparse, 1 << 31).expect("sized");
        rustix::io::pwrite(&sparse, &[1; 4096], 0).expect("written");
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&sparse, seals).expect("sealed");
        send(&a, &[sparse]).expect("sent");
        assert!(recv_large(&b, 1 << 31).is_err(), "sparse");
        let (pipe, _keep) = rustix::pipe::pipe().expect("pipe");
        send(&a, &[pipe]).expect("sent");
        assert!(recv_large(&b, 100).is_err(), "no memory file");
        send(&a, &[]).expect("sent");
        assert!(recv_large(&b, 100).is_err(), "no descriptor");
        drop(a);
        assert!(recv(&b).is_err(), "nobody there");
    }
}
