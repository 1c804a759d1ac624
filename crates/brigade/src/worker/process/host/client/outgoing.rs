//! Requests to the fork server. They are sent at once, or kept until there is room for them:
//! the thread that makes one never waits, for the fork server may be stopped.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ForkServerClient, SOCKET};
use crate::sys::opened;
use crate::worker::process::ipc::protocol::{self, Request};

/// Requests that there was no room for, oldest first. It is bounded by what the fork server is
/// asked for before it is given up: three requests for each worker.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    kept: Mutex<VecDeque<(Request, Vec<OwnedFd>)>>,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Request, Vec<OwnedFd>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl ForkServerClient {
    /// Sends a request, now or when there is room for it. An error is this request's:
    /// [`is_hang_up`](protocol::is_hang_up), or the kernel does not take it.
    pub(super) fn send(&self, request: Request) -> io::Result<()> {
        self.send_with(request, &[])
    }

    /// As [`send`](Self::send), of a request that has descriptors.
    pub(super) fn send_with(
        &self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut kept = self.outgoing.lock();
        if kept.is_empty() {
            match protocol::send(&self.socket, &request, descriptors) {
                Err(e) if protocol::is_temporary(&e) => {}
                sent => return sent,
            }
            // What only lacks memory is tried again by the watch.
            // To change what is watched needs no memory: epoll_ctl(2).
            let _ = self.epoll.change(&self.socket, SOCKET, true);
        }
        let copies = descriptors.iter().map(opened::copy);
        kept.push_back((request, copies.collect::<io::Result<_>>()?));
        drop(kept);
        Ok(())
    }

    /// The listener: sends what was kept, as far as there is room.
    pub(super) fn send_kept(&self) {
        let mut kept = self.outgoing.lock();
        if kept.is_empty() {
            return;
        }
        while let Some((request, descriptors)) = kept.front() {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match protocol::send(&self.socket, request, &descriptors) {
                Err(e) if protocol::is_temporary(&e) => return,
                // Sent; or the fork server is gone, which the listener learns soon. What the kernel
                // does not take is not asked for: a caller that waits for an answer gets an error
                // when the fork server is given up.
                _ => kept.pop_front(),
            };
        }
        let _ = self.epoll.change(&self.socket, SOCKET, false);
    }
}
