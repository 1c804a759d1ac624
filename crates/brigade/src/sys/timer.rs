//! A timer that goes off once, and that can be waited for together with descriptors.
//! timerfd_create(2), of `CLOCK_MONOTONIC`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdTimerFlags, Timespec, timerfd_settime};

use super::error::Call;
use super::opened;

#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// One that is not set.
    pub(crate) fn new() -> io::Result<Timer> {
        opened::timer(TimerfdClockId::Monotonic).map(Timer)
    }

    /// Goes off after this time, and not when it was to before. It fails where timerfd_settime(2)
    /// is denied, or if the program has closed a descriptor that is not its own.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would stop it.
        self.settime(after.max(Duration::from_nanos(1)))
    }

    /// Does not go off. It fails as [`set`](Self::set) does.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.settime(Duration::ZERO)
    }

    /// Is not readable any more, until it goes off again.
    pub(crate) fn drain(&self) {
        // Where it has not gone off, there is nothing to read.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    fn settime(&self, after: Duration) -> io::Result<()> {
        let timer = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: after.as_secs().min(i64::MAX as u64) as i64,
                tv_nsec: i64::from(after.subsec_nanos()),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)
            .map(drop)
            .call("timerfd_settime(2)")
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
