//! Processes, watched until they are gone: pidfd_open(2).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use brigade_test_support::wait;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A process, held by a descriptor: its number may be given to another, the descriptor not.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pid: u32,
    pidfd: OwnedFd,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> io::Result<Watched> {
        let id = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(id, PidfdFlags::empty())?;
        Ok(Watched { pid, pidfd })
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// One that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether it is still in the process table: also when it has ended, and its parent has not
    /// taken notice.
    pub(crate) fn has_entry(&self) -> bool {
        // SAFETY: no memory is involved; signal 0 is not sent, and only asks.
        let asked = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                0,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        asked == 0
    }
}

/// Waits until all have ended, but no longer than `limit`: the time that the last one took since
/// `start`, or those who have not.
pub(crate) fn await_ends(
    all: &[Watched],
    start: Instant,
    limit: Duration,
) -> io::Result<Result<Duration, Vec<u32>>> {
    let mut left: Vec<&Watched> = all.iter().collect();
    let deadline = start + limit;
    loop {
        let mut watched: Vec<PollFd<'_>> = left
            .iter()
            .map(|w| PollFd::new(&w.pidfd, PollFlags::IN))
            .collect();
        let time = deadline.saturating_duration_since(Instant::now());
        match rustix::event::poll(&mut watched, Some(&wait::timespec(time))) {
            Ok(0) => return Ok(Err(left.iter().map(|w| w.pid).collect())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let taken = start.elapsed();
        let alive: Vec<bool> = watched.iter().map(|fd| fd.revents().is_empty()).collect();
        let mut alive = alive.into_iter();
        left.retain(|_| alive.next() == Some(true));
        if left.is_empty() {
            return Ok(Ok(taken));
        }
    }
}

/// Orphans among our descendants become our children, not those of init, which may take seconds to
/// reap them. PR_SET_CHILD_SUBREAPER(2const).
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// Reaps every child that has ended.
pub(crate) fn reap_children() -> io::Result<()> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_is_watched_to_its_end() {
        let mut child = Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat starts");
        let watched = [Watched::new(child.id()).expect("a pidfd")];
        let start = Instant::now();
        let alive = await_ends(&watched, start, Duration::from_millis(1)).expect("polled");
        assert_eq!(alive, Err(vec![child.id()]));
        watched[0].kill().expect("killed");
        assert!(
            await_ends(&watched, Instant::now(), wait::LIMIT)
                .expect("polled")
                .is_ok()
        );
        assert!(watched[0].has_entry(), "nobody has waited for it");
        child.wait().expect("reaped");
        assert!(!watched[0].has_entry());
        watched[0].kill().expect("not there is no error");
    }
}
