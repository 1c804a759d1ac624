//! Room for what a mechanism has no room for.
//!
//! A channel's capacity is what its user asked for; a queue of the kernel's holds ten messages, a
//! socket some hundreds. What the capacity allows and the mechanism does not take goes into the
//! ring behind the gate. The receiver takes from both, in the order of the numbers: of the
//! mechanism's next and the ring's next, the lower one; the mechanism's is held back meanwhile.
//!
//! A message that carries descriptors is not spilled: it waits for the mechanism.
//!
//! **Waking.** The receiver waits for the mechanism. So it announces in the ring that it is about
//! to wait, and looks there again; a sender that has spilled, and finds the announcement, puts a
//! frame without a message into the mechanism, a nudge. If there is no room for that, there is
//! something to wake up for.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::gate::{self, Gate};
use super::memory::{RingIn, RingOut, TRIES};
use super::{Header, Held, Inlet, Link, NotGot, NotPut, Outlet, Remainder};
use crate::sys::futex;

/// More nudges than any mechanism holds, one behind the other: somebody sends them as fast as they
/// are taken.
const MOST_NUDGES: u32 = 1 << 17;

/// A mechanism's sending side, and the ring.
#[derive(Debug)]
pub(crate) struct SpillOutlet<O> {
    mechanism: O,
    ring: RingOut,
}

impl<O> SpillOutlet<O> {
    pub(crate) fn new(mechanism: O) -> SpillOutlet<O> {
        SpillOutlet {
            mechanism,
            ring: RingOut::default(),
        }
    }
}

impl<O: Outlet> SpillOutlet<O> {
    /// Whether the receiver has something to wake up for: a nudge, or what leaves no room for one.
    fn nudge(&self, gate: &Gate, link: &Link) -> bool {
        (0..TRIES).any(|tries| {
            if tries > 0 {
                futex::rest(Duration::from_millis(1));
            }
            match self.mechanism.put(gate, link, Header::NUDGE, &[], &[]) {
                Err(NotPut::Busy | NotPut::Failed(_)) => false,
                Ok(())
                | Err(NotPut::Full | NotPut::Blocked | NotPut::LinkBlocked | NotPut::Gone) => true,
            }
        })
    }
}

impl<O: Outlet> Outlet for SpillOutlet<O> {
    fn inline_max(&self, has_descriptors: bool) -> usize {
        self.mechanism.inline_max(has_descriptors)
    }

    fn may_fit(&self, gate: &Gate, header: Header) -> bool {
        self.mechanism.may_fit(gate, header)
            || (header.descriptors == 0 && RingOut::may_fit(gate, header))
    }

    fn put(
        &self,
        gate: &Gate,
        link: &Link,
        header: Header,
        body: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<(), NotPut> {
        match self.mechanism.put(gate, link, header, body, descriptors) {
            Err(full @ (NotPut::Full | NotPut::Blocked | NotPut::LinkBlocked))
                if descriptors.is_empty() =>
            {
                let spilled =
                    self.ring
                        .put(gate, header, body, || Ok(()), || self.nudge(gate, link));
                match spilled {
                    // Then it is the mechanism that is waited for: where the kernel says when that
                    // has room, the counts do not.
                    Err(NotPut::Full) => Err(full),
                    spilled => spilled,
                }
            }
            put => put,
        }
    }

    fn recovered(&self, gate: &Gate) {
        self.mechanism.recovered(gate);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.mechanism.descriptor()
    }
}

/// A mechanism's receiving side, and the ring.
#[derive(Debug)]
pub(crate) struct SpillInlet<I> {
    mechanism: I,
    ring: RingIn,
    /// The number that is due, if none was given out twice.
    next: u64,
    held: Option<Held>,
}

impl<I: Inlet> SpillInlet<I> {
    pub(crate) fn new(gate: &Gate, mechanism: I, held: Option<Held>) -> SpillInlet<I> {
        SpillInlet {
            mechanism,
            ring: RingIn::resume(gate),
            next: gate.received(),
            held,
        }
    }

    /// Whether the ring's next frame comes before the one with this number.
    fn ring_comes_before(&mut self, gate: &Gate, number: u64) -> Result<bool, NotGot> {
        let first = self.ring.next_number(gate)?;
        Ok(first.is_some_and(|first| gate::is_after(number, first)))
    }

    fn take_from_ring(&mut self, gate: &Gate, body: &mut Vec<u8>) -> Result<Header, NotGot> {
        match self.ring.get(gate, body)? {
            // None that was sent: what has descriptors is not spilled.
            header if header.descriptors > 0 => Err(NotGot::NoFrame(
                "a frame in the shared memory is not a message".to_owned(),
            )),
            header => Ok(header),
        }
    }

    fn next_frame(
        &mut self,
        gate: &Gate,
        link: &Link,
        body: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        may_wait: bool,
    ) -> Result<Header, NotGot> {
        descriptors.clear();
        if let Some(held) = self.held.take() {
            if self.ring_comes_before(gate, held.header.number)? {
                self.held = Some(held);
                return self.take_from_ring(gate, body);
            }
            *body = held.body;
            *descriptors = held.descriptors;
            return Ok(held.header);
        }
        let (mut again, mut nudges) = (false, 0);
        loop {
            // Each time: a nudge that was got has used the announcement up.
            let may_wait = may_wait && !again && self.ring.prepare_to_wait(gate);
            match self.mechanism.get(gate, link, body, descriptors, may_wait) {
                Ok(header) if header == Header::NUDGE => {
                    nudges += 1;
                    if nudges > MOST_NUDGES {
                        return Err(NotGot::Later);
                    }
                }
                Ok(header) if self.ring_comes_before(gate, header.number)? => {
                    self.held = Some(Held {
                        header,
                        body: std::mem::take(body),
                        descriptors: std::mem::take(descriptors),
                    });
                    return self.take_from_ring(gate, body);
                }
                Err(end @ (NotGot::Empty | NotGot::Gone)) => {
                    let Some(number) = self.ring.next_number(gate)? else {
                        return Err(end);
                    };
                    // What comes before it may have come into the mechanism after we looked there:
                    // then it is there now.
                    if again || !gate::is_after(number, self.next) {
                        return self.take_from_ring(gate, body);
                    }
                    again = true;
                }
                got => return got,
            }
        }
    }
}

impl<I: Inlet> Inlet for SpillInlet<I> {
    fn get(
        &mut self,
        gate: &Gate,
        link: &Link,
        body: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        may_wait: bool,
    ) -> Result<Header, NotGot> {
        let header = self.next_frame(gate, link, body, descriptors, may_wait)?;
        let next = header.number.wrapping_add(1);
        if gate::is_after(next, self.next) {
            self.next = next;
        }
        Ok(header)
    }

    fn prepare_to_wait(&mut self, gate: &Gate) -> bool {
        self.mechanism.prepare_to_wait(gate) && self.ring.prepare_to_wait(gate)
    }

    fn is_holding(&self, gate: &Gate) -> bool {
        self.held.is_some() || self.mechanism.is_holding(gate) || self.ring.is_ready(gate)
    }

    fn remainder(&self) -> Remainder<'_> {
        Remainder {
            held: self.held.as_ref(),
            ..self.mechanism.remainder()
        }
    }
}
