//! Whole frames through shared memory: one producer, one consumer, in two processes that need not
//! trust each other.
//!
//! Layout, in memory that begins zeroed: a [`Control`] with two running counts of bytes, `tail`
//! (written by the producer) and `head` (written by the consumer), each on cache lines of its own,
//! and a word to sleep on; elsewhere a power of two of data bytes. A frame is one word (length in
//! the low half, the caller's tag in the high half) and the bytes, padded to a word; it wraps
//! around the end.
//!
//! A frame with the tag [`SKIP`] means that the rest of the ring, up to its end, is left out: a
//! producer that has been caught up with begins at the start again, so that a ring that is never
//! very full touches little memory.
//!
//! **Hostile memory.** The other side may write anything, at any time. So: each side believes only
//! its own count and keeps it in private memory; the other's count is read once, and checked; a
//! frame's head is read once, checked against what is there, and only then used; bytes are copied
//! out before anybody looks at them. Counts and heads are atomic; the bytes of a frame are copied
//! by `memcpy` out of memory that Rust knows nothing about, and whatever they are then is what is
//! checked. What does not add up is [`Corrupt`], and the ring is not used again.
//!
//! **Sleeping.** The consumer announces itself in `bell`, looks again, and sleeps; the producer
//! publishes, looks at `bell`, and wakes. Each has a full fence between its store and its load, so
//! one of them sees the other (store–fence–load, see `sync/README.md`).

#![expect(unsafe_code, reason = "memory shared with another process")]

use std::time::Instant;

use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, AtomicU64, Ordering, fence, store_over};
use crate::sys::mapping::Mapping;

/// The other side wrote what it cannot have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// No room for this frame now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The shared counts of a ring. All zero is an empty ring.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Control {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    /// 1 while the consumer sleeps, or is about to.
    bell: Line<AtomicU32>,
}

/// On lines of its own: two, for processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Line<T>(T);

const WORD: usize = 8;

/// A ring's memory, as one side sees it.
#[derive(Debug)]
struct Memory<'m> {
    control: &'m Control,
    words: &'m [AtomicU64],
    /// In models: loom sees, at each word's, whether who reads it may do so while another writes
    /// it.
    #[cfg(loom)]
    touched: &'m [Touched],
}

/// Where a ring lies in a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Offset of the [`Control`], in bytes, a multiple of 128.
    pub(crate) control: usize,
    /// Offset of the data, in bytes, a multiple of 8.
    pub(crate) data: usize,
    /// Bytes of data, a power of two.
    pub(crate) capacity: usize,
}

/// Where loom notes who touches a word.
#[cfg(loom)]
#[derive(Debug, Default)]
struct Touched(loom::cell::UnsafeCell<()>);

#[cfg(loom)]
// SAFETY: there is nothing in it; who may touch it when is what loom checks.
unsafe impl Sync for Touched {}

/// In models, what elsewhere is a mapping.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Parts {
    control: Control,
    words: Vec<AtomicU64>,
    touched: Vec<Touched>,
}

#[cfg(loom)]
impl Parts {
    /// Those of an empty ring of so many bytes.
    pub(crate) fn new(capacity: usize) -> Parts {
        assert!(capacity.is_power_of_two() && capacity >= WORD);
        let words = capacity / WORD;
        Parts {
            control: Control::default(),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            touched: (0..words).map(|_| Touched::default()).collect(),
        }
    }

    /// As [`Producer::resume`].
    pub(crate) fn producer(&self, head: u64) -> Producer<'_> {
        Producer::over(self.memory(), head)
    }

    /// As [`Consumer::new`].
    pub(crate) fn consumer(&self) -> Consumer<'_> {
        Consumer {
            memory: self.memory(),
            head: 0,
            tail: 0,
        }
    }

    fn memory(&self) -> Memory<'_> {
        Memory {
            control: &self.control,
            words: &self.words,
            touched: &self.touched,
        }
    }
}

impl<'m> Memory<'m> {
    #[cfg(loom)]
    fn new(_mapping: &'m Mapping, _place: Place) -> Memory<'m> {
        unreachable!("in models a ring is made of its parts")
    }

    #[cfg(not(loom))]
    fn new(mapping: &'m Mapping, place: Place) -> Memory<'m> {
        let Place {
            control,
            data,
            capacity,
        } = place;
        assert!(
            capacity.is_power_of_two() && capacity >= 64,
            "a ring's capacity is a power of two"
        );
        assert!(
            control % align_of::<Control>() == 0 && data % WORD == 0,
            "a ring is aligned"
        );
        assert!(
            control + size_of::<Control>() <= mapping.len() && data + capacity <= mapping.len(),
            "a ring is inside its mapping"
        );
        // SAFETY: in bounds and aligned (asserted; a mapping begins at a page); atomics of any bit
        // pattern are valid, and may change at any time. Borrowed no longer than the mapping. The
        // file is as long as its mapping: it was made or checked so, and sealed at that size.
        unsafe {
            Memory {
                control: mapping.at().add(control).cast().as_ref(),
                words: std::slice::from_raw_parts(
                    mapping.at().add(data).cast().as_ptr(),
                    capacity / WORD,
                ),
            }
        }
    }

    fn capacity(&self) -> u64 {
        (self.words.len() * WORD) as u64
    }

    /// The place of a running count; the mask keeps it inside whatever the count is.
    fn index(&self, count: u64) -> usize {
        (count / WORD as u64) as usize & (self.words.len() - 1)
    }

    /// The word at a running count.
    fn load(&self, count: u64) -> u64 {
        let index = self.index(count);
        #[cfg(loom)]
        self.touched[index].0.with(|_| ());
        self.words[index].load(Ordering::Relaxed)
    }

    /// Writes the word at a running count.
    fn store(&self, count: u64, word: u64) {
        let index = self.index(count);
        #[cfg(loom)]
        self.touched[index].0.with_mut(|_| ());
        self.words[index].store(word, Ordering::Relaxed);
    }

    /// Asks the processor for the lines that a later frame will be written to: the consumer has
    /// read them, so that they are in its cache, and a write would otherwise hold up the next fence
    /// until they have come.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    fn fetch_to_write(&self, tail: u64, size: u64) {
        for line in 0..size.div_ceil(LINE).min(FETCHED) {
            let at = self.line(tail.wrapping_add(AHEAD + line * LINE));
            // SAFETY: a hint, which changes nothing that a program can see.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
            }
        }
    }

    /// Asks the processor for the lines of a later frame, which was published: they are in the
    /// producer's cache.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    fn fetch_to_read(&self, head: u64, size: u64, available: u64) {
        if available < size + AHEAD + FETCHED * LINE {
            return;
        }
        for line in 0..size.div_ceil(LINE).min(FETCHED) {
            let at = self.line(head.wrapping_add(AHEAD + line * LINE));
            // SAFETY: as above.
            unsafe {
                std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
            }
        }
    }

    #[cfg(all(target_arch = "x86_64", not(loom)))]
    fn line(&self, count: u64) -> *const AtomicU64 {
        &raw const self.words[(count / WORD as u64) as usize & (self.words.len() - 1)]
    }

    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fn fetch_to_write(&self, _tail: u64, _size: u64) {}

    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fn fetch_to_read(&self, _head: u64, _size: u64, _available: u64) {}

    /// Copies `bytes` into the ring at a running count; they fit, the caller has seen to that.
    #[cfg(not(loom))]
    fn write(&self, at: u64, bytes: &[u8]) {
        let capacity = self.capacity() as usize;
        assert!(bytes.len() <= capacity, "no more than the ring holds");
        let start = at as usize & (capacity - 1);
        let first = bytes.len().min(capacity - start);
        let base = self.words.as_ptr().cast::<u8>().cast_mut();
        // SAFETY: `start + first` and the rest are within the capacity (masked; asserted), and the
        // words are atomics, which may be written to behind a shared reference. The copy is not
        // atomic: a consumer that keeps to the protocol reads none of these bytes before they are
        // published. One that does not is another process; it reads some bytes or others, and
        // nothing in this one reads them back.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(start), first);
            if first < bytes.len() {
                std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), base, bytes.len() - first);
            }
        }
    }

    /// Appends `len` bytes of the ring, from a running count on.
    #[cfg(not(loom))]
    fn read(&self, at: u64, len: usize, into: &mut Vec<u8>) {
        let capacity = self.capacity() as usize;
        assert!(len <= capacity, "no more than the ring holds");
        into.reserve(len);
        let start = at as usize & (capacity - 1);
        let first = len.min(capacity - start);
        let base = self.words.as_ptr().cast::<u8>();
        // SAFETY: in bounds as in `write`; `into` has room for `len` more, which are all written
        // before they count. The copy is not atomic: a producer that keeps to the protocol writes
        // to none of these bytes before they are taken. That it does is its good will. Where it
        // does not, a race with another process, which the language does not provide for, leaves
        // some bytes or others in `into`; what is checked afterwards is this copy, and any byte is
        // a byte.
        unsafe {
            let end = into.as_mut_ptr().add(into.len());
            std::ptr::copy_nonoverlapping(base.add(start), end, first);
            if first < len {
                std::ptr::copy_nonoverlapping(base, end.add(first), len - first);
            }
            into.set_len(into.len() + len);
        }
    }

    #[cfg(loom)]
    fn write(&self, mut at: u64, bytes: &[u8]) {
        for chunk in bytes.chunks(WORD) {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(at, u64::from_ne_bytes(word));
            at = at.wrapping_add(WORD as u64);
        }
    }

    #[cfg(loom)]
    fn read(&self, mut at: u64, len: usize, into: &mut Vec<u8>) {
        let end = into.len() + len;
        while into.len() < end {
            let word = self.load(at).to_ne_bytes();
            into.extend_from_slice(&word[..WORD.min(end - into.len())]);
            at = at.wrapping_add(WORD as u64);
        }
    }
}

/// The tag of a frame without bytes that leaves out the rest of the ring.
pub(crate) const SKIP: u32 = u32::MAX;

/// How far into a ring a producer that has been caught up with goes on before it begins at the
/// start again.
const WARM: u64 = if cfg!(loom) { 16 } else { 256 * 1024 };

/// How often it looks whether it has been caught up with: each time that it has come so much
/// further. The consumer's count is on a line that the consumer writes for every frame, so that
/// reading it for every frame would cost both of them more than all the rest.
const GRAIN: u64 = if cfg!(loom) { 8 } else { 16 * 1024 };

/// Of a processor's cache, in bytes.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const LINE: u64 = 64;
/// How far ahead lines are fetched, in bytes: some frames of the smallest.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const AHEAD: u64 = 512;
/// As many of them for a frame at the most: the processor finds out about longer ones by itself.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const FETCHED: u64 = 4;

/// Bytes of ring that a frame of `len` bytes takes.
pub(crate) const fn frame_size(len: usize) -> usize {
    WORD + len.next_multiple_of(WORD)
}

/// Appends a frame to `into`, whose bytes `write` appends. What it says of an error is given back,
/// and then nothing was appended.
pub(crate) fn append_frame<R, E>(
    into: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<R, E>,
) -> Result<R, E> {
    let start = into.len();
    debug_assert!(start % WORD == 0 && tag != SKIP);
    into.extend_from_slice(&[0; WORD]);
    let written = write(into);
    if written.is_err() {
        into.truncate(start);
        return written;
    }
    let len = into.len() - start - WORD;
    // More than a ring can hold is cut off by whoever looks at the length; nothing here makes such
    // a frame.
    let head = u64::from(len as u32) | u64::from(tag) << 32;
    into[start..start + WORD].copy_from_slice(&head.to_ne_bytes());
    into.resize(start + frame_size(len), 0);
    written
}

/// The bytes of the frame that begins at `at`, and where the next one does.
pub(crate) fn frame_at(frames: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = frames.get(at..at + WORD)?;
    let head = u64::from_ne_bytes(head.try_into().ok()?);
    let len = head as u32 as usize;
    let bytes = frames.get(at + WORD..at + WORD + len)?;
    Some((bytes, at + frame_size(len)))
}

/// The side that writes.
#[derive(Debug)]
pub(crate) struct Producer<'m> {
    memory: Memory<'m>,
    tail: u64,
    /// The consumer's count as it was last seen.
    head: u64,
}

impl<'m> Producer<'m> {
    /// The producer of an empty ring.
    pub(crate) fn new(mapping: &'m Mapping, place: Place) -> Producer<'m> {
        Producer {
            memory: Memory::new(mapping, place),
            tail: 0,
            head: 0,
        }
    }

    /// The producer of a ring that others have written to before, and will again: it believes the
    /// count that they have left there. `head` is the consumer's count as it was last seen.
    pub(crate) fn resume(mapping: &'m Mapping, place: Place, head: u64) -> Producer<'m> {
        Producer::over(Memory::new(mapping, place), head)
    }

    fn over(memory: Memory<'m>, head: u64) -> Producer<'m> {
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
    pub(crate) fn push(&mut self, tag: u32, bytes: &[u8]) -> Result<(), Full> {
        self.push_parts(tag, &[], bytes)
    }

    /// As [`push`](Self::push), of two parts, of which the first is a number of whole words.
    pub(crate) fn push_parts(&mut self, tag: u32, head: &[u8], bytes: &[u8]) -> Result<(), Full> {
        debug_assert!(head.len() % WORD == 0 && tag != SKIP);
        let len = u32::try_from(head.len() + bytes.len()).map_err(|_| Full)?;
        let size = frame_size(len as usize) as u64;
        if self.room() < size {
            self.head = self.memory.control.head.0.load(Ordering::Acquire);
            if self.room() < size {
                return Err(Full);
            }
        }
        self.memory
            .store(self.tail, u64::from(len) | u64::from(tag) << 32);
        let start = self.tail.wrapping_add(WORD as u64);
        self.memory.write(start, head);
        self.memory
            .write(start.wrapping_add(head.len() as u64), bytes);
        self.tail = self.tail.wrapping_add(size);
        self.memory.fetch_to_write(self.tail, size);
        Ok(())
    }

    /// Bytes that there is room for, where so many are wanted.
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
    /// written where they began.
    pub(crate) fn retract(&mut self, to: u64) {
        debug_assert!(self.tail.wrapping_sub(to) <= self.memory.capacity());
        self.tail = to;
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
        let bell = &self.memory.control.bell.0;
        if bell.load(Ordering::Relaxed) != 0 {
            bell.store(0, Ordering::Relaxed);
            futex::wake_one(bell);
        }
    }
}

impl Producer<'_> {
    /// After [`show`](Self::show): the consumer's announcement that it sleeps, if there is one. It
    /// has to be woken then.
    pub(crate) fn announcement(&self) -> Option<u32> {
        fence(Ordering::SeqCst);
        Some(self.memory.control.bell.0.load(Ordering::Relaxed)).filter(|&a| a != 0)
    }

    /// After it was woken: this announcement is done with. Another, that it has made since, stays.
    pub(crate) fn take_announcement(&self, announcement: u32) {
        let bell = &self.memory.control.bell.0;
        let _ = bell.compare_exchange(announcement, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Shows the consumer what was pushed, and wakes nobody.
    pub(crate) fn show(&mut self) {
        self.memory
            .control
            .tail
            .0
            .store(self.tail, Ordering::Release);
    }
}

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

/// The side that reads.
#[derive(Debug)]
pub(crate) struct Consumer<'m> {
    memory: Memory<'m>,
    head: u64,
    /// The producer's count as it was last seen. What was published up to there is taken before it
    /// is read again.
    tail: u64,
}

impl<'m> Consumer<'m> {
    /// The consumer of an empty ring.
    pub(crate) fn new(mapping: &'m Mapping, place: Place) -> Consumer<'m> {
        Consumer::at(mapping, place, 0)
    }

    /// The consumer of a ring of which `head` bytes were taken.
    pub(crate) fn at(mapping: &'m Mapping, place: Place, head: u64) -> Consumer<'m> {
        Consumer::knowing(mapping, place, head, head)
    }

    /// As [`at`](Self::at), where the producer's count was `tail` when it was last
    /// [`seen`](Self::seen).
    pub(crate) fn knowing(
        mapping: &'m Mapping,
        place: Place,
        head: u64,
        tail: u64,
    ) -> Consumer<'m> {
        Consumer {
            memory: Memory::new(mapping, place),
            head,
            tail,
        }
    }

    /// The consumer of a ring from which another has taken before: it believes the count that it
    /// has left there.
    pub(crate) fn resume(mapping: &'m Mapping, place: Place) -> Consumer<'m> {
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
    pub(crate) fn trust(&mut self) {
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
    fn next_frame(&mut self) -> Result<Option<(usize, u32)>, Corrupt> {
        // Once: a producer that leaves out the rest of the ring for ever keeps nobody in here.
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
    pub(crate) fn pop(&mut self, into: &mut Vec<u8>) -> Result<Option<u32>, Corrupt> {
        self.pop_parts(&mut [], into)
    }

    /// As [`pop`](Self::pop), of a frame that was pushed in two parts.
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

    /// Announces that this side is about to sleep. `false`: there is something to take, do not.
    pub(crate) fn prepare_to_wait(&self) -> bool {
        self.announce(1)
    }

    /// As [`prepare_to_wait`](Self::prepare_to_wait), by a number that is not 0.
    pub(crate) fn announce(&self, announcement: u32) -> bool {
        let bell = &self.memory.control.bell.0;
        store_over(bell, announcement, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_ready() {
            bell.store(0, Ordering::Relaxed);
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
        futex::wait_either((&self.memory.control.bell.0, 1), other, deadline)
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
            futex::wait(&self.memory.control.bell.0, 1, None);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
