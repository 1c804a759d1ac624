//! How tests and tasks wait for each other.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use brigade::Shared;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use crate::LIMIT;

/// A number that tests and tasks of either kind see, that only grows, and that can be waited for:
/// an event, a gate, a tally. Whoever dies with it has broken nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Count(Shared<AtomicU32>);

impl Count {
    pub(crate) fn new() -> Count {
        Count(Shared::new(AtomicU32::new(0)).expect("a region"))
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(SeqCst)
    }

    /// One more. Gives how many there were.
    pub(crate) fn add(&self) -> u32 {
        let before = self.0.fetch_add(1, SeqCst);
        futex::wake(&self.0, futex::Flags::empty(), i32::MAX as u32).expect("woken");
        before
    }

    pub(crate) fn wait_for(&self, least: u32) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = self.get();
            if now >= least {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {LIMIT:?} for {least}, and there are {now}"
            );
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match futex::wait(&self.0, futex::Flags::empty(), now, Some(&left)) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                Err(e) => panic!("futex: {e}"),
            }
        }
    }
}
