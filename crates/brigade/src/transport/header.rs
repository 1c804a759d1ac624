//! What all channels share: the senders' lock, the count of messages, and which senders wait for
//! room. One page of shared memory.
//!
//! **Room.** `sent` is written by senders, under the lock; `received` by the receiver. A sender
//! that finds no room reads the word `room`, sets `waiting`, looks again, and sleeps while `room`
//! is what it was. The receiver, when it has received something and finds `waiting` set, takes it
//! away, changes `room` and wakes all that sleep; it does so when it has let go of its own lock. They sleep until the next death of a process, too
//! ([`DeathWatch`]): the receiver may have been the one. A receiver that is lost in another way
//! (inside a message that is never received) wakes no sender, so the link is looked at now and
//! then.

#![expect(unsafe_code, reason = "memory shared with other processes")]

mod room_view;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::DeathWatch;
use crate::sync::raw_lock::RawLock;
use crate::sys::fds;
use crate::sys::mapping::{self, Mapping, reserve, sized_memfd};
use crate::sys::wakeup;

pub(crate) use room_view::RoomView;

/// Bytes of a header, at the start of its memory file.
pub(crate) const LEN: usize = 4096;

/// One message in this many is the occasion to say where one runs.
const NOTED: u64 = 16;

/// The shared words. All zero is a new channel.
#[repr(C, align(128))]
#[derive(Debug)]
struct SharedWords {
    senders: Senders,
    receiver: ReceiverWords,
    waiting: CapacityWait,
}

/// Written by senders, with the lock held.
#[repr(C, align(128))]
#[derive(Debug)]
struct Senders {
    lock: RawLock,
    /// A sender puts a frame that the mechanism may take in part. A sender that finds it set with
    /// the lock held knows that the last holder died there.
    putting: AtomicU32,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
}

/// Written by the receiver.
#[repr(C, align(128))]
#[derive(Debug)]
struct ReceiverWords {
    received: AtomicU64,
    /// Taken out of the mechanism.
    received_bytes: AtomicU64,
    processor: AtomicU32,
}

/// Written by both, seldom. Whether a sender waits for room, and the word by which it is woken.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct CapacityWait {
    /// The receiver was dropped: a hint that comes sooner than the link's.
    closed: AtomicU32,
    /// A sender waits, or did.
    for_room: AtomicU32,
    /// Changes when there may be room.
    room: AtomicU32,
    /// The processor on which something was sent last. Here, for a receiver that finds nothing asks
    /// for it, and must not take the line with the lock away.
    sender: AtomicU32,
    /// The mechanism is torn: it ends in part of a frame. See [`ChannelHeader::tear`].
    torn: AtomicU32,
    /// Of that frame.
    torn_number: AtomicU64,
}

impl CapacityWait {
    /// A sender has found no room. It has to look again, and then it may [`sleep`](Self::sleep).
    pub(crate) fn announce(&self) -> AnnouncedWait {
        let room = self.room.load(Ordering::Acquire);
        let death_watch = DeathWatch::begin();
        self.for_room.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        AnnouncedWait { room, death_watch }
    }

    /// Sleeps until there may be room, or a process has died, since it was announced.
    pub(crate) fn sleep(&self, announced: &AnnouncedWait, until: Option<Instant>) -> Wake {
        announced
            .death_watch
            .sleep(&self.room, announced.room, until)
    }

    /// The receiver has made room, and wakes the senders that wait for it.
    pub(crate) fn made_room(&self) {
        fence(Ordering::SeqCst);
        self.wake_senders();
    }

    /// As [`made_room`](Self::made_room), where a full fence lies between that and this.
    #[inline(always)]
    fn wake_senders(&self) {
        if self.for_room.load(Ordering::Relaxed) != 0
            && self.for_room.swap(0, Ordering::AcqRel) != 0
        {
            self.call();
        }
    }

    fn call(&self) {
        self.room.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.room);
    }
}

/// A sender's announcement that it waits for room.
#[derive(Debug)]
pub(crate) struct AnnouncedWait {
    room: u32,
    death_watch: DeathWatch,
}

/// One process's view of a channel's shared page, and what lies behind it.
#[derive(Debug)]
pub(crate) struct ChannelHeader {
    mapping: Mapping,
    file: OwnedFd,
    capacity: u64,
}

/// How long a sender sleeps before it asks the kernel whether the receiver is still there.
const SLICE: Duration = Duration::from_millis(100);

/// Whether a count is further than another, though they wrap.
pub(crate) fn is_after(count: u64, than: u64) -> bool {
    (1..u64::MAX / 2).contains(&count.wrapping_sub(than))
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Look,
    TimedOut,
    Gone,
}

impl ChannelHeader {
    /// A new one, at the start of a memory file of `len` bytes. Its size is sealed; its content is
    /// not, nor can later mappings be kept from writing: every process that an end is sent to
    /// writes here.
    pub(crate) fn new(capacity: usize, len: usize) -> io::Result<ChannelHeader> {
        let file = sized_memfd("brigade-channel", len)?;
        reserve(&file, 0..LEN as u64)?;
        ChannelHeader::open(file, capacity as u64, len)
    }

    /// One that came from another process, which may be hostile: the file must be as long as ours
    /// would be, and stay so.
    pub(crate) fn open(file: OwnedFd, capacity: u64, len: usize) -> io::Result<ChannelHeader> {
        use rustix::fs::SealFlags;
        let sealed = mapping::seals(&file)
            .is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW));
        if !sealed || mapping::file_size(&file)? != len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this memory file is not a channel's",
            ));
        }
        Ok(ChannelHeader {
            mapping: Mapping::writable(&file, len)?,
            file,
            capacity,
        })
    }

    fn words(&self) -> &SharedWords {
        // Both constructors map a page or more.
        words_in(&self.mapping)
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The senders' lock.
    pub(crate) fn lock(&self) -> &RawLock {
        &self.words().senders.lock
    }

    /// Messages sent and not yet received. What a peer has scribbled over is no more than full or
    /// empty.
    pub(crate) fn in_flight(&self) -> u64 {
        let sent = self.words().senders.sent.load(Ordering::Relaxed);
        let received = self.words().receiver.received.load(Ordering::Acquire);
        // A message may be received before its sender has counted it.
        let difference = sent.wrapping_sub(received);
        if difference > u64::MAX / 2 {
            0
        } else {
            difference
        }
    }

    /// With the lock: the number of the next message, if the receiver's count as last seen in
    /// `seen`, or else as it is now, leaves room for it.
    pub(crate) fn next_number(&self, seen: &std::sync::atomic::AtomicU64) -> Option<u64> {
        let number = self.words().senders.sent.load(Ordering::Relaxed);
        let within = |received: u64| {
            let difference = number.wrapping_sub(received);
            difference < self.capacity || difference > u64::MAX / 2
        };
        if within(seen.load(Ordering::Relaxed)) {
            return Some(number);
        }
        let received = self.words().receiver.received.load(Ordering::Acquire);
        seen.store(received, Ordering::Relaxed);
        within(received).then_some(number)
    }

    /// With the lock: message `number` was sent.
    pub(crate) fn count_sent(&self, number: u64) {
        self.words()
            .senders
            .sent
            .store(number.wrapping_add(1), Ordering::Relaxed);
    }

    /// The receiver: message `number` was received. It lets go of its own lock next, and then calls
    /// [`wake_senders_after_fence`](Self::wake_senders_after_fence).
    pub(crate) fn count_received(&self, number: u64) {
        let received = &self.words().receiver.received;
        let next = number.wrapping_add(1);
        // Never back: a number that was given out twice may come late.
        if is_after(next, received.load(Ordering::Relaxed)) {
            received.store(next, Ordering::Release);
        }
        // One that never has to wait would otherwise never say where it is.
        if number % NOTED == 0 {
            self.note_receiver();
        }
    }

    /// The receiver, after a full fence: wakes senders that wait for the room that it made before
    /// that.
    #[inline(always)]
    pub(crate) fn wake_senders_after_fence(&self) {
        self.words().waiting.wake_senders();
    }

    /// Whether `bytes` bytes more make no more than `most` in the mechanism, by the receiver's
    /// count as last seen in `seen`, or else as it is now. `None`: it has counted more than was
    /// sent.
    pub(crate) fn fits(
        &self,
        seen: &std::sync::atomic::AtomicU64,
        bytes: u64,
        most: u64,
    ) -> Option<bool> {
        let sent = self.words().senders.sent_bytes.load(Ordering::Relaxed);
        let inside = sent.wrapping_sub(seen.load(Ordering::Relaxed));
        if inside.saturating_add(bytes) <= most {
            return Some(true);
        }
        let received = self.words().receiver.received_bytes.load(Ordering::Acquire);
        seen.store(received, Ordering::Relaxed);
        let inside = sent.wrapping_sub(received);
        (inside <= u64::MAX / 2).then(|| inside.saturating_add(bytes) <= most)
    }

    /// With the lock: counts the bytes in the mechanism anew, as `inside` says. A receiver that
    /// takes some meanwhile makes it say so again; one that takes some and has not counted them yet
    /// makes the count too low until then, which is noticed, for it is then negative.
    pub(crate) fn recount_bytes(&self, inside: impl Fn() -> io::Result<u64>) -> io::Result<()> {
        let words = self.words();
        // A peer that writes the count all the time does not keep us in here.
        for _ in 0..16 {
            let received = words.receiver.received_bytes.load(Ordering::Acquire);
            let sent = received.wrapping_add(inside()?);
            words.senders.sent_bytes.store(sent, Ordering::Relaxed);
            if words.receiver.received_bytes.load(Ordering::Acquire) == received {
                break;
            }
        }
        Ok(())
    }

    /// With the lock, before they are put.
    pub(crate) fn count_bytes_sent(&self, bytes: usize) {
        let sent = &self.words().senders.sent_bytes;
        let now = sent.load(Ordering::Relaxed).wrapping_add(bytes as u64);
        sent.store(now, Ordering::Relaxed);
    }

    /// The number of the message that the receiver will receive next.
    pub(crate) fn received(&self) -> u64 {
        self.words().receiver.received.load(Ordering::Acquire)
    }

    /// The receiver: took bytes out of the mechanism.
    pub(crate) fn count_bytes_received(&self, bytes: usize) {
        let received = &self.words().receiver.received_bytes;
        let now = received.load(Ordering::Relaxed).wrapping_add(bytes as u64);
        received.store(now, Ordering::Release);
        self.words().waiting.made_room();
    }

    /// A sender, outside the lock: waits until there may be room, as `has_room` says.
    pub(crate) fn wait_for_room(
        &self,
        link: &OwnedFd,
        deadline: Option<Instant>,
        has_room: impl Fn() -> bool,
    ) -> Waited {
        let waiting = &self.words().waiting;
        let announced = waiting.announce();
        if has_room() || self.is_closed() {
            return Waited::Look;
        }
        // After the death watch began: a death that is not noticed here ends the sleep.
        if is_hung_up(link) {
            return Waited::Gone;
        }
        let slice = Instant::now() + SLICE;
        let until = deadline.map_or(slice, |at| at.min(slice));
        match waiting.sleep(&announced, Some(until)) {
            Wake::TimedOut if deadline.is_some_and(|at| at <= Instant::now()) => Waited::TimedOut,
            _ => Waited::Look,
        }
    }

    /// The receiver is dropped: senders that wait for room wait in vain.
    pub(crate) fn close(&self) {
        self.words().waiting.closed.store(1, Ordering::Release);
        self.words().waiting.call();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.words().waiting.closed.load(Ordering::Acquire) != 0
    }

    /// With the lock: a frame that the mechanism may take in part is put now, or no longer.
    pub(crate) fn set_putting(&self, putting: bool) {
        let word = &self.words().senders.putting;
        word.store(u32::from(putting), Ordering::Release);
    }

    /// With the lock: whether the last holder died while it put such a frame.
    pub(crate) fn died_putting(&self) -> bool {
        self.words().senders.putting.load(Ordering::Acquire) != 0
    }

    /// With the lock: the frame that bears the next number is not whole in the mechanism, or may
    /// not be. Nothing more goes there until the receiver has thrown away what is left of it, and
    /// has [mended](Self::mend) the mechanism.
    pub(crate) fn tear(&self) {
        let SharedWords {
            senders, waiting, ..
        } = self.words();
        let number = senders.sent.load(Ordering::Relaxed);
        waiting.torn_number.store(number, Ordering::Relaxed);
        waiting.torn.store(1, Ordering::Release);
        senders.putting.store(0, Ordering::Release);
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.words().waiting.torn.load(Ordering::Acquire) != 0
    }

    /// Whether the frame of this number, which the mechanism seems to have whole, is the torn one,
    /// and what seems to be its end is something else.
    pub(crate) fn is_torn_at(&self, number: u64) -> bool {
        let torn = &self.words().waiting.torn_number;
        self.is_torn() && !is_after(torn.load(Ordering::Relaxed), number)
    }

    /// The receiver, with the senders' lock: there is nothing in the mechanism any more.
    pub(crate) fn mend(&self) {
        let SharedWords {
            senders,
            receiver,
            waiting,
        } = self.words();
        let received = receiver.received_bytes.load(Ordering::Relaxed);
        senders.sent_bytes.store(received, Ordering::Relaxed);
        senders.putting.store(0, Ordering::Relaxed);
        waiting.torn.store(0, Ordering::Release);
        waiting.call();
    }

    /// A sender: it is on this processor. Now and then is enough: processes do not move often.
    pub(crate) fn note_sender(&self, number: u64) {
        if number % NOTED == 0 {
            note_processor(&self.words().waiting.sender);
        }
    }

    /// The receiver: it is on this processor.
    pub(crate) fn note_receiver(&self) {
        note_processor(&self.words().receiver.processor);
    }

    /// Whether looking for a sender's message can pay: on the sender's own processor it cannot.
    pub(crate) fn sender_runs_elsewhere(&self) -> bool {
        self.words().waiting.sender.load(Ordering::Relaxed) != this_processor()
    }

    /// Whether looking for room can pay.
    pub(crate) fn receiver_runs_elsewhere(&self) -> bool {
        self.words().receiver.processor.load(Ordering::Relaxed) != this_processor()
    }
}

/// The words at the start of a mapping of a channel's memory file.
#[inline]
fn words_in(mapping: &Mapping) -> &SharedWords {
    debug_assert!(mapping.len() >= LEN);
    // SAFETY: each caller maps a page or more, and mappings are page-aligned; atomics of any value
    // are valid.
    unsafe { mapping.at().cast().as_ref() }
}

fn this_processor() -> u32 {
    rustix::thread::sched_getcpu() as u32
}

/// Written only when it changes: the line is the other side's to read.
fn note_processor(word: &AtomicU32) {
    let now = this_processor();
    if word.load(Ordering::Relaxed) != now {
        word.store(now, Ordering::Relaxed);
    }
}

/// Whether every process at the other end of a link is gone.
pub(crate) fn is_hung_up(link: impl AsFd) -> bool {
    is_any_hung_up(&mut [PollFd::new(&link, PollFlags::empty())])
}

/// Whether every process at the other end of one of these sockets is gone; or, where that is asked
/// for (`RDHUP`), has shut it down.
pub(crate) fn is_any_hung_up(sockets: &mut [PollFd<'_>]) -> bool {
    match fds::poll_until(sockets, Some(Instant::now())) {
        Ok(_) => sockets
            .iter()
            .any(|socket| socket.revents().intersects(wakeup::ENDS)),
        // No memory, or this process may have no descriptors any more: that says nothing of the
        // peer. What can be read does, if there is nothing else before the end.
        Err(_) => sockets.iter().any(|socket| {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let seen = rustix::net::recv(socket, &mut [0_u8; 1][..], flags);
            matches!(seen, Ok((0, _)) | Err(Errno::CONNRESET))
        }),
    }
}

/// A sender, outside the lock: waits until the kernel has room.
pub(crate) fn wait_for_kernel(
    full: BorrowedFd<'_>,
    link: &OwnedFd,
    deadline: Option<Instant>,
) -> io::Result<Waited> {
    let mut wait = [
        PollFd::from_borrowed_fd(full, PollFlags::OUT),
        PollFd::new(link, PollFlags::empty()),
    ];
    if !fds::poll_until(&mut wait, deadline)? {
        return Ok(Waited::TimedOut);
    }
    Ok(match wait[1].revents().is_empty() {
        true => Waited::Look,
        false => Waited::Gone,
    })
}
