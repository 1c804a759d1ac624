//! Clocks as numbers: clock_gettime(2).

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the start of the machine, by CLOCK_MONOTONIC; never 0.
pub(crate) fn nanos() -> u64 {
    read(ClockId::Monotonic)
}

/// The nanoseconds with the time in which the machine was suspended, by CLOCK_BOOTTIME.
#[cfg(feature = "timeline")]
pub(crate) fn boot_nanos() -> u64 {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Neither part is negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
