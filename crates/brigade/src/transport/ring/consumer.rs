//! The side of a ring that reads.

use std::time::Instant;

#[cfg(loom)]
use super::ModelParts;
#[cfg(all(test, not(loom)))]
use super::memory::Control;
use super::memory::{RingMemory, RingPlace};
use super::{Corrupt, SKIP, WORD, frame_size, frame_tagged};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{Ordering, fence, store_over};
use crate::sys::mapping::Mapping;

/// The next frame of a ring. Its length and tag were read and checked, once: what is taken is what
/// they say, whatever the producer writes there meanwhile.
#[derive(Debug)]
pub(crate) struct NextFrame<'c, 'm> {
    consumer: &'c mut Consumer<'m>,
    len: usize,
    tag: u32,
}

impl NextFrame<'_, '_> {
    pub(crate) fn tag(&self) -> u32 {
        self.tag
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes it, and appends its bytes.
    pub(crate) fn append_to(self, into: &mut Vec<u8>) {
        let at = self.consumer.head.wrapping_add(WORD as u64);
        self.consumer.memory.read(at, self.len, into);
        self.consumer.take(self.len);
    }

    /// Takes it, and drops its bytes.
    pub(crate) fn skip(self) {
        self.consumer.take(self.len);
    }
}

/// Bytes of frames that are taken together, at the most: a part of a processor's nearest cache.
const TOGETHER: u64 = 8 * 1024;

/// Bytes of a frame that is short, with its word: only those are worth being taken together.
const SHORT: u64 = 64;

fn is_short(head: u64, tag: u32) -> bool {
    (head >> 32) as u32 == tag && frame_size(head as u32 as usize) as u64 <= SHORT
}

/// The side that reads.
#[derive(Debug)]
pub(crate) struct Consumer<'m> {
    memory: RingMemory<'m>,
    head: u64,
    /// The producer's count as it was last seen. What was published up to there is taken before it
    /// is read again.
    tail: u64,
}

impl<'m> Consumer<'m> {
    /// The consumer of an empty ring.
    pub(crate) fn new(mapping: &'m Mapping, place: RingPlace) -> Consumer<'m> {
        Consumer::at(mapping, place, 0)
    }

    /// The consumer of a ring of which `head` bytes were taken.
    pub(crate) fn at(mapping: &'m Mapping, place: RingPlace, head: u64) -> Consumer<'m> {
        Consumer::knowing(mapping, place, head, head)
    }

    /// As [`at`](Self::at), where the producer's count was `tail` when it was last
    /// [`seen`](Self::seen).
    pub(crate) fn knowing(
        mapping: &'m Mapping,
        place: RingPlace,
        head: u64,
        tail: u64,
    ) -> Consumer<'m> {
        Consumer {
            memory: RingMemory::new(mapping, place),
            head,
            tail,
        }
    }

    /// The consumer of a ring from which another has taken before: it believes the count that it
    /// has left there.
    pub(crate) fn resume(mapping: &'m Mapping, place: RingPlace) -> Consumer<'m> {
        let mut consumer = Consumer::at(mapping, place, 0);
        consumer.head = consumer.memory.control.head.0.load(Ordering::Acquire) & !(WORD as u64 - 1);
        consumer.tail = consumer.head;
        consumer
    }

    /// How many bytes were taken.
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// The producer's count, as it was last seen.
    pub(crate) fn seen(&self) -> u64 {
        self.tail
    }

    /// The next frame is there: the producer, which is trusted, said so elsewhere.
    pub(crate) fn assume_next_frame(&mut self) {
        self.tail = self.head.wrapping_add(self.memory.capacity());
    }

    /// Whether there is anything to take: a frame, or proof that the producer lies.
    pub(crate) fn is_ready(&self) -> bool {
        self.memory.control.tail.0.load(Ordering::Acquire) != self.head
    }

    /// The first word of the next frame, which stays.
    pub(crate) fn peek_first(&mut self) -> Result<Option<u64>, Corrupt> {
        match self.next_frame()? {
            Some((len, _)) if len < WORD => Err(Corrupt),
            Some(_) => {
                let at = self.head.wrapping_add(WORD as u64);
                Ok(Some(self.memory.load(at)))
            }
            None => Ok(None),
        }
    }

    /// The length and the tag of the next frame, which is all there.
    #[inline(always)]
    fn next_frame(&mut self) -> Result<Option<(usize, u32)>, Corrupt> {
        // Once: a producer that leaves out the rest of the ring for ever does not keep us in here.
        let mut looked = false;
        loop {
            let available = self.tail.wrapping_sub(self.head);
            if available == 0 {
                if looked {
                    return Ok(None);
                }
                looked = true;
                self.tail = self.memory.control.tail.0.load(Ordering::Acquire);
                if self.tail == self.head {
                    return Ok(None);
                }
                continue;
            }
            let capacity = self.memory.capacity();
            if available > capacity || available % WORD as u64 != 0 {
                return Err(Corrupt);
            }
            // Read once: what is checked is what is used.
            let word = self.memory.load(self.head);
            let (len, tag) = (word as u32 as usize, (word >> 32) as u32);
            if tag == SKIP {
                let rest = capacity - (self.head & (capacity - 1));
                if len != 0 || rest > available {
                    return Err(Corrupt);
                }
                self.advance(rest);
                continue;
            }
            if frame_size(len) as u64 > available {
                return Err(Corrupt);
            }
            return Ok(Some((len, tag)));
        }
    }

    /// The next frame, which stays until it is taken.
    pub(crate) fn next(&mut self) -> Result<Option<NextFrame<'_, 'm>>, Corrupt> {
        let next = self.next_frame()?;
        Ok(next.map(|(len, tag)| NextFrame {
            consumer: self,
            len,
            tag,
        }))
    }

    /// Takes the next frame: its bytes replace what is in `into`, its tag is returned.
    #[inline(always)]
    pub(crate) fn pop(&mut self, into: &mut Vec<u8>) -> Result<Option<u32>, Corrupt> {
        self.pop_parts(&mut [], into)
    }

    /// As [`pop`](Self::pop), of a frame that was pushed in two parts.
    #[inline(always)]
    pub(crate) fn pop_parts(
        &mut self,
        first: &mut [u64],
        into: &mut Vec<u8>,
    ) -> Result<Option<u32>, Corrupt> {
        let Some((len, tag)) = self.next_frame()? else {
            return Ok(None);
        };
        let head = size_of_val(first);
        if len < head {
            return Err(Corrupt);
        }
        let mut at = self.head.wrapping_add(WORD as u64);
        for word in first {
            *word = self.memory.load(at);
            at = at.wrapping_add(WORD as u64);
        }
        into.clear();
        self.memory.read(at, len - head, into);
        self.take(len);
        Ok(Some(tag))
    }

    /// Takes the next frames that have this tag, at most `most`, if they are short: appends them
    /// to `into`, whole, for [`frame_at`](super::frame_at). Gives how many they are, and how many
    /// bytes they hold. Any other, and what is wrong, is left to [`next`](Self::next).
    pub(crate) fn take_frames(&mut self, tag: u32, most: u32, into: &mut Vec<u8>) -> (u32, usize) {
        self.tail = self.memory.control.tail.0.load(Ordering::Acquire);
        let available = self.tail.wrapping_sub(self.head);
        if available == 0
            || available > self.memory.capacity()
            || available % WORD as u64 != 0
            || !is_short(self.memory.load(self.head), tag)
        {
            return (0, 0);
        }
        let start = into.len();
        let bytes = available.min(TOGETHER.min(u64::from(most) * SHORT));
        self.memory.read(self.head, bytes as usize, into);
        // Looked at where only this side writes.
        let (mut at, mut count, mut held) = (start, 0, 0);
        while let Some((len, end)) = frame_tagged(into, at, tag).filter(|_| count < most) {
            (at, count, held) = (end, count + 1, held + len);
        }
        into.truncate(at);
        self.advance((at - start) as u64);
        (count, held)
    }

    /// The next frame, of `len` bytes, was read.
    fn take(&mut self, len: usize) {
        let size = frame_size(len) as u64;
        let available = self.tail.wrapping_sub(self.head);
        self.advance(size);
        self.memory.fetch_to_read(self.head, size, available);
    }

    fn advance(&mut self, bytes: u64) {
        self.head = self.head.wrapping_add(bytes);
        self.memory
            .control
            .head
            .0
            .store(self.head, Ordering::Release);
    }

    /// A hostile consumer: says that it has taken `bytes` bytes more than were published.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn pretend_to_have_taken(&self, bytes: u64) {
        let Control { tail, head, .. } = self.memory.control;
        let all = tail.0.load(Ordering::Acquire);
        head.0.store(all.wrapping_add(bytes), Ordering::Release);
    }

    /// Announces that this side is about to sleep. `false`: there is something to take, do not.
    pub(crate) fn prepare_to_wait(&self) -> bool {
        self.announce(1)
    }

    /// As [`prepare_to_wait`](Self::prepare_to_wait), by a number that is not 0.
    pub(crate) fn announce(&self, announcement: u32) -> bool {
        let waiter = &self.memory.control.waiter.0;
        store_over(waiter, announcement, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_ready() {
            store_over(waiter, 0, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// After [`prepare_to_wait`](Self::prepare_to_wait): sleeps until it is woken, or another word
    /// is no longer as expected.
    pub(crate) fn sleep_or(
        &self,
        other: (&std::sync::atomic::AtomicU32, u32),
        deadline: Option<Instant>,
    ) -> Wake {
        futex::wait_either((&self.memory.control.waiter.0, 1), other, deadline)
    }

    /// Sleeps until there is something to take: for the models and the tests.
    #[cfg(any(loom, test))]
    pub(crate) fn wait(&self) {
        while !self.is_ready() {
            self.sleep_once();
        }
    }

    /// Sleeps until it is woken, or until something else ends the sleep, unless there is something
    /// to take.
    pub(crate) fn sleep_once(&self) {
        if self.prepare_to_wait() {
            futex::wait(&self.memory.control.waiter.0, 1, None);
        }
    }
}

#[cfg(loom)]
impl ModelParts {
    /// As [`Consumer::new`].
    pub(crate) fn consumer(&self) -> Consumer<'_> {
        Consumer {
            memory: self.memory(),
            head: 0,
            tail: 0,
        }
    }
}
