//! What a supervisor and one run of a child share: two words, and the way to say that it is ready.
//!
//! The first word has bits. The child sets one when it first asks whether it should stop: from
//! then on it listens. The supervisor sets the other one when it asks it to. Each sees, in the same
//! atomic step, whether the other was first; so a process that listens is never sent SIGTERM, and
//! any other is. The second word counts how often the child has said that it lives.
//!
//! A process can write anything there: it gains no more than its grace time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::sys::futex::{self, Wake};

const LISTENS: u32 = 1;
const STOP: u32 = 2;
/// Of a thread: a process says it through a channel, which wakes the supervisor.
const READY: u32 = 4;

type Words = [AtomicU32; 2];

#[derive(Clone, Debug)]
pub(super) enum ChildLine {
    /// To a thread.
    Local(Arc<Words>),
    /// To a process.
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    Region(remote::LineRegion),
}

/// A line to a process.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(super) mod remote {
    use std::io;

    use serde::{Deserialize, Serialize};

    use super::{ChildLine, Words};
    use crate::Shared;

    /// The region of a line, which travels as it is.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub(in crate::supervise) struct LineRegion(pub(super) Shared<Words>);

    impl LineRegion {
        pub(in crate::supervise) fn new() -> io::Result<LineRegion> {
            Shared::new(Words::default()).map(LineRegion)
        }
    }

    impl From<LineRegion> for ChildLine {
        fn from(region: LineRegion) -> ChildLine {
            ChildLine::Region(region)
        }
    }
}

impl ChildLine {
    pub(super) fn to_thread() -> ChildLine {
        ChildLine::Local(Arc::default())
    }

    fn words(&self) -> &Words {
        match self {
            ChildLine::Local(words) => words,
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            ChildLine::Region(region) => &region.0,
        }
    }

    fn wake(&self) {
        let [flags, _] = self.words();
        match self {
            ChildLine::Local(_) => futex::wake_all_private(flags),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            ChildLine::Region(_) => futex::wake_all_shared(flags),
        }
    }

    fn sleep(&self, while_it_is: u32, deadline: Option<Instant>) -> Wake {
        let [flags, _] = self.words();
        match self {
            ChildLine::Local(_) => futex::wait_private(flags, while_it_is, deadline),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            ChildLine::Region(_) => futex::wait_shared(flags, while_it_is, deadline),
        }
    }

    // The supervisor's side.

    /// Asks it to stop. Whether it listens.
    pub(super) fn ask_to_stop(&self) -> bool {
        let [flags, _] = self.words();
        let before = flags.fetch_or(STOP, Ordering::AcqRel);
        self.wake();
        before & LISTENS != 0
    }

    pub(super) fn beats(&self) -> u32 {
        self.words()[1].load(Ordering::Relaxed)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.words()[0].load(Ordering::Acquire) & READY != 0
    }

    // The child's side.

    pub(super) fn say_ready(&self) {
        self.words()[0].fetch_or(READY, Ordering::AcqRel);
    }

    pub(super) fn should_stop(&self) -> bool {
        self.flags() & STOP != 0
    }

    /// Waits until it should stop. `false`: not before the deadline.
    pub(super) fn wait_for_stop(&self, deadline: Option<Instant>) -> bool {
        loop {
            let now = self.flags();
            if now & STOP != 0 {
                return true;
            }
            if self.sleep(now, deadline) == Wake::TimedOut && !self.should_stop() {
                return false;
            }
        }
    }

    pub(super) fn beat(&self) {
        self.words()[1].fetch_add(1, Ordering::Relaxed);
    }

    /// As they are now. From the first look on, the child listens.
    fn flags(&self) -> u32 {
        let [flags, _] = self.words();
        let now = flags.load(Ordering::Acquire);
        if now & LISTENS != 0 {
            now
        } else {
            flags.fetch_or(LISTENS, Ordering::AcqRel) | LISTENS
        }
    }
}
