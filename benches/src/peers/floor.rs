//! The operating system's own cost: threads, forks and executions with nothing around them.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::helper::{Helper, Role};
use crate::rounds::each;

pub(crate) const THREAD: &str = "std::thread";
pub(crate) const FORK: &str = "fork + _exit + waitpid";
pub(crate) const FORK_SERVER: &str = "a bare fork server";
pub(crate) const REEXEC: &str = "self re-exec";

/// A thread of std's, started and joined.
pub(crate) fn thread() -> io::Result<()> {
    std::thread::spawn(|| ())
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))
}

/// This program, executed once more, which ends at once.
pub(crate) fn reexec() -> io::Result<()> {
    match Role::Exit.command().status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("a re-execution failed")),
    }
}

/// A small program that forks.
#[derive(Debug)]
pub(crate) struct Forks(Helper);

impl Forks {
    pub(crate) fn start() -> io::Result<Forks> {
        Helper::start(Role::Fork.command()).map(Forks)
    }

    /// Microseconds for one, as the small program itself measured.
    pub(crate) fn turn(&mut self, count: u32) -> io::Result<f64> {
        self.0.tell(&count.to_ne_bytes())?;
        Ok(u64::from_ne_bytes(self.0.hear()?) as f64 / 1e3 / f64::from(count))
    }
}

/// A small program that forks when it is told to, and says when the child has ended.
#[derive(Debug)]
pub(crate) struct ForkServer {
    child: Child,
    socket: OwnedFd,
}

impl ForkServer {
    pub(crate) fn start() -> io::Result<ForkServer> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let child = Role::ForkServer
            .command()
            .stdin(Stdio::from(theirs))
            .spawn()?;
        Ok(ForkServer { child, socket })
    }

    pub(crate) fn turn(&mut self, count: u32) -> io::Result<f64> {
        each(count, || {
            let mut byte = [1];
            rustix::io::write(&self.socket, &byte)?;
            match rustix::io::read(&self.socket, &mut byte)? {
                1 => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        // Both fail harmlessly when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
