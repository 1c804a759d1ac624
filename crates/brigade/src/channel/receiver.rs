//! The receiving end.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::{Recv, RecvError, RecvTimeoutError, Transport, TryRecvError};
use crate::Message;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::{fds, spin};
use crate::task::codec;
use crate::transport::gate::{self, Gate};
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
    state: Mutex<State>,
    /// It was sent on, or may have been: then it is not the end of the channel when this is dropped.
    left: AtomicBool,
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
const BODY_KEPT: usize = 1 << 20;

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
        inlet: Box<dyn Inlet>,
        fault: Option<String>,
    ) -> ReceiveSide {
        ReceiveSide {
            over,
            gate,
            link,
            state: Mutex::new(State {
                inlet,
                body: Vec::new(),
                descriptors: Vec::new(),
                fault,
            }),
            left: AtomicBool::new(false),
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

    /// Lends what has to be sent along. `None`: a thread waits.
    pub(super) fn leaving<R>(&self, send: impl FnOnce(&dyn Inlet, Option<&str>) -> R) -> Option<R> {
        let state = self.try_lock()?;
        self.left.store(true, Ordering::Release);
        Some(send(&*state.inlet, state.fault.as_deref()))
    }

    /// Nothing in the state is ever half-changed when a panic passes through: a message's own decoding comes last.
    fn lock(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, State>> {
        use std::sync::{PoisonError, TryLockError};
        let Some(at) = deadline else {
            return Some(self.state.lock().unwrap_or_else(PoisonError::into_inner));
        };
        match self
            .state
            .lock_timeout(at.saturating_duration_since(Instant::now()))
        {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        use std::sync::TryLockError;
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What to poll for: the mechanism's own descriptor, if it has one, and the link.
    fn interests(&self, inlet: &dyn Inlet) -> ([Option<(OwnedFdRef, PollFlags)>; 2], ()) {
        let _ = inlet;
        ([None, None], ())
    }
}

type OwnedFdRef = i32;

impl State {
    /// The next message, if there is one, in `body` and `descriptors`. Counted as received.
    fn get(&mut self, gate: &Gate, link: &Link, may_wait: bool) -> Result<(), TryRecvError> {
        if self.fault.is_some() {
            return Err(TryRecvError::Disconnected);
        }
        let got = self.inlet.get(
            gate,
            link,
            &mut self.body,
            &mut self.descriptors,
            may_wait,
        );
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
        // There is one: the header said so, and was checked.
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
