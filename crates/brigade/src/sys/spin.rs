//! Looking for a moment before sleeping.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Sleeping and being woken costs some 70 µs where the other processor has to be woken too; looking
/// for as long as that costs at most twice what the better of the two would have.
pub(crate) const LIMIT: Duration = Duration::from_micros(50);

/// Whether it pays at all. With one processor, looking keeps the one that is waited for from
/// running.
///
/// The machine's are counted, not those that this thread may use: the answer is the process's, for
/// good, and the first that asks may be a thread that is kept on one processor so as to be quick.
pub(crate) fn pays() -> bool {
    static PAYS: OnceLock<bool> = OnceLock::new();
    *PAYS.get_or_init(|| processors() > 1)
}

#[cfg(unix)]
fn processors() -> usize {
    // SAFETY: no memory is involved.
    let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(processors).unwrap_or(1)
}

#[cfg(not(unix))]
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Looks until it is so, for a moment. `false`: it was not.
pub(crate) fn until(is_so: impl Fn() -> bool) -> bool {
    until_within(LIMIT, is_so)
}

/// As [`until`], for no longer than this.
pub(crate) fn until_within(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    if !pays() {
        return is_so();
    }
    let limit = Instant::now() + limit;
    loop {
        for _ in 0..32 {
            if is_so() {
                return true;
            }
            std::hint::spin_loop();
        }
        if Instant::now() >= limit {
            return false;
        }
    }
}
