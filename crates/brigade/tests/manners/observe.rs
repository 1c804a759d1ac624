//! Looking at a host from outside.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Longer than anything takes that does not hang.
pub(crate) const HANG: Duration = Duration::from_secs(30);

pub(crate) fn host(name: &str) -> Command {
    let exe = std::env::current_exe().expect("this program");
    let mut command = Command::new(exe);
    command.args(["--host", name]).stdin(Stdio::null());
    command
}

/// Runs a host to its end; it must end well, and its `main` must have run once.
pub(crate) fn well_behaved(name: &str, args: &[&str]) -> Output {
    check(name, host(name).args(args).output().expect("starts"))
}

pub(crate) fn check(name: &str, output: Output) -> Output {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{out}\n{err}",
        output.status
    );
    assert_eq!(
        out.lines().filter(|l| *l == "main").count(),
        1,
        "{name}: main ran once:\n{out}"
    );
    output
}

/// A process, by a descriptor that cannot come to mean another one.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pid: u32,
    fd: OwnedFd,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> io::Result<Watched> {
        let id = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Watched {
            pid,
            fd: pidfd_open(id, PidfdFlags::empty())?,
        })
    }

    pub(crate) fn lives(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Waits until it has ended; `false`: it has not.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        readable_within(&self.fd, limit)
    }
}

/// Waits until there is something to read, or the other end is gone; `false`: there is nothing.
pub(crate) fn readable_within(fd: impl AsFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return false,
            Ok(n) if n > 0 => return true,
            _ => {}
        }
    }
}

/// Ends a host that a failed test would leave behind.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
