//! What the fork server has to tell the host, and the host has not taken yet.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::HOST_FREE;
use crate::sys::epoll::Epoll;
use crate::sys::error::errno_of;
use crate::worker::process::ipc::protocol::{self, ForkServerEvent};

/// When that is tried again which failed, and may not fail then.
const AGAIN: Duration = Duration::from_millis(5);

/// How long it is tried. Longer than descriptors are on their way, but for a host that is stopped,
/// which has no room then.
const TRIED_FOR: Duration = Duration::from_secs(2);

/// Events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<PendingEvent>,
    /// The event loop waits for room in the socket.
    waits_for_room: bool,
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct PendingEvent {
    event: ForkServerEvent,
    descriptor: Option<Arc<OwnedFd>>,
    /// When it failed first.
    failing: Option<Instant>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Sent {
    /// There is a process at the other end.
    pub(super) heard: bool,
    /// Workers that the host could not be given: their slots, and their numbers.
    pub(super) refused: Vec<(u32, u32)>,
}

/// What is made of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureAction {
    /// There is no room in the socket, of which epoll tells.
    NoRoom,
    /// The error may pass: descriptors of this user's that are on their way, memory.
    Passing,
    /// The host is gone.
    HangUp,
    /// The event cannot be sent.
    Refused,
}

fn failure(error: &io::Error) -> FailureAction {
    match error {
        e if e.kind() == io::ErrorKind::WouldBlock => FailureAction::NoRoom,
        e if protocol::is_temporary(e) => FailureAction::Passing,
        e if protocol::is_hang_up(e) => FailureAction::HangUp,
        _ => FailureAction::Refused,
    }
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push(&mut self, event: ForkServerEvent, descriptor: Option<Arc<OwnedFd>>) {
        self.events.push_back(PendingEvent {
            event,
            descriptor,
            failing: None,
        });
    }

    /// When there is something to be tried again, of which no event tells.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Sends what can be sent now. `room`: the same socket, for the event loop to wait for room in
    /// it.
    pub(super) fn send(&mut self, socket: &OwnedFd, room: &OwnedFd, epoll: &Epoll) -> Sent {
        let now = Instant::now();
        let (sent, has_room) = self.send_by(now, |event, descriptors| {
            protocol::send(socket, event, descriptors)
        });
        if has_room && self.waits_for_room {
            epoll.remove(room);
            self.waits_for_room = false;
        } else if !has_room && !self.waits_for_room {
            self.waits_for_room = epoll.add_writable(room, HOST_FREE).is_ok();
            if !self.waits_for_room {
                self.again_at = Some(now + AGAIN);
            }
        }
        sent
    }

    /// Sends what `send` takes. `false`: there is no more room for it.
    ///
    /// One that fails holds up none of another kind. If it goes on failing, an event without the
    /// descriptor says so in its place.
    fn send_by(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&ForkServerEvent, &[BorrowedFd<'_>]) -> io::Result<()>,
    ) -> (Sent, bool) {
        let mut sent = Sent {
            heard: true,
            refused: Vec::new(),
        };
        self.again_at = None;
        let mut at = 0;
        // The host knows from their order which workers they are.
        let mut forks_wait = false;
        while let Some(outgoing) = self.events.get_mut(at) {
            let is_fork = matches!(
                outgoing.event,
                ForkServerEvent::Forked { .. } | ForkServerEvent::NotForked { .. }
            );
            if is_fork && forks_wait {
                at += 1;
                continue;
            }
            let descriptors: Vec<BorrowedFd<'_>> =
                outgoing.descriptor.iter().map(|d| d.as_fd()).collect();
            let Err(error) = send(&outgoing.event, &descriptors) else {
                self.events.remove(at);
                continue;
            };
            match failure(&error) {
                FailureAction::NoRoom => return (sent, false),
                FailureAction::HangUp => {
                    sent.heard = false;
                    return (sent, true);
                }
                FailureAction::Passing
                    if now < *outgoing.failing.get_or_insert(now) + TRIED_FOR =>
                {
                    self.again_at = Some(now + AGAIN);
                    forks_wait |= is_fork;
                    at += 1;
                }
                FailureAction::Passing | FailureAction::Refused
                    if outgoing.descriptor.is_some() =>
                {
                    outgoing.refuse(&error, &mut sent.refused);
                }
                // Not even a few bytes. The host asks whether we are there, and ends us if it hears
                // nothing.
                FailureAction::Passing | FailureAction::Refused => {
                    self.again_at = Some(now + AGAIN);
                    forks_wait |= is_fork;
                    at += 1;
                }
            }
        }
        (sent, true)
    }
}

impl PendingEvent {
    /// The event cannot be sent: from now on it says that.
    fn refuse(&mut self, why: &io::Error, refused: &mut Vec<(u32, u32)>) {
        let errno = errno_of(why).unwrap_or(libc::EIO);
        self.descriptor = None;
        self.failing = None;
        match self.event {
            ForkServerEvent::Forked { slot, pid } => {
                refused.push((slot, pid));
                self.event = ForkServerEvent::NotForked { why: why.into() };
            }
            ForkServerEvent::FdSocket { request_number, .. } => {
                self.event = ForkServerEvent::FdSocket {
                    request_number,
                    errno,
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::remote_error::RemoteError;

    /// Says what was sent, each as one word.
    fn word(event: &ForkServerEvent, descriptors: &[BorrowedFd<'_>]) -> String {
        let with = if descriptors.is_empty() { "" } else { "+" };
        match event {
            ForkServerEvent::Forked { slot, .. } => format!("forked{slot}{with}"),
            ForkServerEvent::NotForked { why } => format!("not{}{with}", why.errno()),
            ForkServerEvent::FdSocket {
                request_number,
                errno,
            } => format!("fd_socket{request_number}:{errno}{with}"),
            ForkServerEvent::Here { number } => format!("here{number}{with}"),
            other => format!("{other:?}"),
        }
    }

    /// Sends from an outbox whose messages with descriptors fail with this error. Returns what was
    /// sent, and what came of it.
    fn send(outbox: &mut Outbox, now: Instant, errno: Option<i32>) -> (String, Sent) {
        let mut words = Vec::new();
        let (sent, _) = outbox.send_by(now, |event, descriptors| {
            if let Some(errno) = errno.filter(|_| !descriptors.is_empty()) {
                return Err(io::Error::from_raw_os_error(errno));
            }
            words.push(word(event, descriptors));
            Ok(())
        });
        (words.join(" "), sent)
    }

    fn outbox() -> Outbox {
        let file = || Some(Arc::new(crate::sys::mapping::memfd("test").expect("memfd")));
        let mut outbox = Outbox::default();
        outbox.push(ForkServerEvent::Forked { slot: 1, pid: 11 }, file());
        let why = RemoteError::from(&io::Error::from_raw_os_error(7));
        outbox.push(ForkServerEvent::NotForked { why }, None);
        outbox.push(
            ForkServerEvent::FdSocket {
                request_number: 2,
                errno: 0,
            },
            file(),
        );
        outbox.push(ForkServerEvent::Here { number: 3 }, None);
        outbox
    }

    #[test]
    fn what_passes_is_tried_again_and_holds_up_nobody_else() {
        for errno in [libc::ETOOMANYREFS, libc::ENOBUFS, libc::ENOMEM] {
            let (mut outbox, now) = (outbox(), Instant::now());
            let (words, sent) = send(&mut outbox, now, Some(errno));
            // A fork server that is asked whether it is there answers; forks keep their order.
            assert_eq!(words, "here3");
            assert!(sent.heard && sent.refused.is_empty() && outbox.again_at().is_some());
            let (words, _) = send(&mut outbox, now + TRIED_FOR / 2, None);
            assert_eq!(words, "forked1+ not7 fd_socket2:0+");
            assert!(outbox.events.is_empty() && outbox.again_at().is_none());
        }
    }

    #[test]
    fn what_does_not_pass_is_refused_and_ends_nobody_elses_work() {
        // At once, and when it was tried for long enough.
        for (errno, tries) in [(libc::EPERM, 1), (libc::ETOOMANYREFS, 2)] {
            let (mut outbox, mut now) = (outbox(), Instant::now());
            let mut words = Vec::new();
            let mut refused = Vec::new();
            for _ in 0..tries {
                let (more, sent) = send(&mut outbox, now, Some(errno));
                words.push(more);
                assert!(sent.heard);
                refused.extend(sent.refused);
                now += TRIED_FOR;
            }
            assert_eq!(
                refused,
                [(1, 11)],
                "it is ended, for nobody has heard of it"
            );
            let words = words.join(" ");
            assert!(words.contains(&format!("not{errno} not7")), "{words}");
            assert!(words.contains(&format!("fd_socket2:{errno}")), "{words}");
            assert!(
                words.contains("here3") && outbox.events.is_empty(),
                "{words}"
            );
        }
    }

    #[test]
    fn nobody_at_the_other_end_is_told() {
        for errno in [libc::EPIPE, libc::ECONNRESET] {
            let (_, sent) = send(&mut outbox(), Instant::now(), Some(errno));
            assert!(!sent.heard);
        }
    }

    #[test]
    fn without_room_everything_waits_in_its_order() {
        let mut outbox = outbox();
        let full = |_: &ForkServerEvent, _: &[BorrowedFd<'_>]| {
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        };
        let (sent, has_room) = outbox.send_by(Instant::now(), full);
        assert!(sent.heard && !has_room && outbox.again_at().is_none());
        let (words, _) = send(&mut outbox, Instant::now(), None);
        assert_eq!(words, "forked1+ not7 fd_socket2:0+ here3");
    }
}
