//! Workers' descriptor sockets, which the fork server keeps until the host asks for them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::Instant;

use super::ForkServerClient;
use crate::worker::process::ipc::protocol::{self, Request};

/// A descriptor socket that came. `None`: there is no such worker any more, nor anything that it
/// sent.
type Arrival = io::Result<Option<OwnedFd>>;

#[derive(Debug, Default)]
pub(super) struct FdSockets {
    came: HashMap<u64, Arrival>,
    /// Requests for descriptor sockets that no caller waits for any more.
    unwanted: HashSet<u64>,
    next_request_number: u64,
}

impl FdSockets {
    /// The listener: one has come.
    pub(super) fn arrive(&mut self, request_number: u64, fd_socket: Arrival) {
        if !self.unwanted.remove(&request_number) {
            self.came.insert(request_number, fd_socket);
        }
    }

    pub(super) fn has_come(&self, request_number: u64) -> bool {
        self.came.contains_key(&request_number)
    }
}

impl ForkServerClient {
    /// Asks for a worker's descriptor socket; when it has come the observers are called, and the
    /// sleepers that wait for it are woken. Returns the number of the request.
    pub(crate) fn ask_for_fd_socket(&self, slot: u32, pid: u32) -> io::Result<u64> {
        let mut state = self.lock();
        let request_number = state.fd_sockets.next_request_number;
        state.fd_sockets.next_request_number += 1;
        match self.send(Request::FdSocket {
            slot,
            pid,
            request_number,
        }) {
            // With the fork server its workers are gone, and their descriptor sockets.
            Err(e) if protocol::is_hang_up(&e) => state.fd_sockets.arrive(request_number, Ok(None)),
            sent => sent?,
        }
        self.watch(&mut state);
        Ok(request_number)
    }

    /// The descriptor socket that was asked for is not wanted any more.
    pub(crate) fn forget_fd_socket(&self, request_number: u64) {
        let mut state = self.lock();
        let came = state.fd_sockets.came.remove(&request_number);
        if came.is_none() && !state.gone {
            state.fd_sockets.unwanted.insert(request_number);
        }
        drop(state);
        drop(came);
    }

    /// The descriptor socket that was asked for, if it has come.
    pub(crate) fn fd_socket_that_came(&self, request_number: u64) -> Option<Arrival> {
        let mut state = self.lock();
        let came = state.fd_sockets.came.remove(&request_number);
        if came.is_none() && state.gone {
            return Some(Ok(None));
        }
        came
    }

    /// Whether it has come, or never will.
    pub(crate) fn has_fd_socket(&self, request_number: u64) -> bool {
        let state = self.lock();
        state.gone || state.fd_sockets.has_come(request_number)
    }

    /// Waits for the descriptor socket that was asked for. `None`: it has not come before the
    /// deadline.
    pub(crate) fn wait_for_fd_socket(
        &self,
        request_number: u64,
        deadline: Option<Instant>,
    ) -> Option<Arrival> {
        let mut state = self.lock();
        loop {
            if let Some(fd_socket) = state.fd_sockets.came.remove(&request_number) {
                return Some(fd_socket);
            }
            if state.gone {
                return Some(Ok(None));
            }
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.arrived.wait(state),
                Some(left) if left.is_zero() => return None,
                Some(left) => self
                    .arrived
                    .wait_timeout(state, left)
                    .map(|(state, _)| state)
                    .map_err(|e| PoisonError::new(e.into_inner().0)),
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
