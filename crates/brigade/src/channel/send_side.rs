//! A process's sending side of a channel: putting frames, and waiting for room.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::error::NotAccepted;
use super::fault::SendFault;
use super::room::RoomRegistration;
use super::senders::{self, ChannelId};
use super::{Offered, Patience, Transport};
use crate::sync::liveness::LivenessTable;
use crate::sync::raw_lock::Acquired;
use crate::sys::error;
use crate::sys::per_process::OwnCell;
use crate::sys::spin;
use crate::task::waiters::FutureWaiters;
use crate::transport::header::{self, ChannelHeader, Waited};
use crate::transport::{
    ChannelContext, FrameHeader, FrameSink, Link, NotPut, OutgoingFrame, attachment,
};

/// How long a sender that does not wait may wait for the lock: as long as another sender needs for
/// its message, or for being dead.
const LOCK_LIMIT: Duration = Duration::from_millis(50);

/// As [`LOCK_LIMIT`], for a future, which holds up all that its executor's thread runs, and tries
/// again.
const POLL_LOCK_LIMIT: Duration = Duration::from_millis(1);

/// How often a sender asks the kernel whether the receiver is still there, though nothing has told
/// it that it is not.
const ASK_EVERY: u64 = 64;

/// A process's sending side of a channel.
#[derive(Debug)]
pub(super) struct SendSide {
    over: Transport,
    shared: ChannelHeader,
    link: Link,
    sink: Box<dyn FrameSink>,
    /// The receiver's count, as last seen.
    seen: AtomicU64,
    liveness: Option<&'static LivenessTable>,
    /// How many processes had died when it was last made sure that the receiver had not.
    deaths: AtomicU32,
    fault: SendFault,
    channel: Option<ChannelId>,
    /// For futures that wait for room.
    room: OwnCell<RoomRegistration>,
}

/// What goes with the bytes of a message that is not sent yet.
#[derive(Debug)]
pub(super) struct Unsent {
    descriptors: Vec<OwnedFd>,
    /// The bytes are in the first of the descriptors.
    large: bool,
}

impl Unsent {
    #[inline]
    pub(super) fn new(descriptors: Vec<OwnedFd>) -> Unsent {
        Unsent {
            descriptors,
            large: false,
        }
    }
}

impl Drop for SendSide {
    fn drop(&mut self) {
        if let Some(channel) = self.channel {
            senders::unregister(channel);
        }
    }
}

impl SendSide {
    pub(super) fn new(
        over: Transport,
        shared: ChannelHeader,
        link: Link,
        sink: Box<dyn FrameSink>,
    ) -> SendSide {
        // Made before the first message, so that a death of the receiver is noticed from the start.
        // Without one, the kernel is asked now and then.
        let liveness = LivenessTable::get().ok();
        SendSide {
            over,
            shared,
            link,
            sink,
            seen: AtomicU64::new(0),
            deaths: AtomicU32::new(liveness.map_or(0, |r| r.deaths().wrapping_sub(1))),
            liveness,
            fault: SendFault::new(),
            channel: None,
            room: OwnCell::new(),
        }
    }

    pub(super) fn registered(mut self, channel: ChannelId) -> SendSide {
        self.channel = Some(channel);
        self
    }

    pub(super) fn over(&self) -> Transport {
        self.over
    }

    pub(super) fn shared(&self) -> &ChannelHeader {
        &self.shared
    }

    pub(super) fn link(&self) -> &OwnedFd {
        &self.link
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.sink.descriptor()
    }

    /// How many messages may be on their way.
    pub(super) fn capacity(&self) -> u64 {
        self.shared.capacity()
    }

    /// How many are.
    pub(super) fn in_flight(&self) -> u64 {
        self.shared.in_flight()
    }

    /// Why messages came back.
    pub(super) fn fault(&self) -> &SendFault {
        &self.fault
    }

    /// Whether the receiver is gone, as far as that can be known without asking the kernel each
    /// time.
    #[inline(always)]
    pub(super) fn is_gone(&self) -> bool {
        if self.shared.is_closed() {
            return true;
        }
        let deaths = self.liveness.map_or(0, LivenessTable::deaths);
        if deaths != self.deaths.load(Ordering::Relaxed) {
            if header::is_hung_up(&self.link) {
                return true;
            }
            self.deaths.store(deaths, Ordering::Relaxed);
        }
        false
    }

    /// Sends a message that was encoded.
    pub(super) fn send_frame(
        &self,
        bytes: &[u8],
        unsent: &mut Unsent,
        patience: Patience,
    ) -> Result<(), NotAccepted> {
        let mut is_last_look = false;
        loop {
            let lock_until = match patience {
                Patience::None => Some(Instant::now() + LOCK_LIMIT),
                Patience::Until(deadline) => deadline,
            };
            let Some((full, header)) = self.try_frame(bytes, unsent, lock_until)? else {
                return Ok(());
            };
            let Patience::Until(deadline) = patience else {
                return Err(NotAccepted::Full);
            };
            if is_last_look {
                return Err(NotAccepted::Full);
            }
            self.wait(&full, header, deadline)?;
            // A peer can see to it that there is always something to look at.
            is_last_look = deadline.is_some_and(|at| at <= Instant::now());
        }
    }

    /// As [`send_frame`](Self::send_frame), for a future, which comes again with the same bytes.
    pub(super) fn offer(&self, bytes: &[u8], unsent: &mut Unsent) -> Result<Offered, NotAccepted> {
        let lock_until = Some(Instant::now() + POLL_LOCK_LIMIT);
        match self.try_frame(bytes, unsent, lock_until) {
            Ok(None) => Ok(Offered::Sent),
            Ok(Some(_)) => Ok(Offered::Full),
            Err(NotAccepted::Full) => Ok(Offered::Contended),
            Err(why) => Err(why),
        }
    }

    /// The futures that wait for room.
    ///
    /// # Errors
    /// No memory or no thread to be had for it.
    pub(super) fn room_waiters(&self) -> io::Result<&FutureWaiters> {
        self.room().map(RoomRegistration::waiters)
    }

    /// A future has entered itself with them. It has to try again afterwards.
    pub(super) fn announce_wait(&self) {
        // It is there, for they are.
        if let Ok(room) = self.room() {
            room.announce_wait(&self.shared);
        }
    }

    fn room(&self) -> io::Result<&RoomRegistration> {
        self.room
            .get_or_try_init(|| RoomRegistration::new(&self.shared))
    }

    /// Whether the receiver is gone, as the kernel has it.
    pub(super) fn is_hung_up(&self) -> bool {
        header::is_hung_up(&self.link)
    }

    /// Whether fewer messages than the capacity are on their way.
    pub(super) fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Tries once. What is full; `None`: it was sent. If another sender does not let go of the lock
    /// until then, [`NotAccepted::Full`].
    #[inline(always)]
    fn try_frame(
        &self,
        bytes: &[u8],
        unsent: &mut Unsent,
        lock_until: Option<Instant>,
    ) -> Result<Option<(NotPut, FrameHeader)>, NotAccepted> {
        if self.is_gone() {
            return Err(NotAccepted::Gone);
        }
        // Asked each time: what the mechanism takes may become less while we wait.
        let has_descriptors = !unsent.descriptors.is_empty();
        if !unsent.large && bytes.len() > self.sink.inline_max(has_descriptors) {
            let file = attachment::file_of(&[bytes]).map_err(|e| {
                NotAccepted::Failed(format!(
                    "found no memory for its {} bytes: {e}",
                    bytes.len()
                ))
            })?;
            unsent.descriptors.insert(0, file);
            unsent.large = true;
        }
        let len = (bytes.len() as u64).to_ne_bytes();
        let body = if unsent.large { &len } else { bytes };
        let header = FrameHeader {
            number: 0,
            len: body.len() as u32,
            descriptors: unsent.descriptors.len() as u16,
            large: unsent.large,
        };
        let frame = OutgoingFrame {
            header,
            body,
            descriptors: &unsent.descriptors,
        };
        let full = self.try_put(frame, lock_until)?;
        Ok(full.map(|full| (full, header)))
    }

    /// Puts the frame; or says what is full.
    #[inline(always)]
    fn try_put(
        &self,
        mut frame: OutgoingFrame<'_>,
        lock_until: Option<Instant>,
    ) -> Result<Option<NotPut>, NotAccepted> {
        let Some(acquired) = self.shared.lock().acquire(lock_until) else {
            return Err(NotAccepted::Full);
        };
        let locked = SendLock(&self.shared);
        if acquired == Acquired::OwnerDied {
            self.sink.recover(&self.shared);
        }
        let Some(number) = self.shared.next_number(&self.seen) else {
            self.unlock(locked);
            return Ok(Some(NotPut::Full));
        };
        // A receiver that was to be sent on and was not is no death, and closes nothing: the kernel
        // is asked now and then.
        if number % ASK_EVERY == ASK_EVERY - 1 && header::is_hung_up(&self.link) {
            return Err(NotAccepted::Gone);
        }
        frame.header.number = number;
        let channel = ChannelContext {
            shared: &self.shared,
            link: &self.link,
        };
        let put = self.sink.put(channel, frame);
        match put {
            Ok(()) => {
                self.shared.count_sent(number);
                self.unlock(locked);
                Ok(None)
            }
            Err(NotPut::Gone) => Err(NotAccepted::Gone),
            Err(NotPut::Failed(e)) => {
                let e = error::needed("send a message", e);
                Err(NotAccepted::Failed(format!("could not be sent: {e}")))
            }
            Err(full) => {
                self.unlock(locked);
                Ok(Some(full))
            }
        }
    }

    /// Lets go of the lock, and wakes the receiver of what was put: also where there was no room,
    /// for senders that died before they had woken it may have used that up.
    #[inline(always)]
    fn unlock(&self, locked: SendLock<'_>) {
        drop(locked);
        self.sink.after_unlock(&self.shared);
    }

    /// Waits, outside the lock, until it may be worth trying again.
    fn wait(
        &self,
        full: &NotPut,
        header: FrameHeader,
        deadline: Option<Instant>,
    ) -> Result<(), NotAccepted> {
        let kernel = match full {
            NotPut::Blocked => self.sink.descriptor().or(Some(self.link.as_fd())),
            NotPut::LinkBlocked => Some(self.link.as_fd()),
            _ => None,
        };
        let waited = match kernel {
            Some(full) => header::wait_for_kernel(full, &self.link, deadline),
            None => {
                let busy = matches!(full, NotPut::Busy);
                let has_room = || {
                    !busy
                        && self.shared.in_flight() < self.shared.capacity()
                        && self.sink.may_fit(&self.shared, header)
                };
                // For more than one message's room, if it comes soon: else the two would go on in
                // step, each waiting for the other's line of memory.
                let enough = self.shared.capacity() - self.shared.capacity() / 4;
                let has_much_room = || self.shared.in_flight() <= enough && has_room();
                if self.shared.receiver_runs_elsewhere()
                    && spin::until(|| has_much_room() || self.shared.is_closed())
                {
                    return Ok(());
                }
                Ok(self.shared.wait_for_room(&self.link, deadline, has_room))
            }
        };
        match waited {
            Ok(Waited::Look) => Ok(()),
            Ok(Waited::TimedOut) => Err(NotAccepted::Full),
            Ok(Waited::Gone) => Err(NotAccepted::Gone),
            Err(e) => {
                let e = error::needed("wait for room", e);
                Err(NotAccepted::Failed(format!(
                    "could not wait for room in the channel: {e}"
                )))
            }
        }
    }
}

/// The senders' lock, to be let go of also in a panic.
struct SendLock<'g>(&'g ChannelHeader);

impl Drop for SendLock<'_> {
    fn drop(&mut self) {
        self.0.lock().release();
    }
}
