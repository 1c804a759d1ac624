//! How long tasks take that a worker runs one after another.
//!
//! The host's own measure has waits in it: until a worker that slept runs, and from its last task
//! until the host looks.

use crate::sys::clock;
use crate::worker::process::ipc::handoff::BusyPeriod;

/// A first task that took less is not counted: most of that time may be the look for it.
const LONG_NANOS: u64 = 50_000;

/// Times busy periods. No clock is read for a task by itself, which a caller may be waiting for.
pub(super) struct BusyTimer {
    /// When this worker began to look for a task, or was woken for one.
    ready_since: u64,
    /// From when on the present period is timed, and how many results had been shown by then.
    busy_since: Option<(u64, u32)>,
}

impl BusyTimer {
    pub(super) fn new() -> BusyTimer {
        BusyTimer {
            ready_since: clock::nanos(),
            busy_since: None,
        }
    }

    /// The worker begins to look for a task, or was woken for one.
    pub(super) fn is_ready(&mut self) {
        self.ready_since = clock::nanos();
    }

    /// A task began right after others, of which `finished` are. In the second of a period this
    /// looks at the clock: if the first was long, it was so since the worker was ready for it; if
    /// not, it is left out.
    pub(super) fn begin(&mut self, finished: u32) {
        if self.busy_since.is_some() {
            return;
        }
        let now = clock::nanos();
        let was_long = now.saturating_sub(self.ready_since) >= LONG_NANOS;
        self.busy_since = Some(match was_long {
            true => (self.ready_since, finished.wrapping_sub(1)),
            false => (now, finished),
        });
    }

    /// There are no more tasks, after `finished` of them.
    pub(super) fn end(&mut self, finished: u32) -> Option<BusyPeriod> {
        let (began, before) = self.busy_since.take()?;
        let tasks = finished.wrapping_sub(before);
        let time = clock::nanos().saturating_sub(began);
        let nanos = time / u64::from(tasks.max(1));
        let nanos = u32::try_from(nanos).unwrap_or(u32::MAX);
        Some(BusyPeriod { tasks, nanos })
    }
}
