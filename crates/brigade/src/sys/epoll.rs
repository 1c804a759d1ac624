//! Waiting for descriptors: epoll(7), of which rustix has the calls; here they get an owner and a
//! buffer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::error::Call;
use super::opened;

/// A set of descriptors, each with the number that its readiness is reported under.
#[derive(Debug)]
pub(crate) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Ok(Epoll {
            fd: opened::epoll()?,
        })
    }

    /// Reports `key` while `fd` can be read, or has been hung up.
    pub(crate) fn add_readable(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        self.add(fd, key, EventFlags::IN)
    }

    /// Reports `key` while `fd` can be written.
    pub(crate) fn add_writable(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        self.add(fd, key, EventFlags::OUT)
    }

    /// From now on reports `key` while `fd` can be read or, if `or_written`, be written too.
    pub(crate) fn change(&self, fd: impl AsFd, key: u64, or_written: bool) -> io::Result<()> {
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, or_written);
        epoll::modify(&self.fd, fd, EventData::new_u64(key), flags).call("epoll_ctl(2)")
    }

    /// Reports `key` each time that there is more to read from `fd`, and when it is hung up.
    pub(crate) fn add_changes(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        self.add(fd, key, EventFlags::IN | EventFlags::ET)
    }

    /// Reports `key` when `fd` is hung up.
    pub(crate) fn add_hang_up(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        self.add(fd, key, EventFlags::ET)
    }

    fn add(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        epoll::add(&self.fd, fd, EventData::new_u64(key), flags).call("epoll_ctl(2)")
    }

    /// Whether it can be waited for at all: it fails later only where a descriptor is not ours any
    /// more.
    pub(crate) fn try_wait(&self) -> io::Result<()> {
        self.wait(&mut Vec::new(), Some(Duration::ZERO)).map(drop)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // Fails only where `fd` was not in the set, which is what is wanted.
        let _ = epoll::delete(&self.fd, fd);
    }

    /// The keys that are ready, after at most `timeout` (`None`: wait for ever). `false`: the wait
    /// was interrupted, by a signal, or because this process was stopped and goes on: signal(7) has
    /// epoll_wait(2) among the calls that end then, handler or not.
    pub(crate) fn wait(&self, ready: &mut Vec<u64>, timeout: Option<Duration>) -> io::Result<bool> {
        ready.clear();
        let mut events = [const {
            Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0),
            }
        }; 64];
        let timeout = timeout.map(|t| rustix::event::Timespec {
            tv_sec: t.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        match epoll::wait(&self.fd, events.as_mut_slice(), timeout.as_ref()) {
            Ok(n) => ready.extend(events.iter().take(n).map(|e| {
                let Event { data, .. } = *e;
                data.u64()
            })),
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(e) => return Err(e).call("epoll_wait(2)"),
        }
        Ok(true)
    }
}
