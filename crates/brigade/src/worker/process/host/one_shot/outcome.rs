//! How a task with a worker of its own ended: from the worker's last reply, or from its end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::worker::{HeldEnd, OneShotWorker, WaitOutcome};
use crate::JoinError;
use crate::sys::value_file::ValueFile;
use crate::task::name::TaskName;
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::reply::{self, Reply};

/// An encoded result.
pub(super) enum Stored {
    Here(Vec<u8>),
    File(ValueFile),
}

/// The encoded result of a task, and its descriptors; or why there is none.
pub(super) type EncodedOutcome = Result<(Stored, Vec<OwnedFd>), JoinError>;

impl OneShotWorker {
    /// The task's end, from the worker's last reply. `None`: it cannot be had before the deadline.
    pub(super) fn conclude(
        &mut self,
        found: WaitOutcome,
        frame: Vec<u8>,
        deadline: Option<Instant>,
        name: &TaskName,
    ) -> Option<EncodedOutcome> {
        let undeliverable = |why: &str| JoinError::Undeliverable(format!("task `{name}`: {why}"));
        if self.ends.mailbox().is_unflushed() {
            crate::trace::warn!(
                target: "brigade::process",
                pid = self.pid,
                task = name.get(),
                "the task has left a thread behind that holds a stream, and what was printed there is lost"
            );
        }
        let tag = match found {
            WaitOutcome::Reply(tag) => tag,
            WaitOutcome::Ended => return self.crashed(deadline, name),
            // Garbage in the mailbox of a worker that has ended by itself: the kernel's word says
            // more.
            WaitOutcome::Corrupt if self.server.exit_table.has_ended(self.slot) => {
                return self.crashed(deadline, name);
            }
            WaitOutcome::Corrupt | WaitOutcome::TimedOut => {
                return self.broke_protocol(deadline, name);
            }
        };
        let ended = match tag.read(&frame) {
            Reply::Returned(_) => Ok((Stored::Here(frame), Vec::new())),
            Reply::AccompaniedReturned(_) | Reply::LargeReturned(_) => {
                let request_number = match self.server.ask_for_fd_socket(self.slot, self.pid) {
                    Ok(request_number) => request_number,
                    Err(e) => return Some(Err(not_received(name, &e))),
                };
                self.held = Some(HeldEnd::FdSocket {
                    tag,
                    frame,
                    request_number,
                });
                return self.release(deadline, name);
            }
            Reply::Panicked(unwound) => match reply::decoded(unwound) {
                Some(unwound) => Err(JoinError::panicked(
                    name.clone(),
                    unwound,
                    &self.server.symbols,
                )),
                None => return self.broke_protocol(deadline, name),
            },
            Reply::Undeliverable(why) => Err(undeliverable(&String::from_utf8_lossy(why))),
            Reply::Ready
            | Reply::NotReady(_)
            | Reply::Leaving
            | Reply::Ran(_)
            | Reply::Unknown(_) => {
                return self.broke_protocol(deadline, name);
            }
        };
        self.replied = true;
        Some(ended)
    }

    /// Tells the end that was held back, if what it waits for has come.
    pub(super) fn release(
        &mut self,
        deadline: Option<Instant>,
        name: &TaskName,
    ) -> Option<EncodedOutcome> {
        match self.held.take()? {
            HeldEnd::Gone(lied) => {
                if !self.wait_ended(deadline) {
                    self.held = Some(HeldEnd::Gone(lied));
                    return None;
                }
                if let Some(why) = self.why_not_started() {
                    let why = format!("task `{name}`: there is no worker process: {why}");
                    return Some(Err(JoinError::Undeliverable(why)));
                }
                let (evidence, symbols) = (self.evidence(), &self.server.symbols);
                Some(Err(JoinError::Crashed(if lied {
                    evidence.into_lost(name.clone(), symbols)
                } else {
                    evidence.into_crash(name.clone(), symbols)
                })))
            }
            HeldEnd::FdSocket {
                tag,
                frame,
                request_number,
            } => {
                let Some(fd_socket) = self.server.wait_for_fd_socket(request_number, deadline)
                else {
                    self.held = Some(HeldEnd::FdSocket {
                        tag,
                        frame,
                        request_number,
                    });
                    return None;
                };
                self.replied = true;
                let fd_socket = match fd_socket {
                    Ok(Some(fd_socket)) => fd_socket,
                    // What was sent is kept until we release the worker: there was nothing, or the
                    // fork server has ended.
                    Ok(None) => return self.crashed(deadline, name),
                    Err(e) => return Some(Err(not_received(name, &e))),
                };
                let descriptors = match fd_socket::recv(fd_socket) {
                    // It sent before it replied, so it would be there.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        return self.broke_protocol(deadline, name);
                    }
                    received => received,
                };
                let received = descriptors.and_then(|descriptors| match tag.read(&frame) {
                    Reply::LargeReturned(len) => {
                        fd_socket::open_large(descriptors, len.unwrap_or(u64::MAX))
                            .map(|(file, descriptors)| (Stored::File(file), descriptors))
                    }
                    Reply::AccompaniedReturned(_) => Ok((Stored::Here(frame), descriptors)),
                    _ => Err(io::ErrorKind::InvalidData.into()),
                });
                match received {
                    Ok(received) => Some(Ok(received)),
                    Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                        self.broke_protocol(deadline, name)
                    }
                    // It may be this program that has no room for it.
                    Err(e) => Some(Err(not_received(name, &e))),
                }
            }
        }
    }

    fn crashed(&mut self, deadline: Option<Instant>, name: &TaskName) -> Option<EncodedOutcome> {
        self.held = Some(HeldEnd::Gone(false));
        self.release(deadline, name)
    }

    /// The worker broke the protocol: it is ended, and nothing that it said is believed.
    fn broke_protocol(
        &mut self,
        deadline: Option<Instant>,
        name: &TaskName,
    ) -> Option<EncodedOutcome> {
        self.kill(Duration::ZERO);
        self.held = Some(HeldEnd::Gone(true));
        self.release(deadline, name)
    }
}

fn not_received(name: &TaskName, why: &io::Error) -> JoinError {
    JoinError::Undeliverable(format!(
        "task `{name}`: its result could not be received: {why}"
    ))
}
