//! Waking another process that waits with poll(2) or epoll(7), where peers that share the way need
//! not trust each other: a pair of connected sockets: the wakers have one, and the process that is
//! woken the other. unix(7).
//!
//! Problem: an event descriptor (eventfd(2)) or a pipe is one open file for all that have it. One
//! of them can take away what another has written; and one can fill it and clear its `O_NONBLOCK`
//! (fcntl(2)), and then all others wait in write(2), for as long as it likes. So:
//!
//! - **No call waits**: each call says so itself (`MSG_DONTWAIT`), whatever the flags of the open
//!   socket are. Full means that there is something to wake up for.
//! - **No process takes a wake-up away**: what is read from a socket is what the *other* side has
//!   sent, and a socket cannot be opened anew to read (`ENXIO`, open(2)), as a pipe can through
//!   `/proc/self/fd`.
//! - **Shutting it down** (shutdown(2)) is left, and is no secret: the process that is woken sees
//!   it at once, and so do the wakers.
//!
//! The sockets keep messages apart (`SOCK_SEQPACKET`): those that do not have urgent data, which
//! could be there and not be read; and of the other kind a shutdown on one side does not reach the
//! other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, sockopt};

use super::error::Call;
use super::{fds, opened};

/// What was found of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// No process will be woken by it any more: all that could are gone, or one has shut it down.
    ShutDown,
}

/// What poll(2) says of one that is shut down, if it is asked for `RDHUP`.
pub(crate) const ENDS: PollFlags = PollFlags::RDHUP
    .union(PollFlags::HUP)
    .union(PollFlags::ERR)
    .union(PollFlags::NVAL);

/// A new pair: the end that is woken, and that of the wakers.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    opened::socket_pair()
}

/// Whether one that came from a peer that may be hostile is of this kind: calls on others may
/// wait, whatever they say.
pub(crate) fn check(end: impl AsFd) -> io::Result<()> {
    let is_unix = sockopt::socket_domain(&end).call("getsockopt(2)")? == AddressFamily::UNIX;
    if !is_unix || sockopt::socket_type(&end).call("getsockopt(2)")? != SocketType::SEQPACKET {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this socket is not a channel's",
        ));
    }
    Ok(())
}

/// Wakes the process at the other end. Does not wait. An error: it is not woken.
pub(crate) fn wake(other: impl AsFd) -> io::Result<Way> {
    loop {
        match rustix::net::send(&other, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            // Full: the other side has a wake-up already.
            Ok(_) | Err(Errno::AGAIN) => return Ok(Way::Open),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(Way::ShutDown),
            Err(Errno::INTR) => {}
            // It may be this call alone that is denied, and another does the same.
            Err(_) => return fds::send(&other, &[1], &[]).map(|()| Way::Open),
        }
    }
}

/// Takes up to `most` wake-ups. Does not wait. An error: no process will be woken by this end any
/// more, either.
pub(crate) fn take(own: impl AsFd, most: usize) -> io::Result<Way> {
    for _ in 0..most {
        match rustix::net::recv(&own, &mut [0_u8; 8][..], RecvFlags::DONTWAIT) {
            // An empty message, or the end.
            Ok((0, _)) if is_shut_down(&own) => return Ok(Way::ShutDown),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(e) => return Err(e).call("recvfrom(2)"),
        }
    }
    Ok(Way::Open)
}

fn is_shut_down(own: impl AsFd) -> bool {
    let mut wait = [PollFd::new(&own, PollFlags::RDHUP)];
    fds::poll_until(&mut wait, Some(Instant::now())).is_err() || wait[0].revents().intersects(ENDS)
}
