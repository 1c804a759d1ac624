//! The sending end.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ends::{self, ChannelId};
use super::receive_side::usable;
use super::{SendError, SendTimeoutError, Transport, TrySendError};
use crate::Message;
use crate::sync::raw_lock::Acquired;
use crate::sync::roster::Roster;
use crate::sys::error;
use crate::sys::spin;
use crate::task::codec;
use crate::transport::header::{self, ChannelHeader, Waited};
use crate::transport::{FrameHeader, FrameSink, Link, NotPut, attachment};

/// How long a sender that does not wait may wait for the lock: as long as another sender needs for
/// its message, or for being dead.
const LOCK_LIMIT: Duration = Duration::from_millis(50);

/// How often a sender asks the kernel whether the receiver is still there, though nothing has told
/// it that it is not.
const ASK_EVERY: u64 = 64;

/// Sends messages into a channel. Clone it for each thread or task that sends.
///
/// All clones in a process, and all that were sent to it, share one set of descriptors.
pub struct Sender<T> {
    side: Arc<SendSide>,
    messages: PhantomData<fn(T)>,
}

/// A process's sending side of a channel.
#[derive(Debug)]
pub(super) struct SendSide {
    over: Transport,
    shared: ChannelHeader,
    link: Link,
    sink: Box<dyn FrameSink>,
    /// The receiver's count, as last seen.
    seen: AtomicU64,
    roster: Option<&'static Roster>,
    /// How many processes had died when it was last made sure that the receiver had not.
    deaths: AtomicU32,
    fault: Mutex<Option<String>>,
    channel: Option<ChannelId>,
    /// No other side that this process ever has is given the same.
    number: u64,
}

impl Drop for SendSide {
    fn drop(&mut self) {
        if let Some(channel) = self.channel {
            ends::unregister(channel);
        }
    }
}

/// Why a message stays with its sender.
enum NotAccepted {
    Full,
    Gone,
    /// Not because the receiver is gone.
    Failed(String),
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

thread_local! {
    /// Where messages are encoded.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Why the last message of this thread that came back came back, and to which side: another
    /// thread that sends with the same one must not take the reason's place.
    static FAULT: Cell<Option<(u64, Option<String>)>> = const { Cell::new(None) };
}

/// Why this thread's last message that came back came back. `Some(None)`: the receiver is gone.
/// `None`: none has come back.
pub(super) fn last_fault() -> Option<Option<String>> {
    let kept = FAULT.try_with(|kept| {
        let own = kept.take();
        kept.set(own.clone());
        own
    });
    kept.ok().flatten().map(|(_, why)| why)
}

/// What a thread keeps of it between messages.
const SCRATCH_KEPT: usize = 2 << 20;

impl SendSide {
    pub(super) fn new(
        over: Transport,
        shared: ChannelHeader,
        link: Link,
        sink: Box<dyn FrameSink>,
    ) -> SendSide {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Made before the first message, so that a death of the receiver is noticed from the start.
        // Without one, the kernel is asked now and then.
        let roster = Roster::get().ok();
        SendSide {
            over,
            shared,
            link,
            sink,
            seen: AtomicU64::new(0),
            deaths: AtomicU32::new(roster.map_or(0, |r| r.deaths().wrapping_sub(1))),
            roster,
            fault: Mutex::new(None),
            channel: None,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
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

    /// Remembers why it was, or that it was for no other reason.
    fn set_fault(&self, why: Option<String>) {
        let _ = FAULT.try_with(|own| own.set(Some((self.number, why.clone()))));
        // Not waited for: another thread that has it puts its own reason there, and in a fork it
        // may be a thread that is not there.
        if let Some(mut any) = usable(self.fault.try_lock()) {
            *any = why;
        }
    }

    /// Of this thread's last message that was refused, if that was this channel's; or else of any
    /// thread's.
    fn fault(&self) -> Option<String> {
        let own = FAULT.try_with(|kept| {
            let own = kept.take();
            kept.set(own.clone());
            own
        });
        match own {
            Ok(Some((number, why))) if number == self.number => why,
            _ => usable(self.fault.try_lock())?.clone(),
        }
    }

    /// Whether the receiver is gone, as far as that can be known without asking the kernel each
    /// time.
    fn is_gone(&self) -> bool {
        if self.shared.is_closed() {
            return true;
        }
        let deaths = self.roster.map_or(0, Roster::deaths);
        if deaths != self.deaths.load(Ordering::Relaxed) {
            if header::is_hung_up(&self.link) {
                return true;
            }
            self.deaths.store(deaths, Ordering::Relaxed);
        }
        false
    }

    fn send<T: Message>(&self, message: &T, patience: Patience) -> Result<(), NotAccepted> {
        // In a destructor of the thread's own it may be gone already.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let sent = match codec::encode_frame(message, &mut scratch) {
            Ok((bytes, descriptors)) => self.send_frame(bytes, descriptors, patience),
            Err(why) => Err(NotAccepted::Failed(why)),
        };
        if scratch.capacity() <= SCRATCH_KEPT {
            // The same: then it is dropped.
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        match sent {
            Err(NotAccepted::Failed(why)) => {
                let (what, over) = (std::any::type_name::<T>(), self.over);
                self.set_fault(Some(format!(
                    "a message of type {what}, to be sent over a channel ({over}), {why}"
                )));
                Err(NotAccepted::Gone)
            }
            Err(NotAccepted::Gone) => {
                self.set_fault(None);
                Err(NotAccepted::Gone)
            }
            sent => sent,
        }
    }

    fn send_frame(
        &self,
        bytes: &[u8],
        mut descriptors: Vec<OwnedFd>,
        patience: Patience,
    ) -> Result<(), NotAccepted> {
        let len = (bytes.len() as u64).to_ne_bytes();
        let (mut body, mut large) = (bytes, false);
        let mut is_last_look = false;
        loop {
            if self.is_gone() {
                return Err(NotAccepted::Gone);
            }
            // Asked each time: what the mechanism takes may become less while we wait.
            let has_descriptors = !descriptors.is_empty();
            if !large && body.len() > self.sink.inline_max(has_descriptors) {
                let file = attachment::seal(bytes).map_err(|e| {
                    NotAccepted::Failed(format!(
                        "found no memory for its {} bytes: {e}",
                        bytes.len()
                    ))
                })?;
                descriptors.insert(0, file);
                (body, large) = (&len, true);
            }
            let header = FrameHeader {
                number: 0,
                len: body.len() as u32,
                descriptors: descriptors.len() as u16,
                large,
            };
            let full = match self.try_put(header, body, &descriptors, patience)? {
                None => return Ok(()),
                Some(full) => full,
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

    /// Puts the frame; or says what is full.
    fn try_put(
        &self,
        mut header: FrameHeader,
        body: &[u8],
        descriptors: &[OwnedFd],
        patience: Patience,
    ) -> Result<Option<NotPut>, NotAccepted> {
        let locked = match patience {
            Patience::None => self
                .shared
                .lock()
                .acquire(Some(Instant::now() + LOCK_LIMIT)),
            Patience::Until(deadline) => self.shared.lock().acquire(deadline),
        };
        let Some(acquired) = locked else {
            return Err(NotAccepted::Full);
        };
        let _locked = Locked(&self.shared);
        if acquired == Acquired::OwnerDied {
            self.sink.recover(&self.shared);
        }
        let Some(number) = self.shared.next_number(&self.seen) else {
            return Ok(Some(NotPut::Full));
        };
        // A receiver that was to be sent on and was not is no death, and closes nothing: the kernel
        // is asked now and then.
        if number % ASK_EVERY == ASK_EVERY - 1 && header::is_hung_up(&self.link) {
            return Err(NotAccepted::Gone);
        }
        header.number = number;
        let put = self
            .sink
            .put(&self.shared, &self.link, header, body, descriptors);
        match put {
            Ok(()) => {
                self.shared.count_sent(number);
                Ok(None)
            }
            Err(NotPut::Gone) => Err(NotAccepted::Gone),
            Err(NotPut::Failed(e)) => {
                let e = error::needed("send a message", e);
                Err(NotAccepted::Failed(format!("could not be sent: {e}")))
            }
            Err(full) => Ok(Some(full)),
        }
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
struct Locked<'g>(&'g ChannelHeader);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.lock().release();
    }
}

impl<T> Sender<T> {
    pub(super) fn new(side: Arc<SendSide>) -> Sender<T> {
        Sender {
            side,
            messages: PhantomData,
        }
    }

    pub(super) fn side(&self) -> &SendSide {
        &self.side
    }

    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        self.side.over
    }

    /// How many messages may be on their way.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.side.shared.capacity()).unwrap_or(usize::MAX)
    }

    /// How many messages are on their way now: sent, and not received.
    pub fn len(&self) -> usize {
        usize::try_from(self.side.shared.in_flight()).unwrap_or(usize::MAX)
    }

    /// Whether everything that was sent has been received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the last message that came back as [`SendError`] or as `Disconnected` came back, if not
    /// because the receiver is gone: it could not be encoded, there was no memory or no descriptor
    /// for it. The channel is as good as before, and the next message may well be sent.
    ///
    /// The last of this thread; if all of this thread's were sent, of any thread that sends into
    /// this channel from this process. `None`: the receiver is gone, or nothing came back.
    pub fn fault(&self) -> Option<String> {
        self.side.fault()
    }
}

impl<T: Message> Sender<T> {
    /// Sends a message; blocks while the channel is full. In async code use
    /// [`try_send`](Self::try_send).
    ///
    /// # Errors
    /// The receiver is gone, or goes while this waits; or the message cannot be carried, which
    /// [`fault`](Self::fault) tells. The message comes back.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.side.send(&message, Patience::Until(None)) {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(message)),
        }
    }

    /// Sends a copy of a message that the caller keeps, to send another one in the same buffer,
    /// say; waits while the channel is full.
    ///
    /// # Errors
    /// As [`send`](Self::send). There is nothing to come back.
    pub fn send_ref(&self, message: &T) -> Result<(), SendError<()>> {
        match self.side.send(message, Patience::Until(None)) {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError(())),
        }
    }

    /// Sends a message, if the channel has room for it now.
    ///
    /// # Errors
    /// It has none; or as [`send`](Self::send). The message comes back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.side.send(&message, Patience::None) {
            Ok(()) => Ok(()),
            Err(NotAccepted::Full) => Err(TrySendError::Full(message)),
            Err(_) => Err(TrySendError::Disconnected(message)),
        }
    }

    /// Sends a message; waits no longer than `timeout` while the channel is full.
    ///
    /// # Errors
    /// It was full all the time; or as [`send`](Self::send). The message comes back.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let deadline = Instant::now().checked_add(timeout);
        match self.side.send(&message, Patience::Until(deadline)) {
            Ok(()) => Ok(()),
            Err(NotAccepted::Full) => Err(SendTimeoutError::Timeout(message)),
            Err(_) => Err(SendTimeoutError::Disconnected(message)),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender::new(Arc::clone(&self.side))
    }
}

// A panic in the middle of sending or receiving leaves no message half-done: the lock is let go of,
// and what was not put was not sent.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("transport", &self.transport())
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
