//! A channel over a ring in shared memory: no system call while both sides are at work.
//!
//! The ring lies behind the header, in the same memory file. Of its 4 MiB only what was ever needed
//! is taken from the system, and asked for before it is touched (fallocate(2)): so a lack of memory
//! is an error, and not a SIGBUS. A receiver that finds nothing looks for a moment, then announces
//! in the ring that it sleeps, and waits on a socket, together with the link: a sender that finds
//! the announcement sends a wake-up through it ([`wakeup`]). It does so after it has let go of the
//! lock, so that others need not wait for the system call; if it is killed before, the next sender
//! does it, also one that finds no room. If that socket is shut down, which only a
//! hostile sender does while another is there, the receiver would not be woken any more: so it is
//! the end of the channel, for the receiver and for the senders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::attachment;
use super::header::{self, ChannelHeader};
use super::ring::{Consumer, Control, Producer, RingPlace};
use super::stream_backoff::StreamBackoff;
use super::{
    ChannelContext, FrameContent, FrameHeader, FrameSink, FrameSource, NotGot, NotPut,
    OutgoingFrame,
};
use crate::sim::shared::fence_after_rmw;
use crate::sys::futex;
use crate::sys::mapping;
use crate::sys::wakeup::{self, Way};

const RING: usize = 4 << 20;
const PLACE: RingPlace = RingPlace {
    // Behind the header's own words, on the same page.
    control: 1024,
    data: header::LEN,
    capacity: RING,
};
/// Bytes of the memory file, header and ring.
pub(crate) const LEN: usize = header::LEN + RING;
/// What is taken from the system at creation, and each time that more is needed.
const STEP: u64 = 64 * 1024;
/// The longest frame: so that one can be written while another is read.
const INLINE_MAX: usize = RING / 4;
/// How long the receiver of a stream looks away, in pauses: some four microseconds. It is to stay
/// so far behind that the lines of memory which it reads, and those which its processor fetches
/// ahead of them, are not the ones that the sender writes.
const LOOKS_AWAY: u32 = 96;
/// Of a frame: its number.
const HEAD: usize = 8;

const _: () = assert!(PLACE.control + size_of::<Control>() <= header::LEN);

/// How often a wake-up is tried that finds no memory, a millisecond apart.
pub(super) const MAX_WAKE_TRIES: u32 = 10;

/// Takes the first memory for a new ring. What the receiver is woken by, its end and the senders'.
pub(crate) fn pair(shared: &ChannelHeader) -> io::Result<(OwnedFd, OwnedFd)> {
    reserve(shared, 0, STEP)?;
    wakeup::pair()
}

fn reserve(shared: &ChannelHeader, from: u64, to: u64) -> io::Result<()> {
    let from = header::LEN as u64 + from;
    let to = header::LEN as u64 + to;
    mapping::reserve(shared.file(), from..to)
}

/// The writing side of the ring behind a header.
#[derive(Debug, Default)]
pub(crate) struct RingSender {
    /// The receiver's count of bytes, as last seen.
    seen: AtomicU64,
    /// Bytes of ring that this process knows to be there.
    reserved: AtomicU64,
}

impl RingSender {
    fn reserve(&self, shared: &ChannelHeader, upto: u64) -> Result<(), NotPut> {
        let reserved = self.reserved.load(Ordering::Relaxed);
        if upto > reserved {
            let upto = upto.next_multiple_of(STEP).min(RING as u64);
            reserve(shared, reserved, upto).map_err(NotPut::Failed)?;
            self.reserved.store(upto, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn may_fit(shared: &ChannelHeader, header: FrameHeader) -> bool {
        Producer::resume(shared.mapping(), PLACE, 0).has_room(HEAD + header.len as usize)
    }

    /// With the lock: puts a frame, whose descriptors `ahead` sends. The receiver is to be
    /// [woken](Self::wake_after_fence) then.
    pub(crate) fn put(
        &self,
        shared: &ChannelHeader,
        header: FrameHeader,
        body: &[u8],
        ahead: impl FnOnce() -> Result<(), NotPut>,
    ) -> Result<(), NotPut> {
        let seen = self.seen.load(Ordering::Relaxed);
        let mut ring = Producer::resume(shared.mapping(), PLACE, seen);
        ring.rewind(HEAD + body.len());
        self.reserve(shared, ring.reach(HEAD + body.len()))?;
        if header.descriptors > 0 {
            // Before they are sent, for nothing takes them back.
            if !ring.has_room(HEAD + body.len()) {
                return Err(NotPut::Full);
            }
            ahead()?;
        }
        let pushed = ring.push_parts(header.tag(), &[header.number], body);
        self.seen.store(ring.seen(), Ordering::Relaxed);
        pushed.map_err(|_| NotPut::Full)?;
        ring.show();
        Ok(())
    }

    /// After a frame was put, and a full fence: wakes the receiver by `wake`, if it has announced
    /// that it sleeps. Where that says that it has failed, the announcement is left to the next
    /// sender.
    #[inline(always)]
    pub(crate) fn wake_after_fence(shared: &ChannelHeader, wake: impl FnOnce() -> bool) {
        let ring = Producer::resume(shared.mapping(), PLACE, 0);
        if let Some(announcement) = ring.announcement() {
            // In this order: a sender that is killed between the two leaves the announcement for
            // the next one.
            if wake() {
                ring.take_announcement(announcement);
            }
        }
    }
}

/// The reading side of the ring behind a header.
#[derive(Debug)]
pub(crate) struct RingReceiver {
    head: u64,
    /// The senders' count of bytes, as last seen.
    seen: u64,
    /// The last announcement that it sleeps. Each has another number: a sender that is slow to take
    /// one away must not take the next.
    announcement: u32,
}

impl RingReceiver {
    /// Goes on where the receiver before left off.
    pub(crate) fn resume(shared: &ChannelHeader) -> RingReceiver {
        let head = Consumer::resume(shared.mapping(), PLACE).position();
        // Not where the receiver before, perhaps in another process, has counted.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        RingReceiver {
            head,
            seen: head,
            announcement: now.tv_nsec as u32,
        }
    }

    /// The ring's receiving side. Where frames were taken, [`keep`](Self::keep) follows.
    fn consumer<'g>(&self, shared: &'g ChannelHeader) -> Consumer<'g> {
        Consumer::knowing(shared.mapping(), PLACE, self.head, self.seen)
    }

    /// Keeps where that stands, and up to where it has seen frames.
    #[inline(always)]
    fn keep(&mut self, ring: &Consumer<'_>) {
        (self.head, self.seen) = (ring.position(), ring.seen());
    }

    pub(crate) fn is_ready(&self, shared: &ChannelHeader) -> bool {
        self.consumer(shared).is_ready()
    }

    /// The number of the next frame.
    pub(crate) fn next_number(&mut self, shared: &ChannelHeader) -> Result<Option<u64>, NotGot> {
        let mut ring = self.consumer(shared);
        let number = ring.peek_first();
        self.keep(&ring);
        number.map_err(|_| corrupt())
    }

    /// Takes a frame, all but its descriptors.
    #[inline(always)]
    pub(crate) fn get(
        &mut self,
        shared: &ChannelHeader,
        body: &mut Vec<u8>,
    ) -> Result<FrameHeader, NotGot> {
        let mut number = [0];
        let mut ring = self.consumer(shared);
        let popped = ring.pop_parts(&mut number, body);
        self.keep(&ring);
        let Some(tag) = popped.map_err(|_| corrupt())? else {
            return Err(NotGot::Empty);
        };
        FrameHeader::from_parts(number[0], body.len() as u32, tag).ok_or_else(no_frame)
    }

    /// Announces that the receiver is about to sleep. `false`: there is something to get.
    pub(crate) fn prepare_to_wait(&mut self, shared: &ChannelHeader) -> bool {
        self.announcement = self.announcement.wrapping_add(1).max(1);
        self.consumer(shared).announce(self.announcement)
    }
}

#[cold]
fn no_frame() -> NotGot {
    NotGot::NoFrame("a frame in the shared memory is not a message".to_owned())
}

#[cold]
fn corrupt() -> NotGot {
    NotGot::Corrupt("the content of the shared memory is not a message".to_owned())
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct ShmSink {
    /// The senders' end of what wakes the receiver.
    wakeup: OwnedFd,
    /// That was found to be shut down: the receiver is gone, or will not hear of any message.
    is_shut_down: AtomicBool,
    ring: RingSender,
}

impl ShmSink {
    /// # Errors
    /// It is no channel's.
    pub(crate) fn new(wakeup: OwnedFd) -> io::Result<ShmSink> {
        wakeup::check(&wakeup)?;
        Ok(ShmSink {
            wakeup,
            is_shut_down: AtomicBool::new(false),
            ring: RingSender::default(),
        })
    }

    /// Whether the receiver is woken.
    #[cold]
    fn wake(&self) -> bool {
        (0..MAX_WAKE_TRIES).any(|tries| {
            if tries > 0 {
                futex::rest(Duration::from_millis(1));
            }
            match wakeup::wake(&self.wakeup) {
                Ok(Way::Open) => true,
                // It sees that itself.
                Ok(Way::ShutDown) => {
                    self.is_shut_down.store(true, Ordering::Relaxed);
                    true
                }
                // No memory.
                Err(_) => false,
            }
        })
    }
}

impl FrameSink for ShmSink {
    fn inline_max(&self, _has_descriptors: bool) -> usize {
        INLINE_MAX
    }

    fn may_fit(&self, shared: &ChannelHeader, header: FrameHeader) -> bool {
        RingSender::may_fit(shared, header)
    }

    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut> {
        // What was put when that was found was sent as far as this side could know.
        if self.is_shut_down.load(Ordering::Relaxed) {
            return Err(NotPut::Gone);
        }
        channel.shared.note_sender(frame.header.number);
        self.ring.put(channel.shared, frame.header, frame.body, || {
            attachment::send_ahead(channel.link, frame.header, frame.descriptors)
        })
    }

    fn after_unlock(&self, shared: &ChannelHeader) {
        fence_after_rmw();
        RingSender::wake_after_fence(shared, || self.wake());
    }

    fn recover(&self, _shared: &ChannelHeader) {
        // It may have put a frame, and not have woken the receiver.
        self.wake();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wakeup.as_fd())
    }
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct ShmSource {
    /// The receiver's end of what wakes it.
    wakeup: Arc<OwnedFd>,
    ring: RingReceiver,
    pace: StreamBackoff,
}

impl ShmSource {
    /// # Errors
    /// What it is to be woken by is no channel's.
    pub(crate) fn new(shared: &ChannelHeader, wakeup: Arc<OwnedFd>) -> io::Result<ShmSource> {
        wakeup::check(&wakeup)?;
        Ok(ShmSource {
            wakeup,
            ring: RingReceiver::resume(shared),
            pace: StreamBackoff::new(LOOKS_AWAY),
        })
    }
}

impl FrameSource for ShmSource {
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        _may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let header = self.ring.get(channel.shared, &mut content.body)?;
        attachment::take(channel.link, header, &mut content.descriptors)?;
        self.pace.got_one();
        Ok(header)
    }

    fn back_off(&mut self) {
        self.pace.back_off();
    }

    fn prepare_to_wait(&mut self, shared: &ChannelHeader) -> bool {
        // One, which is all there is but where several senders have seen one announcement, one has
        // died, or is hostile: another one costs a look. The thread that waits for it sees its end.
        let _ = wakeup::take(&self.wakeup, 1);
        self.ring.prepare_to_wait(shared)
    }

    fn peek(&self, shared: &ChannelHeader) -> Option<bool> {
        Some(self.ring.is_ready(shared))
    }
}
