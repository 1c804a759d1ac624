//! CLOCK_MONOTONIC as a number: clock_gettime(2).

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the start of the machine; never 0.
pub(crate) fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither part is negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
