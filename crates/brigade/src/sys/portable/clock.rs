//! std's clock as a number.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds since this was first asked for; never 0.
pub(crate) fn nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// As [`nanos`]: what the machine does while it is suspended is not known here.
#[cfg(feature = "timeline")]
pub(crate) fn boot_nanos() -> u64 {
    nanos()
}
