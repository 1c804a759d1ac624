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
        breathe();
    }
}

/// A short sleep. What /proc says has no descriptor that could be waited on, so it is looked at
/// again a little later.
fn breathe() {
    // Woken early by a signal: then the next look comes early.
    let _ = rustix::thread::nanosleep(&Timespec {
        tv_sec: 0,
        tv_nsec: 300_000,
    });
}

/// Lets so much time pass: how long something lasts is what is tried.
pub(crate) fn pause(time: Duration) {
    let mut left = timespec(time);
    while let rustix::thread::NanosleepRelativeResult::Interrupted(more) =
        rustix::thread::nanosleep(&left)
    {
        left = more;
    }
}

/// Until it is killed.
pub(crate) fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A time, as poll(2) takes it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_until_something_is_there() {
        let mut looks = 0;
        let found = until("the third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.expect("it comes"), 3);
        let failed = until("nothing", || -> io::Result<Option<()>> {
            Err(io::ErrorKind::NotFound.into())
        });
        assert!(failed.is_err());
    }
}
