//! In place of `ends`, `send_side`, `receive_side` and `transport::reactor`, where there are no
//! worker processes: whatever transport is asked for, a channel is a queue in the program's memory.
//!
//! Messages are encoded and decoded as they are on Linux, so that what arrives, and what is
//! refused, is the same there and here.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::NotAccepted;
use super::fault::SendFault;
use super::{Offered, Patience, Receiver, Sender, Transport, TryRecvError};
use crate::Message;
use crate::sys::carried::Carried;
use crate::sys::futex;
use crate::task::carry;
use crate::task::codec;
use crate::task::contain::contained;
use crate::task::waiters::FutureWaiters;

pub(super) fn create<T: Message>(
    over: Transport,
    capacity: usize,
) -> io::Result<(Sender<T>, Receiver<T>)> {
    super::check_capacity(capacity)?;
    let queue = Arc::new(Queue {
        over,
        capacity,
        state: Mutex::default(),
        arrived: Condvar::new(),
        room: Condvar::new(),
        room_waiters: FutureWaiters::default(),
    });
    let sender = SendSide {
        queue: Arc::clone(&queue),
        fault: SendFault::new(),
    };
    let receiver = ReceiveSide(Arc::new(ReceivingEnd { queue }));
    Ok((Sender::new(Arc::new(sender)), Receiver::new(receiver)))
}

/// What both sides have.
#[derive(Debug)]
struct Queue {
    over: Transport,
    capacity: usize,
    state: Mutex<State>,
    /// Told of each message, and when the senders are gone.
    arrived: Condvar,
    /// Told of each message that was received, and when the receiver is gone.
    room: Condvar,
    /// Futures that wait for room.
    room_waiters: FutureWaiters,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(Vec<u8>, Vec<Carried>)>,
    senders_are_gone: bool,
    receiver_is_gone: bool,
    /// Threads that wait with the receiver.
    receiving: usize,
    /// Of receivers that await a message, or wait for one of several channels.
    wakers: Vec<Waker>,
}

impl State {
    fn is_ready(&self) -> bool {
        !self.messages.is_empty() || self.senders_are_gone
    }
}

impl Queue {
    /// No code of others runs under this lock: no destructor, no waker.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until told, or until the deadline. `None`: it has passed.
    fn wait<'q>(
        &self,
        of: &Condvar,
        state: MutexGuard<'q, State>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'q, State>, Option<()>) {
        let Some(at) = deadline else {
            let state = of.wait(state).unwrap_or_else(PoisonError::into_inner);
            return (state, Some(()));
        };
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (state, None);
        }
        let waited = of.wait_timeout(state, left);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, Some(()))
    }
}

impl Queue {
    /// The state, if there is room in it; or else the state.
    ///
    /// # Errors
    /// The receiver is gone.
    fn has_room<'q>(
        &self,
        state: MutexGuard<'q, State>,
    ) -> Result<Result<MutexGuard<'q, State>, MutexGuard<'q, State>>, NotAccepted> {
        if state.receiver_is_gone {
            return Err(NotAccepted::Gone);
        }
        Ok(match state.messages.len() < self.capacity {
            true => Ok(state),
            false => Err(state),
        })
    }

    /// Adds a message, for which there is room.
    fn put(&self, mut state: MutexGuard<'_, State>, unsent: &mut Unsent) {
        let bytes = unsent.bytes.take().unwrap_or_default();
        let carried = std::mem::take(&mut unsent.carried);
        state.messages.push_back((bytes, carried));
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.arrived.notify_one();
        wake_all(wakers);
    }
}

/// A message that is not sent yet.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Copied outside the lock.
    bytes: Option<Vec<u8>>,
    carried: Vec<Carried>,
}

impl Unsent {
    pub(super) fn new(carried: Vec<Carried>) -> Unsent {
        Unsent {
            bytes: None,
            carried,
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.bytes.get_or_insert_with(|| bytes.to_vec());
    }
}

/// Wakes the waiters that are not in a receiver's own call.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        // An executor's code: a panic in it is caught, and ignored.
        contained(|| waker.wake());
    }
}

/// The sending side of a channel; all its senders share it.
#[derive(Debug)]
pub(super) struct SendSide {
    queue: Arc<Queue>,
    fault: SendFault,
}

impl Drop for SendSide {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.senders_are_gone = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.queue.arrived.notify_all();
        wake_all(wakers);
    }
}

impl SendSide {
    pub(super) fn over(&self) -> Transport {
        self.queue.over
    }

    /// How many messages may be on their way.
    pub(super) fn capacity(&self) -> u64 {
        self.queue.capacity as u64
    }

    /// How many are.
    pub(super) fn in_flight(&self) -> u64 {
        self.queue.lock().messages.len() as u64
    }

    /// Whether the receiver is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.queue.lock().receiver_is_gone
    }

    /// Why messages came back.
    pub(super) fn fault(&self) -> &SendFault {
        &self.fault
    }

    /// Sends a message that was encoded.
    pub(super) fn send_frame(
        &self,
        bytes: &[u8],
        unsent: &mut Unsent,
        patience: Patience,
    ) -> Result<(), NotAccepted> {
        unsent.copy(bytes);
        let mut state = self.queue.lock();
        let mut is_over = false;
        loop {
            // Unlocked before what is not sent is dropped, which may be the end of another channel.
            match self.queue.has_room(state)? {
                Ok(room) => {
                    self.queue.put(room, unsent);
                    return Ok(());
                }
                Err(full) => state = full,
            }
            let Patience::Until(deadline) = patience else {
                drop(state);
                return Err(NotAccepted::Full);
            };
            if is_over {
                drop(state);
                return Err(NotAccepted::Full);
            }
            let (again, in_time) = self.queue.wait(&self.queue.room, state, deadline);
            (state, is_over) = (again, in_time.is_none());
        }
    }

    /// As [`send_frame`](Self::send_frame), for a future, which comes again with the same bytes.
    pub(super) fn offer(&self, bytes: &[u8], unsent: &mut Unsent) -> Result<Offered, NotAccepted> {
        unsent.copy(bytes);
        Ok(match self.queue.has_room(self.queue.lock())? {
            Ok(room) => {
                self.queue.put(room, unsent);
                Offered::Sent
            }
            Err(_) => Offered::Full,
        })
    }

    /// The futures that wait for room. It is never an error here.
    pub(super) fn room_waiters(&self) -> io::Result<&FutureWaiters> {
        Ok(&self.queue.room_waiters)
    }

    /// A future has entered itself with them. It has to try again afterwards.
    pub(super) fn announce_wait(&self) {
        // The receiver looks for them each time that it makes room.
    }

    /// Whether the receiver is gone.
    pub(super) fn is_hung_up(&self) -> bool {
        self.is_gone()
    }

    /// Whether fewer messages than the capacity are on their way.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.capacity()
    }
}

/// The receiving side of a channel.
#[derive(Debug)]
pub(super) struct ReceiveSide(Arc<ReceivingEnd>);

/// The end that moves with the receiver.
#[derive(Debug)]
struct ReceivingEnd {
    queue: Arc<Queue>,
}

impl Drop for ReceivingEnd {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.receiver_is_gone = true;
        let unwanted = std::mem::take(&mut state.messages);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.queue.room.notify_all();
        self.queue.room_waiters.notify(usize::MAX);
        drop(unwanted);
        contained(|| drop(wakers));
    }
}

/// A message, not decoded.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) content: FrameContent,
}

#[derive(Debug)]
pub(super) struct FrameContent {
    pub(super) body: Vec<u8>,
    pub(super) descriptors: Vec<Carried>,
}

impl Frame {
    /// One to come.
    pub(super) fn new(body: Vec<u8>) -> Frame {
        Frame {
            content: FrameContent {
                body,
                descriptors: Vec::new(),
            },
        }
    }

    /// Decodes the message.
    pub(super) fn decode<T: Message>(&mut self) -> Result<T, String> {
        let FrameContent { body, descriptors } = &mut self.content;
        codec::decode_frame(body, std::mem::take(descriptors))
    }
}

impl ReceiveSide {
    fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(super) fn over(&self) -> Transport {
        self.queue().over
    }

    /// How many messages may be on their way.
    pub(super) fn capacity(&self) -> u64 {
        self.queue().capacity as u64
    }

    /// How many are.
    pub(super) fn in_flight(&self) -> u64 {
        self.queue().lock().messages.len() as u64
    }

    /// Never: the queue lies in this program's own memory, which no other process writes.
    pub(super) fn fault(&self) -> Option<String> {
        None
    }

    /// Receives a message, all but its decoding.
    pub(super) fn receive_frame(
        &self,
        frame: &mut Frame,
        patience: Patience,
    ) -> Result<(), TryRecvError> {
        let queue = self.queue();
        let mut state = queue.lock();
        let mut is_over = false;
        let (body, carried) = loop {
            if let Some(message) = state.messages.pop_front() {
                break message;
            }
            if state.senders_are_gone {
                return Err(TryRecvError::Disconnected);
            }
            let Patience::Until(deadline) = patience else {
                return Err(TryRecvError::Empty);
            };
            if is_over {
                return Err(TryRecvError::Empty);
            }
            state.receiving += 1;
            let (again, in_time) = queue.wait(&queue.arrived, state, deadline);
            (state, is_over) = (again, in_time.is_none());
            state.receiving -= 1;
        };
        drop(state);
        queue.room.notify_one();
        queue.room_waiters.notify(1);
        frame.content = FrameContent {
            body,
            descriptors: carried,
        };
        Ok(())
    }

    /// Whether it is worth trying to receive: there is a message, or the disconnect.
    pub(super) fn is_ready(&self) -> bool {
        self.queue().lock().is_ready()
    }

    /// Has the waker woken when it may be worth trying to receive. `false`: it may be now.
    pub(super) fn wake_when_changed(&self, waker: &Waker) -> io::Result<bool> {
        // Cloned and dropped outside the lock: it is the executor's code.
        let waker = waker.clone();
        let mut state = self.queue().lock();
        if state.is_ready() {
            return Ok(false);
        }
        if !state.wakers.iter().any(|known| known.will_wake(&waker)) {
            state.wakers.push(waker);
        }
        Ok(true)
    }

    /// That one is not to be woken any more.
    fn forget(&self, waker: &Waker) {
        let mut state = self.queue().lock();
        let at = state.wakers.iter().position(|known| known.will_wake(waker));
        let known = at.map(|at| state.wakers.swap_remove(at));
        drop(state);
        drop(known);
    }
}

/// A thread that waits for one of several channels.
struct Sleeper {
    woken: AtomicU32,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.store(1, Ordering::Release);
        futex::wake_all_private(&self.woken);
    }
}

/// Sleeps until it may be worth looking at one of these. `false`: the deadline has passed first.
pub(super) fn sleep_until_any(receivers: &[&ReceiveSide], deadline: Option<Instant>) -> bool {
    let sleeper = Arc::new(Sleeper {
        woken: AtomicU32::new(0),
    });
    let waker = Waker::from(Arc::clone(&sleeper));
    let is_quiet = receivers
        .iter()
        .all(|receiver| matches!(receiver.wake_when_changed(&waker), Ok(true)));
    let mut is_over = false;
    while is_quiet && !is_over && sleeper.woken.load(Ordering::Acquire) == 0 {
        is_over = futex::wait_private(&sleeper.woken, 0, deadline) == futex::Wake::TimedOut;
    }
    for receiver in receivers {
        receiver.forget(&waker);
    }
    !is_over
}

fn did_not_arrive<E: serde::de::Error>() -> E {
    E::custom("an end of a channel did not arrive")
}

impl<T> Serialize for Sender<T> {
    /// # Errors
    /// Any serializer but that of a task's input or result or of a channel's message: an end is
    /// part of the program's memory, which no bytes can carry.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let side: Carried = Arc::clone(self.side()) as Carried;
        carry::attach_with(|| Ok::<_, S::Error>(side))?.serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let side = carry::take::<D::Error>(u32::deserialize(deserializer)?)?;
        let side = side.downcast().map_err(|_| did_not_arrive::<D::Error>())?;
        Ok(Sender::new(side))
    }
}

impl<T> Serialize for Receiver<T> {
    /// # Errors
    /// As for a [`Sender`]; and while another thread waits for a message with it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.side().queue().lock().receiving > 0 {
            return Err(S::Error::custom(
                "a receiver cannot be sent while a thread waits with it",
            ));
        }
        let end: Carried = Arc::clone(&self.side().0) as Carried;
        carry::attach_with(|| Ok::<_, S::Error>(end))?.serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let end = carry::take::<D::Error>(u32::deserialize(deserializer)?)?;
        let end = end.downcast().map_err(|_| did_not_arrive::<D::Error>())?;
        Ok(Receiver::new(ReceiveSide(end)))
    }
}
