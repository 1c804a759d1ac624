//! The memory of a ring, as one side sees it: the only code that touches it.

#![expect(unsafe_code, reason = "memory shared with another process")]

use super::WORD;
use crate::sim::shared::{AtomicU32, AtomicU64, Ordering};
use crate::sys::mapping::Mapping;

/// Of a processor's cache, in bytes.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const LINE: u64 = 64;
/// How far ahead lines are fetched, in bytes: some frames of the smallest.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const AHEAD: u64 = 512;
/// As many of them for a frame at the most: the processor finds out about longer ones by itself.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const FETCHED: u64 = 4;

/// The shared counts of a ring. All zero is an empty ring.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(super) tail: OwnLines<AtomicU64>,
    pub(super) head: OwnLines<AtomicU64>,
    /// 1 while the consumer sleeps, or is about to.
    pub(super) waiter: OwnLines<AtomicU32>,
}

/// On lines of its own: two, for processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct OwnLines<T>(pub(super) T);

/// A ring's memory, as one side sees it.
#[derive(Debug)]
pub(super) struct RingMemory<'m> {
    pub(super) control: &'m Control,
    pub(super) words: &'m [AtomicU64],
    /// In models: loom sees, at each word's, whether a thread may read it while another writes it.
    #[cfg(loom)]
    touched: &'m [Touched],
}

/// Where a ring lies in a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingPlace {
    /// Offset of the [`Control`], in bytes, a multiple of 128.
    pub(crate) control: usize,
    /// Offset of the data, in bytes, a multiple of 8.
    pub(crate) data: usize,
    /// Bytes of data, a power of two.
    pub(crate) capacity: usize,
}

/// Where loom notes which threads touch a word.
#[cfg(loom)]
#[derive(Debug, Default)]
struct Touched(loom::cell::UnsafeCell<()>);

#[cfg(loom)]
// SAFETY: the cell holds no data, so that two threads in it at once can change nothing. Loom notes
// each of them, and fails the model.
unsafe impl Sync for Touched {}

/// In models, what elsewhere is a mapping.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct ModelParts {
    control: Control,
    words: Vec<AtomicU64>,
    touched: Vec<Touched>,
}

#[cfg(loom)]
impl ModelParts {
    /// The parts of an empty ring of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> ModelParts {
        assert!(capacity.is_power_of_two() && capacity >= WORD);
        let words = capacity / WORD;
        ModelParts {
            control: Control::default(),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            touched: (0..words).map(|_| Touched::default()).collect(),
        }
    }

    pub(super) fn memory(&self) -> RingMemory<'_> {
        RingMemory {
            control: &self.control,
            words: &self.words,
            touched: &self.touched,
        }
    }
}

impl<'m> RingMemory<'m> {
    #[cfg(loom)]
    pub(super) fn new(_mapping: &'m Mapping, _place: RingPlace) -> RingMemory<'m> {
        unreachable!("in models a ring is made of its parts")
    }

    #[cfg(not(loom))]
    pub(super) fn new(mapping: &'m Mapping, place: RingPlace) -> RingMemory<'m> {
        let RingPlace {
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
            RingMemory {
                control: mapping.at().add(control).cast().as_ref(),
                words: std::slice::from_raw_parts(
                    mapping.at().add(data).cast().as_ptr(),
                    capacity / WORD,
                ),
            }
        }
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        (self.words.len() * WORD) as u64
    }

    /// The place of a running count; the mask keeps it inside whatever the count is.
    #[inline]
    fn index(&self, count: u64) -> usize {
        (count / WORD as u64) as usize & (self.words.len() - 1)
    }

    /// The word at a running count.
    #[inline]
    pub(super) fn load(&self, count: u64) -> u64 {
        let index = self.index(count);
        #[cfg(loom)]
        self.touched[index].0.with(|_| ());
        self.words[index].load(Ordering::Relaxed)
    }

    /// Writes the word at a running count.
    #[inline]
    pub(super) fn store(&self, count: u64, word: u64) {
        let index = self.index(count);
        #[cfg(loom)]
        self.touched[index].0.with_mut(|_| ());
        self.words[index].store(word, Ordering::Relaxed);
    }

    /// Asks the processor for the lines that a later frame will be written to: the consumer has
    /// read them, so that they are in its cache, and a write would otherwise hold up the next fence
    /// until they have come.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    #[inline]
    pub(super) fn fetch_to_write(&self, tail: u64, size: u64) {
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
    #[inline]
    pub(super) fn fetch_to_read(&self, head: u64, size: u64, available: u64) {
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
    #[inline]
    fn line(&self, count: u64) -> *const AtomicU64 {
        &raw const self.words[(count / WORD as u64) as usize & (self.words.len() - 1)]
    }

    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    #[inline]
    pub(super) fn fetch_to_write(&self, _tail: u64, _size: u64) {}

    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    #[inline]
    pub(super) fn fetch_to_read(&self, _head: u64, _size: u64, _available: u64) {}

    /// Copies `bytes` into the ring at a running count; they fit, the caller has seen to that.
    #[cfg(not(loom))]
    #[inline]
    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
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
    #[inline]
    pub(super) fn read(&self, at: u64, len: usize, into: &mut Vec<u8>) {
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
    #[inline]
    pub(super) fn write(&self, mut at: u64, bytes: &[u8]) {
        for chunk in bytes.chunks(WORD) {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(at, u64::from_ne_bytes(word));
            at = at.wrapping_add(WORD as u64);
        }
    }

    #[cfg(loom)]
    #[inline]
    pub(super) fn read(&self, mut at: u64, len: usize, into: &mut Vec<u8>) {
        let end = into.len() + len;
        while into.len() < end {
            let word = self.load(at).to_ne_bytes();
            into.extend_from_slice(&word[..WORD.min(end - into.len())]);
            at = at.wrapping_add(WORD as u64);
        }
    }
}
