//! Waiting for the thing itself.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::Timespec;

/// How long a wait may take. Only a hang takes longer.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Looks again and again until it is so; whether it was so within [`LIMIT`].
pub fn comes_about(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        breathe();
    }
    true
}

/// Looks again and again until it is so.
///
/// # Panics
/// It is not so within [`LIMIT`].
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_about(is_so), "waited in vain until {what}");
}

/// Looks again and again until `look` finds something.
///
/// # Errors
/// Nothing was found within [`LIMIT`]; or a look failed.
pub fn until_found<T>(
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
    pause(Duration::from_micros(300));
}

/// Lets so much time pass: how long something lasts is what is tried.
pub fn pause(time: Duration) {
    let mut left = timespec(time);
    while let rustix::thread::NanosleepRelativeResult::Interrupted(more) =
        rustix::thread::nanosleep(&left)
    {
        left = more;
    }
}

/// Waits for ever: until the thread's process is killed.
pub fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A time, as poll(2) takes it.
pub fn timespec(time: Duration) -> Timespec {
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
        let found = until_found("the third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.expect("it comes"), 3);
        until("the sixth look", || {
            looks += 1;
            looks == 6
        });
        let failed = until_found("nothing", || -> io::Result<Option<()>> {
            Err(io::ErrorKind::NotFound.into())
        });
        assert!(failed.is_err());
    }
}
