//! A clock for the program and the library: each call of `clock_gettime` returns a time that is 100
//! ns later.
//!
//! The library looks at the clock to see how long tasks take, and gives a worker as many ahead as
//! fit that. Under callgrind everything is slow, and never equally so; with a clock of its own each
//! run does the same.

use std::sync::atomic::{AtomicI64, Ordering};

const STEP: i64 = 100;
const SECOND: i64 = 1_000_000_000;

/// The C library's, for all that is linked into this program.
///
/// # Safety
/// As clock_gettime(2): `time` can be written.
// SAFETY: it does what the function of that name does, at another speed.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(_clock: i32, time: *mut [i64; 2]) -> i32 {
    // From somewhere on, so that a time a while ago can be told.
    static NOW: AtomicI64 = AtomicI64::new(1_000_000 * SECOND);
    let now = NOW.fetch_add(STEP, Ordering::Relaxed);
    // SAFETY: the caller's: it points to a `struct timespec`, which is two words of 64 bits on all
    // that the library is for.
    unsafe { time.write([now / SECOND, now % SECOND]) };
    0
}
