//! The wake socket: how workers wake the host's event loop, when the listener is to look.
//!
//! One pair of connected sockets for all workers of a fork server, so that a worker costs the host
//! no descriptor. All workers have one of the two, and the host the other.
//!
//! They are of the kind of [`wakeup`], so that no worker can keep from the host what another one
//! says, nor make it wait.
//!
//! What a worker still can do is shut the pair down for all (shutdown(2)). The host sees that at
//! once, and then looks every few milliseconds; the others go on, for they have lost nothing. A
//! full socket is none of this: the host has something to read then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::wakeup::{self, Way};

/// As many are read at once, so that a worker that sends without end keeps the host from nothing
/// else.
const MAX_READ: usize = 256;

/// The host's end.
#[derive(Debug)]
pub(crate) struct HostWakeSocket(OwnedFd);

/// Whether a wake socket still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeSocketState {
    /// Workers can wake the host through it.
    Open,
    /// The workers cannot wake the host any more.
    ShutDown,
}

/// A new pair: the host's end, and the workers'.
pub(crate) fn pair() -> io::Result<(HostWakeSocket, OwnedFd)> {
    let (host, workers) = wakeup::pair()?;
    Ok((HostWakeSocket(host), workers))
}

/// A worker: wakes the host. An error: this worker cannot, and only its end still reaches the host.
pub(crate) fn wake(workers: BorrowedFd<'_>) -> io::Result<()> {
    // Shut down: the host looks by itself.
    wakeup::wake(workers).map(|_| ())
}

impl HostWakeSocket {
    /// Takes the wake-ups that have come.
    pub(crate) fn take_wakeups(&self) -> WakeSocketState {
        match wakeup::take(&self.0, MAX_READ) {
            Ok(Way::Open) => WakeSocketState::Open,
            Ok(Way::ShutDown) | Err(_) => WakeSocketState::ShutDown,
        }
    }
}

impl AsFd for HostWakeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, SendFlags};

    use super::*;
    use crate::sys::fds;

    fn is_readable(socket: &HostWakeSocket) -> bool {
        fds::wait_readable(socket, std::time::Duration::ZERO).expect("poll")
    }

    #[test]
    fn it_is_readable_until_all_wakeups_are_taken() {
        let (host, workers) = pair().expect("a pair");
        assert!(!is_readable(&host));
        for _ in 0..2 {
            for _ in 0..2000 {
                wake(workers.as_fd()).expect("woken");
            }
            assert!(is_readable(&host));
            while is_readable(&host) {
                assert_eq!(host.take_wakeups(), WakeSocketState::Open);
            }
        }
    }

    #[test]
    fn an_empty_message_is_not_its_end_and_a_shutdown_is() {
        let (host, workers) = pair().expect("a pair");
        rustix::net::send(&workers, &[], SendFlags::empty()).expect("sent");
        assert!(is_readable(&host));
        assert_eq!(host.take_wakeups(), WakeSocketState::Open);
        wake(workers.as_fd()).expect("woken");
        rustix::net::shutdown(&workers, rustix::net::Shutdown::Both).expect("shut down");
        wake(workers.as_fd()).expect("no worker ends for it");
        assert_eq!(host.take_wakeups(), WakeSocketState::ShutDown);
    }

    #[test]
    fn a_wakeup_cannot_be_taken_by_another_worker() {
        let (host, workers) = pair().expect("a pair");
        wake(workers.as_fd()).expect("woken");
        let another = rustix::io::fcntl_dupfd_cloexec(&workers, 3).expect("dup");
        let taken = rustix::net::recv(&another, &mut [0; 8], RecvFlags::DONTWAIT);
        assert_eq!(taken.map(|_| ()), Err(Errno::AGAIN));
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&another)
        );
        assert!(std::fs::File::open(path).is_err());
        assert!(is_readable(&host));
    }
}
