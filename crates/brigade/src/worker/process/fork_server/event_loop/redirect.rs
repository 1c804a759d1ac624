//! Streams of its own for a worker, as its builder says.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::keys::{About, key_of};
use super::{EventLoop, ForkedWorker};
use crate::sys::fds;
use crate::worker::process::fork_server::streams::{self, Stream, StreamReader, StreamWriter};
use crate::worker::process::ipc::streams::{NO_STREAMS, Route, Routes, STREAMS};

impl EventLoop<'_> {
    /// Has what a worker writes go where the host says, before it has its setup; and sends it the
    /// streams that are its own, or that it does not get them. `descriptors`: if they have come.
    pub(super) fn redirect(
        &mut self,
        (slot, pid): (u32, u32),
        routes: Routes,
        descriptors: Option<Vec<OwnedFd>>,
    ) {
        let Some(worker) = self.workers.get_mut(&pid).filter(|w| w.slot == slot) else {
            return;
        };
        if let (Some(_), Some(old)) = (routes.stdout, &worker.written.stdout) {
            self.epoll.remove(old.pipe());
        }
        let given = descriptors.ok_or_else(|| io::ErrorKind::InvalidData.into());
        let theirs = given.and_then(|given| worker.redirect(pid, routes, given));
        let fd_socket = &worker.fd_socket;
        // The host learns of a worker that has ended, and not of one that gets neither of the two:
        // the host that asked for it ends it, or it ends with this process.
        let _ = match &theirs {
            Ok(theirs) => {
                let theirs: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
                fds::send(fd_socket, &STREAMS.to_ne_bytes(), &theirs)
            }
            Err(_) => fds::send(fd_socket, &NO_STREAMS.to_ne_bytes(), &[]),
        };
        if let Some(stdout) = worker.written.stdout.as_ref() {
            let key = key_of(slot, About::Written(Stream::Stdout));
            let added = self.epoll.add_readable(stdout.pipe(), key);
            self.unwatched |= added.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists);
        }
    }
}

impl ForkedWorker {
    /// Gives what the worker itself needs of it.
    fn redirect(
        &mut self,
        pid: u32,
        routes: Routes,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
        let mut theirs = Vec::new();
        if routes.stdin {
            theirs.push(next()?);
        }
        for (stream, route) in [
            (Stream::Stdout, routes.stdout),
            (Stream::Stderr, routes.stderr),
        ] {
            let Some(route) = route else {
                continue;
            };
            let fd = match route {
                Route::Nowhere => None,
                Route::File | Route::Lines => Some(next()?),
            };
            self.redirected[stream as usize] =
                Some(Box::new(StreamWriter::own(route, fd, pid, stream)));
            // Its stderr is a pipe to this process already.
            if stream == Stream::Stdout {
                let (read, write) = streams::pipe()?;
                self.written.stdout = Some(StreamReader::new(read, None));
                theirs.push(write);
            }
        }
        for also in [routes.value, routes.events] {
            if also {
                theirs.push(next()?);
            }
        }
        Ok(theirs)
    }
}
