//! Room for what a mechanism has no room for.
//!
//! A channel's capacity is what its user asked for; a queue of the kernel's holds ten messages, a
//! socket some hundreds. What the capacity allows and the mechanism does not take goes into the
//! ring behind the header. The receiver takes from both, in the order of the numbers: of the
//! mechanism's next and the ring's next, the lower one; the mechanism's is held back meanwhile.
//!
//! A message that carries descriptors does not go there: it waits for the mechanism.
//!
//! **Waking.** The receiver waits for the mechanism. So it announces in the ring that it is about
//! to wait, and looks there again; a sender that has used the ring, and finds the announcement,
//! puts a frame without a message into the mechanism, a *wake frame*. If there is no room for that,
//! there is something to wake up for.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::header::{self, ChannelHeader};
use super::shm::{MAX_WAKE_TRIES, RingReceiver, RingSender};
use super::{
    Buffered, ChannelContext, FrameContent, FrameHeader, FrameSink, FrameSource, HeldFrame, NotGot,
    NotPut, OutgoingFrame,
};
use crate::sim::shared::{Ordering, fence};
use crate::sys::futex;

/// More wake frames than any mechanism holds, one behind the other: a hostile sender sends them as
/// fast as the receiver takes them.
const MAX_WAKE_FRAMES: u32 = 1 << 17;

/// A mechanism's sending side, and the ring.
#[derive(Debug)]
pub(crate) struct OverflowSink<O> {
    mechanism: O,
    ring: RingSender,
}

impl<O> OverflowSink<O> {
    pub(crate) fn new(mechanism: O) -> OverflowSink<O> {
        OverflowSink {
            mechanism,
            ring: RingSender::default(),
        }
    }
}

impl<O: FrameSink> OverflowSink<O> {
    /// Whether the receiver has something to wake up for: a wake frame, or what leaves no room for
    /// one.
    fn send_wake_frame(&self, channel: ChannelContext<'_>) -> bool {
        (0..MAX_WAKE_TRIES).any(|tries| {
            if tries > 0 {
                futex::rest(Duration::from_millis(1));
            }
            match self.mechanism.put(channel, OutgoingFrame::WAKE) {
                Err(NotPut::Busy | NotPut::Failed(_)) => false,
                Ok(())
                | Err(NotPut::Full | NotPut::Blocked | NotPut::LinkBlocked | NotPut::Gone) => true,
            }
        })
    }
}

impl<O: FrameSink> FrameSink for OverflowSink<O> {
    fn inline_max(&self, has_descriptors: bool) -> usize {
        self.mechanism.inline_max(has_descriptors)
    }

    fn may_fit(&self, shared: &ChannelHeader, header: FrameHeader) -> bool {
        self.mechanism.may_fit(shared, header)
            || (header.descriptors == 0 && RingSender::may_fit(shared, header))
    }

    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut> {
        match self.mechanism.put(channel, frame) {
            Err(full @ (NotPut::Full | NotPut::Blocked | NotPut::LinkBlocked))
                if frame.descriptors.is_empty() =>
            {
                let (shared, header) = (channel.shared, frame.header);
                match self.ring.put(shared, header, frame.body, || Ok(())) {
                    Ok(()) => {
                        // With the lock: the wake frame goes through the mechanism.
                        fence(Ordering::SeqCst);
                        RingSender::wake_after_fence(shared, || self.send_wake_frame(channel));
                        Ok(())
                    }
                    // Then it is the mechanism that is waited for: where the kernel says when that
                    // has room, the counts do not.
                    Err(NotPut::Full) => Err(full),
                    put => put,
                }
            }
            put => put,
        }
    }

    fn recover(&self, shared: &ChannelHeader) {
        self.mechanism.recover(shared);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.mechanism.descriptor()
    }
}

/// A mechanism's receiving side, and the ring.
#[derive(Debug)]
pub(crate) struct OverflowSource<I> {
    mechanism: I,
    ring: RingReceiver,
    /// The number that is due, if none was given out twice.
    next: u64,
    held: Option<HeldFrame>,
}

impl<I: FrameSource> OverflowSource<I> {
    pub(crate) fn new(
        shared: &ChannelHeader,
        mechanism: I,
        held: Option<HeldFrame>,
    ) -> OverflowSource<I> {
        OverflowSource {
            mechanism,
            ring: RingReceiver::resume(shared),
            next: shared.received(),
            held,
        }
    }

    /// Whether the ring's next frame comes before the one with this number.
    fn ring_is_next(&mut self, shared: &ChannelHeader, number: u64) -> Result<bool, NotGot> {
        let first = self.ring.next_number(shared)?;
        Ok(first.is_some_and(|first| header::is_after(number, first)))
    }

    fn take_from_ring(
        &mut self,
        shared: &ChannelHeader,
        body: &mut Vec<u8>,
    ) -> Result<FrameHeader, NotGot> {
        match self.ring.get(shared, body)? {
            // None that was sent: what has descriptors does not go there.
            header if header.descriptors > 0 => Err(NotGot::NoFrame(
                "a frame in the shared memory is not a message".to_owned(),
            )),
            header => Ok(header),
        }
    }

    fn next_frame(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let shared = channel.shared;
        content.descriptors.clear();
        if let Some(held) = self.held.take() {
            if self.ring_is_next(shared, held.header.number)? {
                self.held = Some(held);
                return self.take_from_ring(shared, &mut content.body);
            }
            *content = held.content;
            return Ok(held.header);
        }
        let (mut again, mut wake_frames) = (false, 0);
        loop {
            // Each time: a wake frame that was received has used the announcement up.
            let may_wait = may_wait && !again && self.ring.prepare_to_wait(shared);
            match self.mechanism.get(channel, content, may_wait) {
                Ok(header) if header == FrameHeader::WAKE_FRAME => {
                    wake_frames += 1;
                    if wake_frames > MAX_WAKE_FRAMES {
                        return Err(NotGot::Later);
                    }
                }
                Ok(header) if self.ring_is_next(shared, header.number)? => {
                    self.held = Some(HeldFrame {
                        header,
                        content: std::mem::take(content),
                    });
                    return self.take_from_ring(shared, &mut content.body);
                }
                Err(end @ (NotGot::Empty | NotGot::Gone)) => {
                    let Some(number) = self.ring.next_number(shared)? else {
                        return Err(end);
                    };
                    // What comes before it may have come into the mechanism after we looked there:
                    // then it is there now.
                    if again || !header::is_after(number, self.next) {
                        return self.take_from_ring(shared, &mut content.body);
                    }
                    again = true;
                }
                got => return got,
            }
        }
    }
}

impl<I: FrameSource> FrameSource for OverflowSource<I> {
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let header = self.next_frame(channel, content, may_wait)?;
        let next = header.number.wrapping_add(1);
        if header::is_after(next, self.next) {
            self.next = next;
        }
        Ok(header)
    }

    fn prepare_to_wait(&mut self, shared: &ChannelHeader) -> bool {
        self.mechanism.prepare_to_wait(shared) && self.ring.prepare_to_wait(shared)
    }

    fn has_buffered(&self, shared: &ChannelHeader) -> bool {
        self.held.is_some() || self.mechanism.has_buffered(shared) || self.ring.is_ready(shared)
    }

    fn buffered(&self) -> Buffered<'_> {
        Buffered {
            held: self.held.as_ref(),
            ..self.mechanism.buffered()
        }
    }
}
