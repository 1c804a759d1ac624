//! Clocks as numbers: clock_gettime(2), by way of the C library, in whose place a program that
//! counts instructions puts a clock of its own (`benches/counts`).

/// Nanoseconds since the start of the machine, by CLOCK_MONOTONIC; never 0.
pub(crate) fn nanos() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The nanoseconds with the time in which the machine was suspended, by CLOCK_BOOTTIME.
#[cfg(feature = "timeline")]
pub(crate) fn boot_nanos() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to that one.
    let got = unsafe { libc::clock_gettime(clock, &raw mut now) };
    debug_assert_eq!(got, 0, "Linux has these clocks");
    // Neither part is negative.
    (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).max(1)
}
