//! The lines that workers write to their standard streams, for the thread of the program that reads
//! them; and the files that those streams may be instead.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::sys::error::Call;
use crate::sys::per_process::OwnCell;
use crate::sys::{fds, futex, opened};
use crate::task::name::TaskName;
use crate::transport::reactor::ReactorRegistration;
use crate::worker::process::ipc::streams::{LineFrame, PlanWords};
use crate::worker::process::line::Line;

/// The names of the tasks whose lines are read, by their functions.
type NamesByPlan = Arc<Mutex<HashMap<PlanWords, TaskName>>>;

/// Where the lines of workers go: the fork server's end.
#[derive(Debug)]
pub(crate) struct Sink {
    socket: OwnedFd,
    names: NamesByPlan,
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Source {
    socket: OwnedFd,
    names: NamesByPlan,
    buffer: Vec<u8>,
    /// This socket's place with the reactor, for a future that waits.
    registration: OwnCell<ReactorRegistration>,
}

/// Longer than any line that the fork server sends.
const LONGEST: usize = 64 * 1024;

/// How long a reader pauses where the kernel has no memory.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn lines() -> io::Result<(Sink, Source)> {
    let (source, sink) = opened::socket_pair().needed_to("read what workers write")?;
    let names = NamesByPlan::default();
    let sink = Sink {
        socket: sink,
        names: Arc::clone(&names),
    };
    let source = Source {
        socket: source,
        names,
        buffer: vec![0; LONGEST],
        registration: OwnCell::new(),
    };
    Ok((sink, source))
}

impl Sink {
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The reader is to know what this function's tasks are called.
    pub(super) fn name(&self, function: PlanWords, name: impl FnOnce() -> TaskName) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(function).or_insert_with(name);
    }
}

impl Source {
    /// Waits for the next line. `None`: no writer is left.
    pub(crate) fn next(&mut self) -> Option<Line> {
        self.receive(RecvFlags::empty()).unwrap_or_default()
    }

    /// As [`next`](Self::next), until the deadline at most. The error: it has passed.
    pub(crate) fn next_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<Line>> {
        loop {
            if let Some(next) = self.receive(RecvFlags::DONTWAIT) {
                return Ok(next);
            }
            let mut lines = [PollFd::new(&self.socket, PollFlags::IN)];
            if !fds::poll_until(&mut lines, deadline)? {
                // One may have come at the last moment.
                let next = self.receive(RecvFlags::DONTWAIT);
                return next.ok_or_else(|| io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// As [`next`](Self::next), for a future.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Line>> {
        if let Some(next) = self.receive(RecvFlags::DONTWAIT) {
            return Poll::Ready(next);
        }
        let socket = &self.socket;
        let registration = self
            .registration
            .get_or_try_init(|| ReactorRegistration::new([socket.as_fd(); 3]));
        match registration {
            Ok(registration) => registration.wake_when_changed(context.waker()),
            // No descriptor or no thread to be had. The executor tries again, and goes on doing so:
            // slow, but nothing is lost.
            Err(_) => context.waker().wake_by_ref(),
        }
        // A line may have come before the reactor watched for it.
        self.receive(RecvFlags::DONTWAIT)
            .map_or(Poll::Pending, Poll::Ready)
    }

    /// The next line; or that no writer is left. `None`: there is none yet, and this does not wait.
    fn receive(&mut self, flags: RecvFlags) -> Option<Option<Line>> {
        loop {
            let got = rustix::net::recv(&self.socket, &mut self.buffer[..], flags);
            let len = match got {
                Ok((0, _)) => return Some(None),
                Ok((len, _)) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return None,
                Err(Errno::NOBUFS | Errno::NOMEM) => {
                    futex::rest(PAUSE);
                    continue;
                }
                Err(_) => return Some(None),
            };
            let Some(frame) = LineFrame::read(&self.buffer[..len]) else {
                continue;
            };
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let task = names.get(&frame.function).cloned();
            drop(names);
            return Some(Some(Line {
                pid: frame.pid,
                is_stderr: frame.is_stderr,
                is_whole: frame.is_whole,
                lost: frame.lost,
                task,
                text: String::from_utf8_lossy(frame.text).into_owned(),
            }));
        }
    }
}

/// A file that workers' output is written to the end of. It is never waited for.
pub(crate) fn open_output(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let file = options
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
        .open(path)
        .call("open(2)")
        .at(|| path.display().to_string())?;
    above(file)
}

/// An open file, whose end workers' output is written to: opened again, so that nothing is changed
/// of how the program has it open.
pub(crate) fn reopen_output(file: &File) -> io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(file).call("fcntl(F_GETFL)")?;
    if !flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        let why = "the file for workers' output is not open for writing";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
    opened::file(path, flags)
        .map(File::from)
        .needed_to("write workers' output to a file")
}

/// An open file, which workers read, each from its beginning.
pub(crate) fn copy_input(file: &File) -> io::Result<File> {
    check_input(file, "the file for workers' stdin")?;
    opened::copy(file)
        .map(File::from)
        .needed_to("give workers a stdin")
}

/// A file that workers read, each from its beginning.
pub(crate) fn open_input(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
        .open(path)
        .call("open(2)")
        .at(|| path.display().to_string())?;
    check_input(&file, &path.display().to_string())?;
    above(file)
}

fn check_input(file: &File, called: &str) -> io::Result<()> {
    let stat = rustix::fs::fstat(file).call("fstat(2)")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => Ok(()),
        _ => {
            let why = format!("{called} is no file that each worker could read from its beginning");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

fn above(file: File) -> io::Result<File> {
    opened::lifted(file.into()).map(File::from)
}
