//! The first words of a fork server that was started: that it is there, or why it cannot be one.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};

use crate::sys::error::{self, SystemError, errno_of};
use crate::sys::privilege::Privilege;
use crate::sys::process::{self, Ended};
use crate::sys::remote_error::RemoteError;
use crate::sys::{fds, limits, opened};
use crate::task::entry::Plan;
use crate::worker::process::ipc::protocol::{
    self, Build, ForkServerEvent, ModuleAt, ReceivedMessage,
};

/// How many seconds a fork server may take to say that it is there. Only one that hangs, or is
/// stopped, takes longer.
const START_LIMIT: u32 = 30;

/// What a fork server says of itself.
pub(super) struct Greeting {
    /// The fork server's pidfd.
    pub(super) process: OwnedFd,
    pub(super) modules: Vec<ModuleAt>,
    pub(super) threads: Vec<String>,
    /// What lists the tasks that its program exports.
    pub(super) catalogue: Plan,
}

/// Waits until a fork server that was started says that it is there, as a start of this build. One
/// that does not say so is killed: it has no worker yet.
pub(super) fn greet(
    socket: &OwnedFd,
    pid: u32,
    ours: &Privilege,
    expected: &Build,
) -> io::Result<Greeting> {
    let id = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
    let process = opened::pidfd(id);
    // While the other end is not closed, the process that we started is alive, so that its
    // number is not another's.
    let hung_up = |socket: &OwnedFd| {
        let mut fd = [PollFd::new(socket, PollFlags::empty())];
        fds::poll_until(&mut fd, Some(Instant::now()))
    };
    if hung_up(socket)? {
        // It may have said why.
        return Err(match protocol::recv_first(socket, false) {
            Ok(Some(ReceivedMessage {
                content: ForkServerEvent::Unfit { why },
                ..
            })) => unfit(pid, why),
            Err(e) if SystemError::of(&e).is_some() => e,
            _ => ended_early(pid, process.as_ref().ok()),
        });
    }
    // It may have ended, and the socket not tell: another process has a copy of the other end, or
    // this one has, to which close(2) is denied.
    let is_gone = |e: &io::Error| errno_of(e) == Some(libc::ESRCH);
    let process = match process {
        Err(e) if is_gone(&e) => return Err(ended_early(pid, None)),
        process => process?,
    };
    match process::try_signal_through(&process) {
        Err(e) if is_gone(&e) => return Err(ended_early(pid, Some(&process))),
        may => may?,
    }
    let hello = hear_hello(socket, pid, &process).and_then(|hello| {
        if hello.build != *expected {
            return Err(not_fit(pid, "is not the build that was started"));
        }
        super::privilege::check(ours, &hello.privilege).map(|()| hello)
    });
    match hello {
        Ok(hello) => Ok(Greeting {
            process,
            modules: hello.modules,
            threads: hello.threads,
            catalogue: Plan::from_words(hello.catalogue),
        }),
        Err(why) => {
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
            Err(why)
        }
    }
}

/// [`ForkServerEvent::Hello`].
struct Hello {
    build: Build,
    privilege: Box<Privilege>,
    modules: Vec<ModuleAt>,
    threads: Vec<String>,
    catalogue: [u64; 2],
}

/// The first message of a fork server whose start has not failed yet.
fn hear_hello(socket: &OwnedFd, pid: u32, process: &OwnedFd) -> io::Result<Hello> {
    // A second in which this program is stopped as well counts as one, however long it is.
    let mut said = false;
    for _ in 0..START_LIMIT {
        let mut either = [socket, process].map(|fd| PollFd::new(fd, PollFlags::IN));
        let second = Instant::now().checked_add(Duration::from_secs(1));
        said = said || fds::poll_until(&mut either, second)?;
    }
    if !said {
        return Err(not_fit(pid, "did not start within 30 seconds"));
    }
    let first = match protocol::recv_first(socket, false) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        first => first?,
    };
    match first.map(|message| message.content) {
        Some(ForkServerEvent::Hello {
            build,
            privilege,
            modules,
            threads,
            catalogue,
            ..
        }) => Ok(Hello {
            build,
            privilege,
            modules,
            threads,
            catalogue,
        }),
        Some(ForkServerEvent::Unfit { why }) => Err(unfit(pid, why)),
        _ => Err(ended_early(pid, Some(process))),
    }
}

fn not_fit(pid: u32, what: &str) -> io::Error {
    io::Error::other(format!("the fork server (process {pid}) {what}"))
}

/// The error that the fork server gave for why it cannot be one.
fn unfit(pid: u32, why: RemoteError) -> io::Error {
    let place = format!("the fork server (process {pid}) could not begin");
    error::placed(&place, why.into())
}

/// Of a fork server that could say nothing: how it ended, and which limits it had.
fn ended_early(pid: u32, process: Option<&OwnedFd>) -> io::Error {
    let how = match process.and_then(|process| process::how_it_ended(process, pid)) {
        Some(Ended::Exited(status)) => format!(" (it left with status {status})"),
        Some(Ended::Signaled(signal)) => format!(" (signal {signal} ended it)"),
        None => String::new(),
    };
    let limits = limits::all();
    let limits = match limits.is_empty() {
        true => "no limit of this program's explains it".to_owned(),
        false => format!("its limits are this program's: {limits}"),
    };
    io::Error::other(format!(
        "the fork server (process {pid}), which makes worker processes, ended before it was \
         ready{how}; {limits}; what it wrote to stderr may say more"
    ))
}
