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
//! out before they are looked at. Counts and heads are atomic; the bytes of a frame are copied
//! by `memcpy` out of memory that Rust knows nothing about, and whatever they are then is what is
//! checked. What does not add up is [`Corrupt`], and the ring is not used again.
//!
//! **Sleeping.** The consumer announces itself in `waiter`, looks again, and sleeps; the producer
//! publishes, looks at `waiter`, and wakes. Each has a full fence between its store and its load,
//! so one of them sees the other (store–fence–load, see `sync/README.md`).

mod consumer;
mod memory;
mod producer;

pub(crate) use consumer::{Consumer, NextFrame};
#[cfg(loom)]
pub(crate) use memory::ModelParts;
pub(crate) use memory::{Control, RingPlace};
pub(crate) use producer::Producer;

/// The other side wrote what it cannot have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// No room for this frame now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

const WORD: usize = 8;

/// The tag of a frame without bytes that leaves out the rest of the ring.
pub(crate) const SKIP: u32 = u32::MAX;

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
    // More than a ring can hold is cut off by the code that looks at the length; nothing here makes
    // such a frame.
    let head = u64::from(len as u32) | u64::from(tag) << 32;
    into[start..start + WORD].copy_from_slice(&head.to_ne_bytes());
    into.resize(start + frame_size(len), 0);
    written
}

/// The length of the frame that begins at `at`, and where it ends, if it is all there and has this
/// tag.
#[inline(always)]
fn frame_tagged(frames: &[u8], at: usize, tag: u32) -> Option<(usize, usize)> {
    let head = frames.get(at..)?.first_chunk()?;
    let head = u64::from_ne_bytes(*head);
    let len = head as u32 as usize;
    let end = at + frame_size(len);
    ((head >> 32) as u32 == tag && end <= frames.len()).then_some((len, end))
}

/// The bytes of the frame that begins at `at`, and where the next one does.
pub(crate) fn frame_at(frames: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = frames.get(at..at + WORD)?;
    let head = u64::from_ne_bytes(head.try_into().ok()?);
    let len = head as u32 as usize;
    let bytes = frames.get(at + WORD..at + WORD + len)?;
    Some((bytes, at + frame_size(len)))
}

#[cfg(all(test, not(loom)))]
mod tests;
