//! What does not go through the rings: descriptors and large values, by the descriptor socket; and
//! the contexts of tasks, which may be either.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Attachment, FdSocketState, NotNow, WorkerConnection};
use crate::sys::error::errno_of;
use crate::task::entry::Plan;
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::order::{ContextNumbers, Order, Payload};

impl WorkerConnection {
    /// Writes a task with descriptors.
    pub(crate) fn write_with_attachment(
        &mut self,
        input: &[u8],
        attachment: Attachment<'_>,
    ) -> Result<(), NotNow> {
        let payload = self.send_attachment(input, attachment, 0)?;
        self.push(Order::Task(payload))?;
        self.written = self.written.wrapping_add(1);
        Ok(())
    }

    /// Sends what goes through the descriptor socket of an encoded value, unless there is no room
    /// in the ring for the rest, with `before` bytes before it. Returns what is to be written
    /// there.
    fn send_attachment<'b>(
        &mut self,
        bytes: &'b [u8],
        attachment: Attachment<'_>,
        before: usize,
    ) -> Result<Payload<'b>, NotNow> {
        let number = self.attachments;
        let payload = match attachment.file {
            Some((_, len)) => Payload::Large {
                attachment: number,
                len,
            },
            None => Payload::Accompanied {
                attachment: number,
                bytes,
            },
        };
        // First, so that nothing is sent for which there is no room.
        if !self.ends.orders.has_room(before + payload.len()) {
            return Err(NotNow::Full);
        }
        let mut all: Vec<BorrowedFd<'_>> = Vec::with_capacity(attachment.descriptors.len() + 1);
        all.extend(attachment.file.map(|(file, _)| file));
        all.extend(attachment.descriptors.iter().map(AsFd::as_fd));
        let Some(fd_socket) = self.fd_socket()? else {
            return Err(NotNow::Gone);
        };
        fd_socket::send_numbered(fd_socket, number, &all).map_err(|e| {
            match (e.kind(), errno_of(&e)) {
                (io::ErrorKind::WouldBlock, _) => NotNow::FdSocketFull,
                (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset, _) => NotNow::Gone,
                _ => NotNow::Failed(e),
            }
        })?;
        self.attachments += 1;
        Ok(payload)
    }

    /// As [`write_plan`](Self::write_plan), of tasks that use the context of this number.
    pub(crate) fn write_plan_with(&mut self, plan: [u64; 2], context: u64) -> Result<(), NotNow> {
        self.write_libraries(plan)?;
        self.push(Order::PlanWith(Plan::from_words(plan), context))
    }

    /// Writes a context, for tasks that are written after it.
    pub(crate) fn write_context(
        &mut self,
        number: u64,
        bytes: &[u8],
        attachment: Attachment<'_>,
    ) -> Result<(), NotNow> {
        let payload = if attachment.file.is_none() && attachment.descriptors.is_empty() {
            Payload::Inline(bytes)
        } else {
            self.send_attachment(bytes, attachment, size_of_val(&number))?
        };
        self.push(Order::Context(number, payload))
    }

    /// Has the worker let go of all contexts but these.
    pub(crate) fn keep_contexts(
        &mut self,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<(), NotNow> {
        self.push(Order::KeepContexts(ContextNumbers::write(
            numbers,
            &mut Vec::new(),
        )))
    }

    /// The descriptor socket. `None`: there is none any more.
    pub(crate) fn fd_socket(&mut self) -> Result<Option<BorrowedFd<'_>>, NotNow> {
        match self.fd_socket {
            FdSocketState::Closed => {
                let request_number = self
                    .server
                    .ask_for_fd_socket(self.slot, self.pid)
                    .map_err(NotNow::Failed)?;
                self.fd_socket = FdSocketState::Coming(request_number);
                return Err(NotNow::FdSocketComing);
            }
            FdSocketState::Coming(request_number) => {
                match self.server.fd_socket_that_came(request_number) {
                    None => return Err(NotNow::FdSocketComing),
                    Some(Ok(Some(fd_socket))) => self.fd_socket = FdSocketState::Open(fd_socket),
                    Some(Ok(None)) => self.fd_socket = FdSocketState::Gone,
                    Some(Err(e)) => {
                        self.fd_socket = FdSocketState::Closed;
                        return Err(NotNow::Failed(e));
                    }
                }
            }
            FdSocketState::Open(_) | FdSocketState::Gone => {}
        }
        Ok(match &self.fd_socket {
            FdSocketState::Open(fd_socket) => Some(fd_socket.as_fd()),
            _ => None,
        })
    }

    /// Takes what came with a reply. A failure takes it too, so that it is not taken for what comes
    /// with the next one.
    pub(crate) fn fetch(&mut self) -> Result<Vec<OwnedFd>, NotNow> {
        match self.fd_socket() {
            Ok(_) => {}
            Err(NotNow::Failed(e)) => {
                self.unfetched += 1;
                return Err(NotNow::Failed(e));
            }
            Err(e) => return Err(e),
        }
        let FdSocketState::Open(fd_socket) = &self.fd_socket else {
            return Err(NotNow::Gone);
        };
        while self.unfetched > 0 {
            match fd_socket::recv(fd_socket) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(NotNow::Failed(e)),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(NotNow::Gone),
                // Also one whose descriptors there is no room for.
                _ => self.unfetched -= 1,
            }
        }
        fd_socket::recv(fd_socket).map_err(NotNow::Failed)
    }
}
