//! How much a pool takes on, and how often it tries again.

/// How far ahead of the result that is awaited a map reads inputs, and how many results that came
/// too early it keeps.
pub(in crate::pool) const MAP_WINDOW: usize = 16 * 1024;

/// How many tasks a map in async code has given to the pool at once, for each of its workers:
/// enough that a worker need not wait for the caller's executor between two short ones.
pub(in crate::pool) const STREAM_AHEAD: usize = 32;

/// How many tasks may wait that no worker has begun. A task that is to be run again goes back
/// whether there is room or not. One that was cancelled takes no room.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pool) struct QueueLimit(Option<usize>);

impl QueueLimit {
    pub(in crate::pool) fn new(tasks: usize) -> QueueLimit {
        QueueLimit(Some(tasks))
    }

    /// `None`: any number may wait.
    pub(in crate::pool) fn get(self) -> Option<usize> {
        self.0
    }

    /// How many more tasks the queue takes while `waiting` of them wait.
    pub(in crate::pool) fn room(self, waiting: usize) -> usize {
        self.0
            .map_or(usize::MAX, |limit| limit.saturating_sub(waiting))
    }

    pub(in crate::pool) fn is_reached(self, waiting: usize) -> bool {
        self.room(waiting) == 0
    }
}

/// How often a task was run and did not end: its worker died, or its time was over.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pool) struct Attempts(u32);

impl Attempts {
    /// Whether the task may be run once more, by the pool's number of retries. It counts as run
    /// then.
    pub(in crate::pool) fn retry(&mut self, retries: u32) -> bool {
        let may = self.0 < retries;
        self.0 += u32::from(may);
        may
    }

    /// Which run of the task this is, counted from 1.
    pub(in crate::pool) fn current(self) -> u32 {
        self.0 + 1
    }
}

/// Workers in a row that did not start: they could not be made, or their initializer failed.
#[derive(Debug)]
pub(in crate::pool) struct StartFailures {
    in_a_row: u32,
    limit: u32,
}

impl StartFailures {
    /// The pool gives up when more than `per_worker` starts for each of `workers` have failed.
    pub(in crate::pool) fn more_than(per_worker: u32, workers: usize) -> StartFailures {
        StartFailures::limit(per_worker * workers as u32 + 1)
    }

    /// The pool gives up when `per_worker` starts for each of `workers` have failed.
    pub(in crate::pool) fn as_many_as(per_worker: u32, workers: usize) -> StartFailures {
        StartFailures::limit(per_worker * workers as u32)
    }

    fn limit(limit: u32) -> StartFailures {
        StartFailures { in_a_row: 0, limit }
    }

    /// A worker did not start. Returns how many in a row did not.
    pub(in crate::pool) fn record(&mut self) -> u32 {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.in_a_row
    }

    /// Whether as many starts have failed in a row as the limit allows: no more are tried where no
    /// worker is left.
    pub(in crate::pool) fn is_over_limit(&self) -> bool {
        self.in_a_row >= self.limit
    }

    /// A worker has started, or the pool tries anew.
    pub(in crate::pool) fn reset(&mut self) {
        self.in_a_row = 0;
    }
}

/// So few cancelled tasks are left in the queue until their turn comes.
const MIN_CANCELLED: usize = 1024;

/// Whether it pays to go through a queue of `queued` tasks and take out the `cancelled` ones: to
/// take each out from the middle when it is cancelled costs more.
pub(in crate::pool) fn should_remove_cancelled(cancelled: usize, queued: usize) -> bool {
    cancelled >= MIN_CANCELLED && cancelled >= queued / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_without_a_limit_has_room() {
        assert_eq!(QueueLimit::default().room(usize::MAX), usize::MAX);
        assert!(!QueueLimit::default().is_reached(usize::MAX));
    }

    #[test]
    fn a_queue_is_full_at_its_limit_and_beyond() {
        let limit = QueueLimit::new(3);
        assert_eq!((limit.room(1), limit.room(3), limit.room(5)), (2, 0, 0));
        assert_eq!([2, 3, 4].map(|n| limit.is_reached(n)), [false, true, true]);
    }

    #[test]
    fn a_task_is_run_once_more_for_each_retry() {
        let mut attempts = Attempts::default();
        assert!(!attempts.retry(0));
        assert_eq!(attempts.current(), 1);
        assert!(attempts.retry(2) && attempts.retry(2) && !attempts.retry(2));
        assert_eq!(attempts.current(), 3);
    }

    #[test]
    fn starts_that_fail_in_a_row_have_a_limit() {
        let mut failures = StartFailures::as_many_as(3, 2);
        for _ in 0..5 {
            failures.record();
            assert!(!failures.is_over_limit());
        }
        assert_eq!(failures.record(), 6);
        assert!(failures.is_over_limit());
        failures.reset();
        assert!(!failures.is_over_limit());
        assert_eq!(failures.record(), 1);
    }

    #[test]
    fn cancelled_tasks_are_removed_when_they_are_many_and_half() {
        assert!(!should_remove_cancelled(1023, 1023));
        assert!(!should_remove_cancelled(1024, 3000));
        assert!(should_remove_cancelled(1024, 2048));
    }
}
