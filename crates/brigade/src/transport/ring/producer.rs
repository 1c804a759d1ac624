//! The side of a ring that writes.

#[cfg(loom)]
use super::ModelParts;
use super::memory::{RingMemory, RingPlace};
use super::{Full, SKIP, WORD, frame_size};
use crate::sim::shared::{Ordering, fence, futex};
use crate::sys::mapping::Mapping;

/// How far into a ring a producer that has been caught up with goes on before it begins at the
/// start again.
pub(super) const WARM: u64 = if cfg!(loom) { 16 } else { 256 * 1024 };

/// How often it looks whether it has been caught up with: each time that it has come so much
/// further. The consumer's count is on a line that the consumer writes for every frame, so that
/// reading it for every frame would cost both of them more than all the rest.
pub(super) const GRAIN: u64 = if cfg!(loom) { 8 } else { 16 * 1024 };

/// The side that writes.
#[derive(Debug)]
pub(crate) struct Producer<'m> {
    memory: RingMemory<'m>,
    tail: u64,
    /// The consumer's count as it was last seen.
    head: u64,
}

impl<'m> Producer<'m> {
    /// The producer of an empty ring.
    pub(crate) fn new(mapping: &'m Mapping, place: RingPlace) -> Producer<'m> {
        Producer {
            memory: RingMemory::new(mapping, place),
            tail: 0,
            head: 0,
        }
    }

    /// The producer of a ring that others have written to before, and will again: it believes the
    /// count that they have left there. `head` is the consumer's count as it was last seen.
    pub(crate) fn resume(mapping: &'m Mapping, place: RingPlace, head: u64) -> Producer<'m> {
        Producer::over(RingMemory::new(mapping, place), head)
    }

    fn over(memory: RingMemory<'m>, head: u64) -> Producer<'m> {
        let tail = memory.control.tail.0.load(Ordering::Acquire) & !(WORD as u64 - 1);
        Producer { memory, tail, head }
    }

    /// The consumer's count, as it was last seen.
    pub(crate) fn seen(&self) -> u64 {
        self.head
    }

    /// How far into the ring a frame of `len` bytes would reach, from its start; all of it, once it
    /// wraps.
    pub(crate) fn reach(&self, len: usize) -> u64 {
        let capacity = self.memory.capacity();
        ((self.tail & (capacity - 1)) + frame_size(len) as u64).min(capacity)
    }

    /// Goes back to the start of the ring, if the consumer has taken everything, the producer has
    /// come far, and a frame of `len` bytes still fits then.
    pub(crate) fn rewind(&mut self, len: usize) {
        let capacity = self.memory.capacity();
        let rest = capacity - (self.tail & (capacity - 1));
        if capacity - rest >= WARM
            && (self.tail & (GRAIN - 1)) + frame_size(len) as u64 >= GRAIN
            && rest + frame_size(len) as u64 <= capacity
            && self.memory.control.head.0.load(Ordering::Acquire) == self.tail
        {
            self.memory.store(self.tail, u64::from(SKIP) << 32);
            self.head = self.tail;
            self.tail = self.tail.wrapping_add(rest);
        }
    }

    /// Writes a frame; the consumer sees it after [`publish`](Self::publish).
    #[inline(always)]
    pub(crate) fn push(&mut self, tag: u32, bytes: &[u8]) -> Result<(), Full> {
        self.push_parts(tag, &[], bytes)
    }

    /// As [`push`](Self::push), of two parts, of which the first is words.
    #[inline(always)]
    pub(crate) fn push_parts(&mut self, tag: u32, head: &[u64], bytes: &[u8]) -> Result<(), Full> {
        debug_assert!(tag != SKIP);
        let len = u32::try_from(size_of_val(head) + bytes.len()).map_err(|_| Full)?;
        let size = frame_size(len as usize) as u64;
        if self.room() < size {
            self.head = self.memory.control.head.0.load(Ordering::Acquire);
            if self.room() < size {
                return Err(Full);
            }
        }
        self.memory
            .store(self.tail, u64::from(len) | u64::from(tag) << 32);
        let mut at = self.tail.wrapping_add(WORD as u64);
        for word in head {
            self.memory.store(at, *word);
            at = at.wrapping_add(WORD as u64);
        }
        self.memory.write(at, bytes);
        self.tail = self.tail.wrapping_add(size);
        self.memory.fetch_to_write(self.tail, size);
        Ok(())
    }

    /// Bytes that there is room for, where `bytes` are wanted.
    pub(crate) fn room_for(&mut self, bytes: usize) -> usize {
        if self.room() < bytes as u64 {
            self.head = self.memory.control.head.0.load(Ordering::Acquire);
        }
        self.room() as usize
    }

    /// Writes whole frames, as [`append_frame`] makes them, for which there is room.
    pub(crate) fn push_frames(&mut self, frames: &[u8]) -> Result<(), Full> {
        debug_assert!(frames.len() % WORD == 0);
        if self.room_for(frames.len()) < frames.len() {
            return Err(Full);
        }
        self.memory.write(self.tail, frames);
        self.tail = self.tail.wrapping_add(frames.len() as u64);
        Ok(())
    }

    /// Where the next frame will begin.
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Takes frames back that the consumer has not come to, and will not come to: the next one is
    /// written where they began. If the consumer says that it has [taken](Self::is_taken) some of
    /// them, there is no room in the ring any more.
    pub(crate) fn take_back(&mut self, to: u64) {
        self.tail = to;
    }

    /// Whether the consumer says that it has taken what begins there, or has taken less than it
    /// must have for what lies there.
    pub(crate) fn is_taken(&self, at: u64) -> bool {
        let head = self.memory.control.head.0.load(Ordering::Acquire);
        at.wrapping_sub(head) > self.memory.capacity()
    }

    /// Whether a frame of `len` bytes fits now.
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        self.head = self.memory.control.head.0.load(Ordering::Acquire);
        self.room() >= frame_size(len) as u64
    }

    fn room(&self) -> u64 {
        let used = self.tail.wrapping_sub(self.head);
        // A head that is ahead of us, or further behind than the ring is long, is a lie: then there
        // is no room, for ever.
        self.memory.capacity().saturating_sub(used)
    }

    /// Shows the consumer what was pushed, and wakes it if it sleeps.
    pub(crate) fn publish(&mut self) {
        self.show();
        fence(Ordering::SeqCst);
        self.call();
    }

    /// Wakes the consumer if it sleeps. Without a push before it, that tells the consumer that one
    /// comes in a moment.
    pub(crate) fn call(&self) {
        let waiter = &self.memory.control.waiter.0;
        if waiter.load(Ordering::Relaxed) != 0 {
            waiter.store(0, Ordering::Relaxed);
            futex::wake_one(waiter);
        }
    }

    /// After [`show`](Self::show), and a full fence: the consumer's announcement that it sleeps, if
    /// there is one. It has to be woken then.
    pub(crate) fn announcement(&self) -> Option<u32> {
        Some(self.memory.control.waiter.0.load(Ordering::Relaxed)).filter(|&a| a != 0)
    }

    /// After it was woken: this announcement is done with. Another, that it has made since, stays.
    pub(crate) fn take_announcement(&self, announcement: u32) {
        let waiter = &self.memory.control.waiter.0;
        let _ = waiter.compare_exchange(announcement, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Shows the consumer what was pushed, and does not wake it.
    pub(crate) fn show(&mut self) {
        self.memory
            .control
            .tail
            .0
            .store(self.tail, Ordering::Release);
    }
}

#[cfg(loom)]
impl ModelParts {
    /// As [`Producer::resume`].
    pub(crate) fn producer(&self, head: u64) -> Producer<'_> {
        Producer::over(self.memory(), head)
    }
}
