//! Waiting for the thing itself.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::Timespec;

/// How long a wait may take. Only a hang takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds something.
///
/// # Errors
/// Nothing was found within [`LIMIT`]; or a look failed.
pub(crate) fn until<T>(
    what: &str,
    mut look: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            let why = format!("waited {} s in vain for {what}", LIMIT.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        rest(Duration::from_micros(300));
    }
}

/// Sleeps. What /proc says has no descriptor that could be waited on; and a machine at rest is what
/// some rows begin with.
pub(crate) fn rest(time: Duration) {
    let time = Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    };
    // Woken early by a signal: then it was shorter.
    let _ = rustix::thread::nanosleep(&time);
}

/// Until it is killed.
pub(crate) fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
