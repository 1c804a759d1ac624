//! What all channels share: the senders' lock, the count of messages, and who waits for room. One page of shared memory.
//!
//! **Room.** `sent` is written by senders, under the lock; `received` by the receiver. A sender that finds no room sets `waiting`, looks again, and waits on
//! the `room` descriptor (eventfd(2)), which the receiver makes readable when it has received something and finds `waiting` set. Nobody takes the
//! readability away but a sender that has found no room and has set `waiting` again: so a wake-up for one of several is never lost with
//! the one that dies of it.

#![expect(unsafe_code, reason = "memory shared with other processes")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags};

use crate::primitive::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::raw::RawLock;
use crate::sys::fds;
use crate::sys::mapping::{Mapping, sized_memfd};

/// How often a sender notes where it is.
const NOTE_EVERY: u64 = 16;

/// Bytes of a gate, at the start of its memory file.
pub(crate) const LEN: usize = 4096;

/// The shared words. All zero is a new channel.
#[repr(C, align(128))]
#[derive(Debug)]
struct Words {
    senders: Senders,
    receiver: Receiver,
    waiting: Waiting,
}

/// Written by senders, with the lock held.
#[repr(C, align(128))]
#[derive(Debug)]
struct Senders {
    lock: RawLock,
    /// A sender is in the middle of a frame that cannot be put in one step. If it dies there, the channel is broken.
    torn: AtomicU32,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    /// The processor on which something was sent last.
    processor: AtomicU32,
}

/// Written by the receiver.
#[repr(C, align(128))]
#[derive(Debug)]
struct Receiver {
    received: AtomicU64,
    /// Taken out of the mechanism.
    received_bytes: AtomicU64,
    processor: AtomicU32,
}

/// Written by both, seldom.
#[repr(C, align(128))]
#[derive(Debug)]
struct Waiting {
    /// The receiver was dropped: a hint that comes sooner than the link's.
    closed: AtomicU32,
    for_room: AtomicU32,
}

/// One process's view of a channel's shared page, with its two descriptors: the memory file and `room`.
#[derive(Debug)]
pub(crate) struct Gate {
    mapping: Mapping,
    file: OwnedFd,
    room: OwnedFd,
    capacity: u64,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Look,
    TimedOut,
    Gone,
}

impl Gate {
    /// A new one, at the start of a memory file of `len` bytes.
    pub(crate) fn new(capacity: usize, len: usize) -> io::Result<Gate> {
        let file = sized_memfd("brigade-channel", len)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LEN as u64)?;
        let room = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Gate::open(file, room, capacity as u64, len)
    }

    /// One that came from another process, which may be hostile: the file must be as long as ours would be, and stay so.
    pub(crate) fn open(
        file: OwnedFd,
        room: OwnedFd,
        capacity: u64,
        len: usize,
    ) -> io::Result<Gate> {
        use rustix::fs::SealFlags;
        let sealed = rustix::fs::fcntl_get_seals(&file)
            .is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW));
        if !sealed || rustix::fs::fstat(&file)?.st_size.cast_unsigned() != len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no channel's memory",
            ));
        }
        Ok(Gate {
            mapping: Mapping::writable(&file, len)?,
            file,
            room,
            capacity,
        })
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is at least a page (both constructors), and page-aligned; atomics of any value are valid.
        unsafe { self.mapping.at().cast().as_ref() }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(crate) fn room(&self) -> &OwnedFd {
        &self.room
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The senders' lock.
    pub(crate) fn lock(&self) -> &RawLock {
        &self.words().senders.lock
    }

    /// Messages sent and not yet received. What a peer has scribbled over is no more than full or empty.
    pub(crate) fn on_their_way(&self) -> u64 {
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

    /// With the lock: the number of the next message, if the receiver's count as last seen in `seen`, or else as it is now, leaves room for it.
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

    /// The receiver: message `number` was received. Wakes senders that wait for room.
    pub(crate) fn count_received(&self, number: u64) {
        self.words()
            .receiver
            .received
            .store(number.wrapping_add(1), Ordering::Release);
        self.made_room();
    }

    /// Bytes in the mechanism, where that is counted.
    pub(crate) fn bytes_inside(&self) -> u64 {
        let sent = self.words().senders.sent_bytes.load(Ordering::Relaxed);
        let received = self.words().receiver.received_bytes.load(Ordering::Acquire);
        match sent.wrapping_sub(received) {
            // What a recount has missed.
            negative if negative > u64::MAX / 2 => 0,
            inside => inside,
        }
    }

    /// With the lock: so many bytes are in the mechanism, whatever was counted.
    pub(crate) fn recount_bytes(&self, inside: u64) {
        let received = self.words().receiver.received_bytes.load(Ordering::Acquire);
        self.words()
            .senders
            .sent_bytes
            .store(received.wrapping_add(inside), Ordering::Relaxed);
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
        self.made_room();
    }

    fn made_room(&self) {
        let waiting = &self.words().waiting.for_room;
        fence(Ordering::SeqCst);
        if waiting.load(Ordering::Relaxed) != 0 && waiting.swap(0, Ordering::AcqRel) != 0 {
            self.call_for_room();
        }
    }

    fn call_for_room(&self) {
        // It fails when the count would overflow: then it is readable.
        let _ = rustix::io::write(&self.room, &1_u64.to_ne_bytes());
    }

    /// A sender, outside the lock: waits until there may be room, as `has_room` says.
    pub(crate) fn wait_for_room(
        &self,
        link: &OwnedFd,
        full: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
        has_room: impl Fn() -> bool,
    ) -> io::Result<Waited> {
        self.words().waiting.for_room.store(1, Ordering::Relaxed);
        let _ = rustix::io::read(&self.room, &mut [0; 8][..]);
        fence(Ordering::SeqCst);
        // Where the kernel says that it is full, the kernel says when it is not.
        if full.is_none() && has_room() {
            self.call_for_room();
            return Ok(Waited::Look);
        }
        let mut wait = vec![
            PollFd::new(&self.room, PollFlags::IN),
            PollFd::new(link, PollFlags::empty()),
        ];
        if let Some(full) = &full {
            wait.push(PollFd::new(full, PollFlags::OUT));
        }
        if !fds::poll_until(&mut wait, deadline)? {
            return Ok(Waited::TimedOut);
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        Ok(if wait[1].revents().intersects(gone) {
            Waited::Gone
        } else {
            Waited::Look
        })
    }

    /// The receiver is dropped: those who wait for room wait in vain.
    pub(crate) fn close(&self) {
        self.words().waiting.closed.store(1, Ordering::Release);
        self.call_for_room();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.words().waiting.closed.load(Ordering::Acquire) != 0
    }

    /// With the lock: a frame is being put in several steps, or no longer.
    pub(crate) fn set_torn(&self, torn: bool) {
        self.words()
            .senders
            .torn
            .store(u32::from(torn), Ordering::Release);
    }

    /// Whether a frame was begun and not finished. To be asked by who took the lock over from the dead, and by a receiver that finds part of one.
    pub(crate) fn is_torn(&self) -> bool {
        self.words().senders.torn.load(Ordering::Acquire) != 0
    }

    /// A sender: it is on this processor. Asked for now and then: it seldom changes.
    pub(crate) fn note_sender(&self, number: u64) {
        if number.is_multiple_of(NOTE_EVERY) {
            note_processor(&self.words().senders.processor);
        }
    }

    /// The receiver: it is on this processor.
    pub(crate) fn note_receiver(&self) {
        note_processor(&self.words().receiver.processor);
    }

    /// Whether looking for a sender's message can pay: on the sender's own processor it cannot.
    pub(crate) fn sender_runs_elsewhere(&self) -> bool {
        self.words().senders.processor.load(Ordering::Relaxed) != this_processor()
    }

    /// Whether looking for room can pay.
    pub(crate) fn receiver_runs_elsewhere(&self) -> bool {
        self.words().receiver.processor.load(Ordering::Relaxed) != this_processor()
    }
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

/// Whether everyone at the other end of a link is gone.
pub(crate) fn is_hung_up(link: impl AsFd) -> bool {
    let mut wait = [PollFd::new(&link, PollFlags::empty())];
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    fds::poll_until(&mut wait, Some(Instant::now())).is_err() || wait[0].revents().intersects(gone)
}
