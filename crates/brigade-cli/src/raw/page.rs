//! Shared memory with futexes: a ring of slots in each direction.
//!
//! The sender fills the slot at `head` and moves `head` on; the receiver empties the one at `tail`
//! and moves `tail` on. Who finds nothing to do looks again for a moment, where there is a core to
//! spare, and then says that it sleeps and sleeps. The other wakes it only if it said so: a wake
//! that wakes nobody is a system call all the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Line;
use crate::board::{Mapping, sleep_while, wake_all};

/// Slots of a ring: enough that the two ends overlap, few enough to stay in the cache.
const SLOTS: usize = 4;
/// Bytes of a slot: a 1 MiB message is eight of them.
const SLOT: usize = 128 * 1024;
/// Where the slots start. The cells before it are the counters.
const DATA: usize = 4096;
/// How long to look again before sleeping: longer than it takes to wake a core that sleeps, or each
/// side would find the other asleep for ever.
const LOOK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// How large the shared memory must be.
pub(crate) const BYTES: usize = DATA + 2 * SLOTS * SLOT;

/// One end: it sends on the ring of its number and receives on the other.
#[derive(Debug)]
pub(crate) struct Page {
    memory: Arc<Mapping>,
    end: usize,
    look: Duration,
}

impl Page {
    /// The end number 0 or 1 over memory of [`BYTES`] zeroed bytes. `apart`: the other end has a
    /// core of its own, so that it can come while this one looks.
    pub(crate) fn new(memory: Arc<Mapping>, end: usize, apart: bool) -> Self {
        Self {
            memory,
            end: end % 2,
            look: if apart { LOOK } else { Duration::ZERO },
        }
    }

    fn ring(&self, number: usize) -> Ring<'_> {
        let cell = |offset| self.memory.word(number * 4 + offset);
        Ring {
            head: cell(0),
            tail: cell(1),
            sender_sleeps: cell(2),
            receiver_sleeps: cell(3),
        }
    }

    fn slot(&self, ring: usize, number: u32, len: usize) -> *mut u8 {
        let slot = number as usize % SLOTS;
        self.memory
            .bytes(DATA + (ring * SLOTS + slot) * SLOT, len)
            .as_ptr()
    }
}

struct Ring<'a> {
    head: &'a AtomicU32,
    tail: &'a AtomicU32,
    sender_sleeps: &'a AtomicU32,
    receiver_sleeps: &'a AtomicU32,
}

/// Moves a counter on and wakes the other end if it said that it sleeps.
fn advance(counter: &AtomicU32, to: u32, other_sleeps: &AtomicU32) {
    // SeqCst on both words: either we see that the other sleeps, or it sees the counter move before
    // it sleeps.
    counter.store(to, Ordering::SeqCst);
    if other_sleeps.load(Ordering::SeqCst) != 0 {
        other_sleeps.store(0, Ordering::SeqCst);
        wake_all(counter);
    }
}

/// Waits until `counter` is no longer `value`.
fn wait_past(
    counter: &AtomicU32,
    value: u32,
    i_sleep: &AtomicU32,
    look: Duration,
) -> io::Result<()> {
    let start = Instant::now();
    while !look.is_zero() && start.elapsed() < look {
        // The clock costs more than a look.
        for _ in 0..32 {
            if counter.load(Ordering::Acquire) != value {
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while counter.load(Ordering::Acquire) == value {
        i_sleep.store(1, Ordering::SeqCst);
        if counter.load(Ordering::SeqCst) != value {
            break;
        }
        sleep_while(counter, value, deadline)
            .map_err(|reason| io::Error::new(io::ErrorKind::TimedOut, reason.to_string()))?;
    }
    Ok(())
}

impl Line for Page {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let ring = self.ring(self.end);
        for piece in bytes.chunks(SLOT) {
            let head = ring.head.load(Ordering::Relaxed);
            let full = head.wrapping_sub(SLOTS as u32);
            if ring.tail.load(Ordering::Acquire) == full {
                wait_past(ring.tail, full, ring.sender_sleeps, self.look)?;
            }
            let slot = self.slot(self.end, head, piece.len());
            // SAFETY: the slot is in bounds (checked by `bytes`); the receiver is done with it (its
            // `tail` passed it, read with Acquire) and does not look at it before `head` moves; a
            // slice of ours does not overlap the mapping.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), slot, piece.len()) };
            advance(ring.head, head.wrapping_add(1), ring.receiver_sleeps);
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let number = 1 - self.end;
        let ring = self.ring(number);
        for piece in bytes.chunks_mut(SLOT) {
            let tail = ring.tail.load(Ordering::Relaxed);
            if ring.head.load(Ordering::Acquire) == tail {
                wait_past(ring.head, tail, ring.receiver_sleeps, self.look)?;
            }
            let slot = self.slot(number, tail, piece.len());
            // SAFETY: as in `send`, with the roles exchanged: `head` passed this slot, read with
            // Acquire.
            unsafe { std::ptr::copy_nonoverlapping(slot, piece.as_mut_ptr(), piece.len()) };
            advance(ring.tail, tail.wrapping_add(1), ring.sender_sleeps);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn messages_larger_than_the_ring_arrive_whole() {
        let board = Board::with_len(BYTES).unwrap();
        let mut near = Page::new(Arc::clone(board.mapping()), 0, true);
        let mut far = Page::new(Arc::clone(board.mapping()), 1, false);
        let sent: Vec<u8> = (0..2 * SLOTS * SLOT + 17)
            .map(|i| (i % 251) as u8)
            .collect();
        let copy = sent.clone();
        let other = std::thread::spawn(move || {
            let mut got = vec![0; copy.len()];
            far.receive(&mut got).unwrap();
            far.send(&got).unwrap();
            assert!(got == copy);
        });
        near.send(&sent).unwrap();
        let mut back = vec![0; sent.len()];
        near.receive(&mut back).unwrap();
        assert!(back == sent);
        other.join().unwrap();
    }
}
