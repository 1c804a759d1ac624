//! Sleeping on a word of this program's memory, by the word's address: parking_lot_core's table of
//! sleepers, in place of futex(2).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot_core::{
    DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, ParkResult, park, unpark_all, unpark_one,
};

/// Why a wait came back. Every wait may come back early: look at the condition again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A wake-up came, or the word had changed already.
    Look,
    /// The deadline has passed.
    TimedOut,
}

fn key(word: &AtomicU32) -> usize {
    word.as_ptr() as usize
}

/// Sleeps while `word` is `expected`.
pub(crate) fn wait_private(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
    if deadline.is_some_and(|at| at <= Instant::now()) {
        return Wake::TimedOut;
    }
    // SAFETY: the key is the address of a word that lives for this call, and only this file parks.
    // Another use of the table by such an address, after the word's memory was freed, is no more
    // than an early wake-up. The three functions neither panic nor call parking_lot_core: the first
    // is a load, under the lock that the waker takes after it has changed the word.
    let parked = unsafe {
        park(
            key(word),
            || word.load(Ordering::SeqCst) == expected,
            || {},
            |_, _| {},
            DEFAULT_PARK_TOKEN,
            deadline,
        )
    };
    match parked {
        ParkResult::TimedOut => Wake::TimedOut,
        ParkResult::Unparked(_) | ParkResult::Invalid => Wake::Look,
    }
}

/// Wakes one that sleeps on a word.
pub(crate) fn wake_one(word: &AtomicU32) {
    // SAFETY: as above; the function gives a number and does nothing else.
    unsafe { unpark_one(key(word), |_| DEFAULT_UNPARK_TOKEN) };
}

/// Wakes all that sleep on a word.
pub(crate) fn wake_all_private(word: &AtomicU32) {
    // SAFETY: as above.
    unsafe { unpark_all(key(word), DEFAULT_UNPARK_TOKEN) };
}

/// Sleeps for this long, and for nothing else.
pub(crate) fn rest(time: Duration) {
    let word = AtomicU32::new(0);
    wait_private(&word, 0, Instant::now().checked_add(time));
}
