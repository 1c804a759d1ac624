//! What the fork server has to tell the host, and the host has not taken yet.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HOST_FREE;
use crate::sys::epoll::Epoll;
use crate::worker::process::protocol::{self, Event};

/// When that is tried again which failed, and may not fail then.
const AGAIN: Duration = Duration::from_millis(5);

/// How long it is tried. Longer than descriptors are on their way, but for a host that is stopped, which has no room then.
const TRIES: Duration = Duration::from_secs(2);

/// Events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<Outgoing>,
    /// The event loop waits for room in the socket.
    waits_for_room: bool,
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct Outgoing {
    event: Event,
    descriptor: Option<Arc<OwnedFd>>,
    /// When it failed first.
    failing: Option<Instant>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Sent {
    /// There is somebody at the other end.
    pub(super) heard: bool,
    /// Workers that the host could not be given: their slots, and their numbers.
    pub(super) refused: Vec<(u32, u32)>,
}

/// What is made of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// There is no room in the socket, of which epoll tells.
    NoRoom,
    /// It may pass: descriptors of this user's that are on their way, memory.
    Passing,
    /// The host is gone.
    HangUp,
    /// It cannot be sent.
    Refused,
}

fn failure(error: &io::Error) -> Failure {
    match error {
        e if e.kind() == io::ErrorKind::WouldBlock => Failure::NoRoom,
        e if protocol::is_temporary(e) => Failure::Passing,
        e if protocol::is_hang_up(e) => Failure::HangUp,
        _ => Failure::Refused,
    }
}

impl Outbox {
    pub(super) fn push(&mut self, event: Event, descriptor: Option<Arc<OwnedFd>>) {
        self.events.push_back(Outgoing {
            event,
            descriptor,
            failing: None,
        });
    }

    /// When there is something to be tried again, of which nobody tells.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Sends what can be sent now. `room`: the same socket, for the event loop to wait for room in it.
    ///
    /// One that fails holds up none of another kind. If it goes on failing, the host is told so in its place, without the descriptor.
    pub(super) fn send(&mut self, socket: &OwnedFd, room: &OwnedFd, epoll: &Epoll) -> Sent {
        let mut sent = Sent {
            heard: true,
            refused: Vec::new(),
        };
        self.again_at = None;
        let mut at = 0;
        // The host knows from their order who they are.
        let mut hires_wait = false;
        while let Some(outgoing) = self.events.get_mut(at) {
            let hire = matches!(outgoing.event, Event::Hired { .. } | Event::NotHired { .. });
            if hire && hires_wait {
                at += 1;
                continue;
            }
            let descriptors: Vec<BorrowedFd<'_>> =
                outgoing.descriptor.iter().map(|d| d.as_fd()).collect();
            let Err(error) = protocol::send(socket, &outgoing.event, &descriptors) else {
                self.events.remove(at);
                continue;
            };
            let now = Instant::now();
            match failure(&error) {
                Failure::NoRoom => {
                    if !self.waits_for_room && epoll.add_writable(room, HOST_FREE).is_err() {
                        self.again_at = Some(now + AGAIN);
                        return sent;
                    }
                    self.waits_for_room = true;
                    return sent;
                }
                Failure::HangUp => {
                    sent.heard = false;
                    return sent;
                }
                Failure::Passing if now < *outgoing.failing.get_or_insert(now) + TRIES => {
                    self.again_at = Some(now + AGAIN);
                    hires_wait |= hire;
                    at += 1;
                }
                Failure::Passing | Failure::Refused if outgoing.descriptor.is_some() => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    outgoing.descriptor = None;
                    outgoing.failing = None;
                    match outgoing.event {
                        Event::Hired { slot, pid } => {
                            sent.refused.push((slot, pid));
                            outgoing.event = Event::NotHired { errno };
                        }
                        Event::Lane { ticket, .. } => {
                            outgoing.event = Event::Lane { ticket, errno };
                        }
                        _ => {}
                    }
                }
                // Not even a few bytes. The host asks whether we are there, and ends us if it hears nothing.
                Failure::Passing | Failure::Refused => {
                    self.again_at = Some(now + AGAIN);
                    hires_wait |= hire;
                    at += 1;
                }
            }
        }
        if self.waits_for_room {
            epoll.remove(room);
            self.waits_for_room = false;
        }
        sent
    }
}
