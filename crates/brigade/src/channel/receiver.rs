//! The receiving end.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags};

use super::future::Registration;
use super::{Recv, RecvError, RecvTimeoutError, Transport, TryRecvError};
use crate::Message;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::{fds, spin};
use crate::task::codec;
use crate::transport::gate::{self, Gate, Waited};
use crate::transport::{Inlet, Link, NotGot, parcel};

/// Receives the messages of a channel. There is one for each channel; it can be sent on.
///
/// Several threads may share it, and each message goes to one of them.
pub struct Receiver<T> {
    side: ReceiveSide,
    messages: PhantomData<fn() -> T>,
}

/// A process's receiving side of a channel.
#[derive(Debug)]
pub(super) struct ReceiveSide {
    over: Transport,
    gate: Gate,
    link: Link,
    /// The mechanism's own descriptor, if it is another than the link.
    mechanism: Option<Arc<OwnedFd>>,
    state: Mutex<State>,
    /// It was sent on, or may have been: then it is not the end of the channel when this is dropped.
    left: AtomicBool,
    registration: OnceLock<Registration>,
    /// Readable while something was left by one who received, for others who wait outside the lock, with `Select` or in async code: the mechanism may have
    /// told of it only once. Made when the first of them waits.
    left_over: OnceLock<OwnedFd>,
}

#[derive(Debug)]
struct State {
    inlet: Box<dyn Inlet>,
    body: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// Why nothing more can be received, if it is not that the senders are gone.
    fault: Option<String>,
}

/// What is kept for the next message.
const BODY_KEPT: usize = 2 << 20;

/// How long to wait.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

impl Drop for ReceiveSide {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Acquire) {
            self.gate.close();
        }
    }
}

impl ReceiveSide {
    pub(super) fn new(
        over: Transport,
        gate: Gate,
        link: Link,
        mechanism: Option<Arc<OwnedFd>>,
        inlet: Box<dyn Inlet>,
        fault: Option<String>,
    ) -> ReceiveSide {
        ReceiveSide {
            over,
            gate,
            link,
            mechanism,
            state: Mutex::new(State {
                inlet,
                body: Vec::new(),
                descriptors: Vec::new(),
                fault,
            }),
            left: AtomicBool::new(false),
            registration: OnceLock::new(),
            left_over: OnceLock::new(),
        }
    }

    pub(super) fn over(&self) -> Transport {
        self.over
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn link(&self) -> &OwnedFd {
        &self.link
    }

    pub(super) fn mechanism(&self) -> Option<&OwnedFd> {
        self.mechanism.as_deref()
    }

    /// The descriptor that is readable when there may be something to get.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.mechanism().unwrap_or(&self.link).as_fd()
    }

    /// What to poll for: the hanging up of the link, and something to get.
    fn interests(&self) -> [PollFd<'_>; 2] {
        [
            PollFd::new(&self.link, PollFlags::empty()),
            PollFd::from_borrowed_fd(self.readable(), PollFlags::IN),
        ]
    }

    /// What to poll for outside the lock.
    pub(super) fn interests_outside(&self) -> io::Result<[PollFd<'_>; 3]> {
        let [link, readable] = self.interests();
        let left_over = PollFd::new(self.left_over()?, PollFlags::IN);
        Ok([link, readable, left_over])
    }

    fn left_over(&self) -> io::Result<&OwnedFd> {
        if let Some(left_over) = self.left_over.get() {
            return Ok(left_over);
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let new = rustix::event::eventfd(0, flags)?;
        Ok(self.left_over.get_or_init(|| new))
    }

    /// After something was received: tells who waits outside that there is more.
    fn tell_of_more(&self, inlet: &dyn Inlet) {
        if let Some(left_over) = self.left_over.get()
            && (inlet.is_holding(&self.gate) || inlet.peek(&self.gate) == Some(true))
        {
            let _ = rustix::io::write(left_over, &1_u64.to_ne_bytes());
        }
    }

    /// Its place with the reactor, for whoever awaits.
    pub(super) fn registration(&self) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        let new = Registration::new([
            self.readable(),
            self.link.as_fd(),
            self.left_over()?.as_fd(),
        ])?;
        Ok(self.registration.get_or_init(|| new))
    }

    /// Lends what has to be sent along. `None`: a thread waits.
    pub(super) fn leaving<R>(&self, send: impl FnOnce(&dyn Inlet, Option<&str>) -> R) -> Option<R> {
        let state = self.try_lock()?;
        self.left.store(true, Ordering::Release);
        Some(send(&*state.inlet, state.fault.as_deref()))
    }

    /// Nothing in the state is ever half-changed when a panic passes through: a message's own decoding comes last.
    fn lock(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, State>> {
        let Some(at) = deadline else {
            return Some(self.state.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let left = at.saturating_duration_since(Instant::now());
        usable(self.state.lock_timeout(left))
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        usable(self.state.try_lock())
    }

    fn is_hung_up(&self) -> bool {
        gate::is_hung_up(&self.link)
    }

    fn receive<T: Message>(&self, patience: Patience) -> Result<T, TryRecvError> {
        let (state, deadline) = match patience {
            Patience::None => (self.try_lock(), None),
            Patience::Until(deadline) => (self.lock(deadline), deadline),
        };
        // Somebody else waits with this receiver, so there is nothing.
        let mut state = state.ok_or(TryRecvError::Empty)?;
        let waits = matches!(patience, Patience::Until(_));
        let (mut hung_up, mut is_last_look) = (false, false);
        loop {
            match state.get(&self.gate, &self.link, waits && deadline.is_none()) {
                Ok(()) => {
                    self.tell_of_more(&*state.inlet);
                    return state.decode();
                }
                Err(TryRecvError::Disconnected) => return Err(TryRecvError::Disconnected),
                // What the senders sent before they were gone, we would have got now.
                Err(TryRecvError::Empty) if hung_up => return Err(TryRecvError::Disconnected),
                Err(TryRecvError::Empty) if is_last_look => return Err(TryRecvError::Empty),
                Err(TryRecvError::Empty) => {}
            }
            let waited = if waits {
                self.wait(&mut *state.inlet, deadline)
            } else if self.is_hung_up() {
                Ok(Waited::Gone)
            } else {
                Ok(Waited::TimedOut)
            };
            match waited {
                // A peer can see to it that there is always something to look at.
                Ok(Waited::Look) => is_last_look = deadline.is_some_and(|at| at <= Instant::now()),
                Ok(Waited::Gone) => hung_up = true,
                Ok(Waited::TimedOut) => return Err(TryRecvError::Empty),
                Err(e) => {
                    state.fault = Some(format!("waiting for a message: {e}"));
                    return Err(TryRecvError::Disconnected);
                }
            }
        }
    }

    fn wait(&self, inlet: &mut dyn Inlet, deadline: Option<Instant>) -> io::Result<Waited> {
        self.gate.note_receiver();
        if inlet.peek(&self.gate).is_some()
            && self.gate.sender_runs_elsewhere()
            && spin::until(|| inlet.peek(&self.gate) == Some(true))
        {
            return Ok(Waited::Look);
        }
        if !inlet.announce_sleep(&self.gate) {
            return Ok(Waited::Look);
        }
        let mut interests = self.interests();
        if !fds::poll_until(&mut interests, deadline)? {
            return Ok(Waited::TimedOut);
        }
        Ok(match interests[0].revents().is_empty() {
            true => Waited::Look,
            false => Waited::Gone,
        })
    }

    /// Whether it is worth trying to receive: there may be a message, or the disconnect.
    pub(super) fn is_ready(&self) -> bool {
        let Some(state) = self.try_lock() else {
            return false;
        };
        if state.fault.is_some() || state.inlet.is_holding(&self.gate) {
            return true;
        }
        match state.inlet.peek(&self.gate) {
            Some(true) => true,
            Some(false) => self.is_hung_up(),
            None => fds::poll_until(&mut self.interests(), Some(Instant::now())).unwrap_or(true),
        }
    }

    /// Announces that somebody is about to wait for the [interests](Self::interests_outside). `false`: look again first.
    pub(super) fn announce_sleep(&self) -> bool {
        if let Some(left_over) = self.left_over.get() {
            let _ = rustix::io::read(left_over, &mut [0; 8][..]);
        }
        let Some(mut state) = self.try_lock() else {
            // Who has it receives, and tells of more.
            return true;
        };
        let may_sleep = state.inlet.announce_sleep(&self.gate);
        // Another may have counted on what was just taken away.
        self.tell_of_more(&*state.inlet);
        may_sleep && !state.inlet.is_holding(&self.gate)
    }
}

fn usable<'g>(locked: TryLockResult<MutexGuard<'g, State>>) -> Option<MutexGuard<'g, State>> {
    match locked {
        Ok(state) => Some(state),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl State {
    /// The next message, if there is one, in `body` and `descriptors`. Counted as received.
    fn get(&mut self, gate: &Gate, link: &Link, may_wait: bool) -> Result<(), TryRecvError> {
        if self.fault.is_some() {
            return Err(TryRecvError::Disconnected);
        }
        let got = self
            .inlet
            .get(gate, link, &mut self.body, &mut self.descriptors, may_wait);
        match got {
            Ok(header) => {
                gate.count_received(header.number);
                if header.large {
                    self.open_large()?;
                }
                Ok(())
            }
            Err(NotGot::Empty) => Err(TryRecvError::Empty),
            Err(NotGot::Gone) => Err(TryRecvError::Disconnected),
            Err(NotGot::Corrupt(why)) => {
                self.fault = Some(why);
                Err(TryRecvError::Disconnected)
            }
        }
    }

    /// The message is in its first descriptor.
    fn open_large(&mut self) -> Result<(), TryRecvError> {
        let len = <[u8; 8]>::try_from(self.body.as_slice()).map_or(u64::MAX, u64::from_ne_bytes);
        // A sender's frame has one, or else it is a nudge, which is no message and does not come as far as this unless somebody made it up.
        if self.descriptors.is_empty() {
            self.fault = Some("what came is no message".to_owned());
            return Err(TryRecvError::Disconnected);
        }
        let file = self.descriptors.remove(0);
        match parcel::open(file, len) {
            Ok(bytes) => {
                self.body = bytes;
                Ok(())
            }
            Err(e) => {
                self.fault = Some(format!("a message of {len} bytes did not arrive: {e}"));
                Err(TryRecvError::Disconnected)
            }
        }
    }

    fn decode<T: Message>(&mut self) -> Result<T, TryRecvError> {
        let descriptors = std::mem::take(&mut self.descriptors);
        let decoded = codec::decode_frame(&mut self.body, descriptors);
        if self.body.capacity() > BODY_KEPT {
            self.body = Vec::new();
        }
        decoded.map_err(|why| {
            self.fault = Some(format!("a message {why}"));
            TryRecvError::Disconnected
        })
    }
}

impl<T> Receiver<T> {
    pub(super) fn new(side: ReceiveSide) -> Receiver<T> {
        Receiver {
            side,
            messages: PhantomData,
        }
    }

    pub(super) fn side(&self) -> &ReceiveSide {
        &self.side
    }

    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        self.side.over
    }

    /// How many messages may be on their way.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.side.gate.capacity()).unwrap_or(usize::MAX)
    }

    /// How many messages are on their way now: sent, and not received.
    pub fn len(&self) -> usize {
        usize::try_from(self.side.gate.on_their_way()).unwrap_or(usize::MAX)
    }

    /// Whether everything that was sent has been received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why nothing more can be received though senders may be there: what was sent could not be decoded, its descriptors could not be had, or a sender wrote what is no message.
    /// `None`: the channel is in order.
    pub fn fault(&self) -> Option<String> {
        self.side.try_lock()?.fault.clone()
    }
}

impl<T: Message> Receiver<T> {
    /// Receives the next message; waits for it.
    ///
    /// # Errors
    /// Everything that was sent has been received, and all senders are gone; or what came cannot be made out (see [`fault`](Self::fault)).
    pub fn recv(&self) -> Result<T, RecvError> {
        self.side
            .receive(Patience::Until(None))
            .map_err(|_| RecvError)
    }

    /// Receives the next message, if it is here.
    ///
    /// # Errors
    /// There is none; or as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.side.receive(Patience::None)
    }

    /// Receives the next message; waits for it no longer than `timeout`.
    ///
    /// # Errors
    /// None came in time; or as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        self.side
            .receive(Patience::Until(deadline))
            .map_err(|e| match e {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
    }

    /// Awaits the next message, in any executor.
    ///
    /// # Examples
    /// ```
    /// # fn block_on<F: Future>(f: F) -> F::Output {
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark {
    /// #         fn wake(self: std::sync::Arc<Self>) { self.0.unpark() }
    /// #     }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     let (mut f, mut context) = (std::pin::pin!(f), std::task::Context::from_waker(&waker));
    /// #     loop {
    /// #         if let std::task::Poll::Ready(r) = f.as_mut().poll(&mut context) { return r }
    /// #         std::thread::park();
    /// #     }
    /// # }
    /// let (sender, receiver) = brigade::channel::pipe(4)?;
    /// let sending = brigade::thread::spawn(|to: brigade::channel::Sender<u8>| to.send(7).is_ok(), sender)?;
    /// block_on(async {
    ///     assert_eq!(receiver.recv_async().await, Ok(7));
    ///     assert_eq!(sending.await.ok(), Some(true));
    ///     assert!(receiver.recv_async().await.is_err(), "its end is gone");
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_async(&self) -> Recv<'_, T> {
        Recv::new(self)
    }

    /// Each message, until all senders are gone. Waits for each.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Each message that is here. Does not wait.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

// A panic in the middle of sending or receiving leaves no message half-done: the lock is let go of, and what was not put was not sent.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("transport", &self.transport())
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'r, T> {
    receiver: &'r Receiver<T>,
}

impl<T: Message> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'r, T> {
    receiver: &'r Receiver<T>,
}

impl<T: Message> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Each message of a receiver that is used up, until all senders are gone. Waits for each.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T: Message> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T: Message> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'r, T: Message> IntoIterator for &'r Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'r, T>;

    fn into_iter(self) -> Iter<'r, T> {
        self.iter()
    }
}
