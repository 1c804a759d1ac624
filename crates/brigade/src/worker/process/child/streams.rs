//! The standard streams that a worker's builder gives it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::sys::error;
use crate::sys::fds::{self, Pinned};
use crate::worker::process::ipc::streams::{self, NO_STREAMS, OwnStreams, PlanWords, STREAMS};

/// Streams into which the worker writes which task begins.
#[derive(Debug, Default)]
pub(in crate::worker::process) struct Marks([Option<Pinned>; 2]);

impl Marks {
    /// What is written from here on, is written by tasks of this function.
    #[inline]
    pub(super) fn write(&self, function: PlanWords) {
        for stream in self.0.iter().flatten() {
            // The task before may have put something else there, which is its own affair.
            if let Some(stream) = stream.get() {
                write_all(stream, streams::mark(function).as_bytes());
            }
        }
    }
}

/// All of it or, where no process reads, nothing.
#[cold]
fn write_all(stream: BorrowedFd<'_>, mark: &[u8]) {
    loop {
        match rustix::io::write(stream, mark) {
            Err(Errno::INTR) => {}
            // A task has made it so.
            Err(Errno::AGAIN) => {
                let mut room = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
                if fds::poll_until(&mut room, None).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// What the fork server has sent before there is a task.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) marks: Marks,
    /// The memory file of a value that belongs to the worker's setup.
    pub(super) value: Option<OwnedFd>,
    /// The socket that its events go to, and up to which level.
    pub(super) events: Option<(OwnedFd, u8)>,
}

/// Takes the streams that the fork server has sent, and what came with them.
pub(super) fn adopt(fd_socket: BorrowedFd<'_>, own: OwnStreams) -> io::Result<Adopted> {
    let mut came = receive(fd_socket)?.into_iter();
    let mut next = || came.next().ok_or(io::ErrorKind::UnexpectedEof);
    if own.stdin {
        fds::become_stdin(next()?)?;
    }
    if own.stdout {
        fds::become_stdout(next()?)?;
    }
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut marks = Marks::default();
    for (i, stream) in streams.into_iter().enumerate() {
        if own.marks[i] {
            marks.0[i] = Some(Pinned::new(stream)?);
        }
    }
    let value = own.value.then(&mut next).transpose()?;
    let events = own.events.map(|level| next().map(|socket| (socket, level)));
    Ok(Adopted {
        marks,
        value,
        events: events.transpose()?,
    })
}

fn receive(fd_socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    loop {
        let mut descriptors = Vec::new();
        let mut bytes = [0; 8];
        let received = fds::recv(fd_socket.as_fd(), &mut bytes, &mut descriptors, true)?;
        match u64::from_ne_bytes(bytes) {
            _ if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if received.descriptors_lost => {
                return Err(error::as_if("recvmsg(2)", libc::EMFILE));
            }
            STREAMS => return Ok(descriptors),
            NO_STREAMS => {
                let why = "the fork server has no descriptor left for them";
                return Err(io::Error::other(why));
            }
            // An attachment cannot have come yet.
            _ => {}
        }
    }
}
