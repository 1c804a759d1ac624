//! The bell: how workers wake the host's event loop, when somebody awaits them.
//!
//! One pair of connected sockets for all workers of a fork server, so that a worker costs the host no descriptor. All workers have one of the two, and the host the other.
//!
//! Problem: workers need not trust each other, and one that takes away what another has sent makes whoever awaits that one wait for ever. A pipe's writing end can be opened
//! anew to read (`/proc/self/fd`), and an event descriptor can be read by whoever has it. A socket cannot be opened anew (`ENXIO`, open(2)), and what is read from it is what
//! the *host* has sent, which is nothing. unix(7).
//!
//! What a worker still can do is shut the pair down for all (shutdown(2)). The host sees that at once, and then looks every few milliseconds; the others go on, for
//! it is not they who have lost anything. A full socket is none of this: the host has something to read then.
//!
//! Of the kind that keeps messages apart: the other has urgent data, which could be there and not be read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::sys::{fds, opened};

/// As many are read at once, so that nobody who rings without end keeps the host from everything else.
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
    let (host, workers) = opened::socket_pair()?;
    Ok((HostBell(host), workers))
}

/// A worker: wakes the host. An error: this worker cannot, and its end is the only way to be heard.
pub(crate) fn ring(bell: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        // Whatever the flags of the open socket are: they are all workers'.
        match rustix::net::send(bell, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            // Full: the host has been told already. Shut down: it looks by itself.
            Ok(_) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                return Ok(());
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl HostBell {
    /// Takes what has rung.
    pub(crate) fn silence(&self) -> Rung {
        for _ in 0..AT_ONCE {
            match rustix::net::recv(&self.0, &mut [0; 8], RecvFlags::DONTWAIT) {
                // An empty message, or the end.
                Ok((0, _)) if self.is_shut_down() => return Rung::Broken,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Rung::Broken,
            }
        }
        Rung::Whole
    }

    fn is_shut_down(&self) -> bool {
        let mut wait = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        fds::poll_until(&mut wait, Some(Instant::now())).is_err()
            || wait[0].revents().intersects(ends)
    }
}

impl AsFd for HostBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
