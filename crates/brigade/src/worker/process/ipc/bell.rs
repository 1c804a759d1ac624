//! The bell: how workers wake the host's event loop, when somebody awaits them.
//!
//! One pair of connected sockets for all workers of a fork server, so that a worker costs the host
//! no descriptor. All workers have one of the two, and the host the other.
//!
//! They are of the kind of [`wakeup`], so that no worker can keep from the host what another one
//! says, nor make it wait.
//!
//! What a worker still can do is shut the pair down for all (shutdown(2)). The host sees that at
//! once, and then looks every few milliseconds; the others go on, for it is not they who have lost
//! anything. A full socket is none of this: the host has something to read then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::wakeup::{self, Way};

/// As many are read at once, so that nobody who rings without end keeps the host from everything
/// else.
const AT_ONCE: usize = 256;

/// The host's end.
#[derive(Debug)]
pub(crate) struct HostBell(OwnedFd);

/// What was found of a bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// It can ring again.
    Whole,
    /// It will not ring any more.
    Broken,
}

/// A new bell: the host's end, and the workers'.
pub(crate) fn pair() -> io::Result<(HostBell, OwnedFd)> {
    let (host, workers) = wakeup::pair()?;
    Ok((HostBell(host), workers))
}

/// A worker: wakes the host. An error: this worker cannot, and its end is the only way to be heard.
pub(crate) fn ring(bell: BorrowedFd<'_>) -> io::Result<()> {
    // Shut down: the host looks by itself.
    wakeup::wake(bell).map(|_| ())
}

impl HostBell {
    /// Takes what has rung.
    pub(crate) fn silence(&self) -> Rung {
        match wakeup::take(&self.0, AT_ONCE) {
            Ok(Way::Open) => Rung::Whole,
            Ok(Way::ShutDown) | Err(_) => Rung::Broken,
        }
    }
}

impl AsFd for HostBell {
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

    fn is_ringing(bell: &HostBell) -> bool {
        fds::wait_readable(bell, std::time::Duration::ZERO).expect("poll")
    }

    #[test]
    fn it_rings_until_it_is_silenced_however_often_it_was_rung() {
        let (host, workers) = pair().expect("a bell");
        assert!(!is_ringing(&host));
        for _ in 0..2 {
            for _ in 0..2000 {
                ring(workers.as_fd()).expect("rung");
            }
            assert!(is_ringing(&host));
            while is_ringing(&host) {
                assert_eq!(host.silence(), Rung::Whole);
            }
        }
    }

    #[test]
    fn an_empty_message_is_not_its_end_and_a_shutdown_is() {
        let (host, workers) = pair().expect("a bell");
        rustix::net::send(&workers, &[], SendFlags::empty()).expect("sent");
        assert!(is_ringing(&host));
        assert_eq!(host.silence(), Rung::Whole);
        ring(workers.as_fd()).expect("rung");
        rustix::net::shutdown(&workers, rustix::net::Shutdown::Both).expect("shut down");
        ring(workers.as_fd()).expect("no worker ends for it");
        assert_eq!(host.silence(), Rung::Broken);
    }

    #[test]
    fn what_rang_cannot_be_taken_by_another_worker() {
        let (host, workers) = pair().expect("a bell");
        ring(workers.as_fd()).expect("rung");
        let another = rustix::io::fcntl_dupfd_cloexec(&workers, 3).expect("dup");
        let taken = rustix::net::recv(&another, &mut [0; 8], RecvFlags::DONTWAIT);
        assert_eq!(taken.map(|_| ()), Err(Errno::AGAIN));
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&another)
        );
        assert!(std::fs::File::open(path).is_err());
        assert!(is_ringing(&host));
    }
}
