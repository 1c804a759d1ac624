//! Bare shared memory between two processes: words, and nothing around them.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use brigade::{Shared, ShmSafe, process};
use serde::{Deserialize, Serialize};

use crate::traffic::{arrivals, in_all, join, round_trips};

pub(crate) const PING: &str = "floor: spin, then futex";
pub(crate) const WAKE: &str = "floor: futex, same core";
pub(crate) const RING: &str = "floor: a bare ring";
pub(crate) const RINGS: &str = "floor: bare rings, one worker";

/// How often to look before sleeping: some 50 µs.
pub(crate) const SPINS: u32 = 10_000;
const WORDS: usize = 8;

/// A place for one message, and its number.
#[derive(Debug, ShmSafe)]
#[repr(align(128))]
struct Slot {
    number: AtomicU32,
    asleep: AtomicU32,
    data: [AtomicU64; WORDS],
}

impl Slot {
    fn put(&self, number: u32, data: &[u64; WORDS]) {
        for (to, from) in self.data.iter().zip(data) {
            to.store(*from, Ordering::Relaxed);
        }
        self.number.store(number, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 {
            self.asleep.store(0, Ordering::Relaxed);
            futex(&self.number, libc::FUTEX_WAKE, 1);
        }
    }

    fn take(&self, number: u32, spins: u32) -> [u64; WORDS] {
        let mut left = spins;
        loop {
            let seen = self.number.load(Ordering::Acquire);
            if seen == number {
                return self.data.each_ref().map(|w| w.load(Ordering::Relaxed));
            }
            if left > 0 {
                left -= 1;
                spin_loop();
                continue;
            }
            self.asleep.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            // Returns at once if the number has changed.
            futex(&self.number, libc::FUTEX_WAIT, seen);
        }
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let no_limit = std::ptr::null::<libc::timespec>();
    // SAFETY: the word lives across the call; there is no time limit.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_limit) };
}

#[derive(Debug, ShmSafe)]
struct Table {
    there: Slot,
    back: Slot,
}

fn answer((table, count, spins): (Shared<Table>, u32, u32)) {
    for number in 1..=count {
        let data = table.there.take(number, spins);
        table.back.put(number, &data);
    }
}

/// Microseconds for 64 bytes there and back, where both look so often before they sleep.
pub(crate) fn there_and_back(count: u32, spins: u32) -> io::Result<f64> {
    let slot = || Slot {
        number: AtomicU32::new(0),
        asleep: AtomicU32::new(0),
        data: [const { AtomicU64::new(0) }; WORDS],
    };
    let table = Shared::new(Table {
        there: slot(),
        back: slot(),
    })?;
    let worker = process::spawn(answer, (table.clone(), in_all(count), spins))?;
    let mut number = 0;
    let figure = round_trips(count, || {
        number += 1;
        table.there.put(number, &[7; WORDS]);
        std::hint::black_box(table.back.take(number, spins));
        Ok(())
    })?;
    join(worker)?;
    Ok(figure)
}

#[derive(Debug, ShmSafe)]
#[repr(align(128))]
struct Count(AtomicU64);

#[derive(Debug, ShmSafe)]
struct Counts {
    sent: Count,
    taken: Count,
}

/// Places of one size, from one process to another; both only look, and never sleep.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ring {
    counts: Shared<Counts>,
    data: Shared<[AtomicU64]>,
    /// Bytes of a place: whole words.
    place: usize,
    places: u64,
}

impl Ring {
    fn new(place: usize, places: u64) -> io::Result<Ring> {
        let zero = || Count(AtomicU64::new(0));
        Ok(Ring {
            counts: Shared::new(Counts {
                sent: zero(),
                taken: zero(),
            })?,
            data: Shared::<[AtomicU64]>::zeroed(place / 8 * places as usize)?,
            place,
            places,
        })
    }

    fn at(&self, number: u64) -> *mut u8 {
        let words = self.place / 8;
        let first = (number % self.places) as usize * words;
        self.data[first..first + words].as_ptr().cast_mut().cast()
    }

    fn wait(until: impl Fn() -> bool) {
        let mut looks = 0_u32;
        while !until() {
            looks += 1;
            if looks.is_multiple_of(4096) {
                // Somebody else may need the processor.
                std::thread::yield_now();
            }
            spin_loop();
        }
    }
}

fn fill((ring, count): (Ring, u32)) {
    let source = vec![7_u8; ring.place];
    let mut taken = 0;
    for number in 0..u64::from(count) {
        if number - taken == ring.places {
            Ring::wait(|| ring.counts.taken.0.load(Ordering::Acquire) != taken);
            taken = ring.counts.taken.0.load(Ordering::Acquire);
        }
        // SAFETY: the place is as long as the source, and the receiver does not read it before it
        // is counted. Memory of atomics may be written to.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), ring.at(number), ring.place) };
        ring.counts.sent.0.store(number + 1, Ordering::Release);
    }
}

/// Millions of messages of `len` bytes a second, copied in and copied out.
pub(crate) fn one_way(len: usize, places: u64, count: u32) -> io::Result<f64> {
    let ring = Ring::new(len, places)?;
    let worker = process::spawn(fill, (ring.clone(), in_all(count)))?;
    let mut into = vec![0_u8; len];
    let (mut number, mut sent) = (0, 0);
    let figure = arrivals(count, || {
        if number == sent {
            Ring::wait(|| ring.counts.sent.0.load(Ordering::Acquire) != sent);
            sent = ring.counts.sent.0.load(Ordering::Acquire);
        }
        // SAFETY: the place is as long as `into`, and the sender does not write to it before it is
        // counted as taken.
        unsafe { std::ptr::copy_nonoverlapping(ring.at(number), into.as_mut_ptr(), len) };
        std::hint::black_box(&mut into);
        number += 1;
        ring.counts.taken.0.store(number, Ordering::Release);
        Ok(())
    })?;
    join(worker)?;
    Ok(figure)
}

/// A task, or its result: a line of words, of which one says which it is.
#[derive(Debug, ShmSafe)]
#[repr(align(64))]
struct Line([AtomicU64; WORDS]);

/// Places of each ring. No more are on their way, so none is written over before it was read.
const PLACES: usize = 1024;

#[derive(Debug, ShmSafe)]
struct Rings {
    sent: Count,
    answered: Count,
    there: [Line; PLACES],
    back: [Line; PLACES],
}

/// Writes line `number` of a ring.
fn write(ring: &[Line; PLACES], number: u64, first: u64) {
    for (place, word) in (0..).zip(&ring[number as usize % PLACES].0) {
        word.store(first + place, Ordering::Relaxed);
    }
}

/// Reads it: its first word.
fn read(ring: &[Line; PLACES], number: u64) -> u64 {
    let words = ring[number as usize % PLACES]
        .0
        .each_ref()
        .map(|word| word.load(Ordering::Relaxed));
    std::hint::black_box(words)[0]
}

fn answer_lines((rings, count): (Shared<Rings>, u64)) {
    let mut sent = 0;
    for number in 0..count {
        if number == sent {
            Ring::wait(|| rings.sent.0.load(Ordering::Acquire) != number);
            sent = rings.sent.0.load(Ordering::Acquire);
        }
        write(&rings.back, number, read(&rings.there, number));
        rings.answered.0.store(number + 1, Ordering::Release);
    }
}

/// Microseconds for one of many lines to a worker and back: what a pool of one worker could come to
/// that had nothing else to do.
pub(crate) fn lines(count: u32) -> io::Result<f64> {
    let line = || Line([const { AtomicU64::new(0) }; WORDS]);
    let zero = || Count(AtomicU64::new(0));
    let rings = Shared::new(Rings {
        sent: zero(),
        answered: zero(),
        there: std::array::from_fn(|_| line()),
        back: std::array::from_fn(|_| line()),
    })?;
    let all = u64::from(in_all(count));
    let worker = process::spawn(answer_lines, (rings.clone(), all))?;
    let (mut sent, mut answered, mut taken) = (0, 0, 0);
    let figure = round_trips(count, || {
        while sent < all.min(taken + PLACES as u64) {
            write(&rings.there, sent, sent);
            sent += 1;
            rings.sent.0.store(sent, Ordering::Release);
        }
        if taken == answered {
            Ring::wait(|| rings.answered.0.load(Ordering::Acquire) != taken);
            answered = rings.answered.0.load(Ordering::Acquire);
        }
        read(&rings.back, taken);
        taken += 1;
        Ok(())
    })?;
    join(worker)?;
    Ok(figure)
}

/// Millions of copies of `len` bytes a second, from a place in the cache or out of it, as it
/// happens, to another.
pub(crate) fn copies(len: usize, count: u32) -> io::Result<f64> {
    let (from, mut to) = (vec![7_u8; len], vec![0_u8; len]);
    arrivals(count, || {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        Ok(())
    })
}
