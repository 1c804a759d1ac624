//! How long tasks take, and how many of them make a given amount of work.
//!
//! There are three estimates, since three parts see a task's time from different places. The
//! dispatcher of a pool of processes ([`PrefetchEstimate`]) sees only when results arrive. A pool
//! of threads ([`SharedEstimate`]) learns of each task from the thread that ran it. A map over
//! threads keeps a [`TaskTime`] of its own, for its tasks are all of one function.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The mean time of a task. What was observed last counts most.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pool) struct TaskTime {
    nanos: f64,
}

impl TaskTime {
    pub(in crate::pool) fn from_nanos(nanos: f64) -> TaskTime {
        TaskTime { nanos }
    }

    pub(in crate::pool) fn nanos(self) -> f64 {
        self.nanos
    }

    /// The mean after an observation that counts for the part `weight`, from 0 to 1.
    pub(in crate::pool) fn observe(self, nanos: f64, weight: f64) -> TaskTime {
        TaskTime {
            nanos: self.nanos + (nanos - self.nanos) * weight,
        }
    }

    /// How many tasks take as long as `work`, within `limits`.
    pub(in crate::pool) fn tasks_in(self, work: Duration, limits: RangeInclusive<usize>) -> usize {
        let tasks = work.as_nanos() as f64 / self.nanos;
        tasks.clamp(*limits.start() as f64, *limits.end() as f64) as usize
    }
}

/// How much work a worker process has ahead of it: enough that the host need not be woken often,
/// which on few processors takes one from a worker; and so little that it is soon done.
const PREFETCH_TIME: Duration = Duration::from_millis(2);

/// How many tasks a worker process has at least and at most, the one that it runs included.
const PREFETCH: RangeInclusive<usize> = 2..=2048;

/// How many it has before the time of any task is known. With fewer, host and worker would wait for
/// each other; with more, a wrong guess would last long.
const FIRST_PREFETCH: usize = 4;

/// Tasks that take less than this each are *tiny*: a worker that sleeps is not woken for one of
/// them.
const TINY_NANOS: f64 = 5_000.0;

/// So much work is worth waking another worker for: about what it costs to sleep and to be woken.
pub(in crate::pool) const WORTH_WAKING: Duration = Duration::from_micros(50);

/// How long tasks take, as the host sees it from outside, and how many of them a worker process has
/// ahead. The mean goes down quickly and up slowly: a worker that has long finished seems slow to a
/// host that looks late.
#[derive(Debug, Default)]
pub(in crate::pool) struct PrefetchEstimate {
    mean: Option<TaskTime>,
}

impl PrefetchEstimate {
    /// A worker was seen to finish `tasks`, one after another, in `time`.
    pub(in crate::pool) fn record(&mut self, tasks: u32, time: Duration) {
        let each = time.as_nanos() as f64 / f64::from(tasks.max(1));
        let mean = match self.mean {
            None => TaskTime::from_nanos(each),
            Some(mean) if each < mean.nanos() => mean.observe(each, 0.5),
            Some(mean) => mean.observe(each, (f64::from(tasks) / 64.0).clamp(0.05, 0.5)),
        };
        self.mean = Some(TaskTime::from_nanos(mean.nanos().max(10.0)));
    }

    /// As [`record`](Self::record), where the time has more in it than the tasks.
    pub(in crate::pool) fn record_at_most(&mut self, tasks: u32, time: Duration) {
        let each = time.as_nanos() as f64 / f64::from(tasks.max(1));
        if self.mean.is_none_or(|mean| each < mean.nanos()) {
            self.record(tasks, time);
        }
    }

    /// How many tasks a worker has, the one that it runs included.
    pub(in crate::pool) fn prefetch_depth(&self) -> usize {
        self.mean.map_or(FIRST_PREFETCH, |mean| {
            mean.tasks_in(PREFETCH_TIME, PREFETCH)
        })
    }

    /// How many tasks are worth waking another worker for. `None`: each is.
    pub(in crate::pool) fn worth_waking(&self) -> Option<usize> {
        let tiny = self.mean.filter(|mean| mean.nanos() < TINY_NANOS)?;
        Some(tiny.tasks_in(WORTH_WAKING, PREFETCH))
    }

    /// How many finished tasks are worth a wake-up of the host: one, as long as no time is known.
    pub(in crate::pool) fn wake_batch(&self) -> u32 {
        self.mean
            .map_or(1, |_| (self.prefetch_depth() / 2).max(1) as u32)
    }
}

/// Tasks that take less than this are shorter than it takes to wake a thread.
const SHORT_NANOS: f64 = 20_000.0;

/// How long the tasks of a pool of threads take. Every thread records, and every thread reads. Two
/// that record at once may lose one observation. Until something is known tasks take no time.
#[derive(Debug, Default)]
pub(in crate::pool) struct SharedEstimate {
    /// The bits of an `f64`, in nanoseconds.
    mean: AtomicU64,
}

impl SharedEstimate {
    pub(in crate::pool) fn get(&self) -> TaskTime {
        TaskTime::from_nanos(f64::from_bits(self.mean.load(Ordering::Relaxed)))
    }

    /// Records that a task took `nanos` nanoseconds.
    pub(in crate::pool) fn record(&self, nanos: u64) {
        let before = self.get();
        let after = before.observe(nanos as f64, 1.0 / 8.0);
        // All threads read it, so it is written only where it says something new.
        if (before.nanos() - after.nanos()).abs() > before.nanos() / 16.0 {
            self.mean.store(after.nanos().to_bits(), Ordering::Relaxed);
        }
    }

    /// Whether a task is shorter than it takes to wake a thread.
    pub(in crate::pool) fn is_short(&self) -> bool {
        self.get().nanos() < SHORT_NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_moves_towards_what_is_observed() {
        let mean = TaskTime::from_nanos(100.0);
        assert_eq!(mean.observe(200.0, 0.25).nanos(), 125.0);
        assert_eq!(mean.observe(0.0, 1.0).nanos(), 0.0);
        assert_eq!(TaskTime::default().nanos(), 0.0);
    }

    #[test]
    fn work_is_a_number_of_tasks_within_limits() {
        let work = Duration::from_micros(200);
        let tasks = |nanos| TaskTime::from_nanos(nanos).tasks_in(work, 1..=512);
        assert_eq!(tasks(2_000.0), 100);
        assert_eq!(tasks(1e9), 1);
        assert_eq!(tasks(1.0), 512);
        assert_eq!(tasks(0.0), 512);
    }

    #[test]
    fn a_worker_process_has_two_milliseconds_of_tasks_ahead() {
        let mut estimate = PrefetchEstimate::default();
        assert_eq!((estimate.prefetch_depth(), estimate.wake_batch()), (4, 1));
        estimate.record(10, Duration::from_micros(100));
        assert_eq!(
            (estimate.prefetch_depth(), estimate.wake_batch()),
            (200, 100)
        );
        // Down quickly, up slowly.
        estimate.record(1, Duration::ZERO);
        assert_eq!(estimate.prefetch_depth(), 400);
        estimate.record(1, Duration::from_micros(25));
        assert_eq!(estimate.prefetch_depth(), 333);
        for _ in 0..200 {
            estimate.record(1, Duration::from_secs(1));
        }
        assert_eq!(estimate.prefetch_depth(), 2);
        for _ in 0..200 {
            estimate.record(1, Duration::ZERO);
        }
        assert_eq!(estimate.prefetch_depth(), 2048);
    }

    #[test]
    fn a_time_with_more_in_it_makes_no_task_longer() {
        let mut estimate = PrefetchEstimate::default();
        estimate.record_at_most(10, Duration::from_micros(100));
        assert_eq!(estimate.prefetch_depth(), 200);
        estimate.record_at_most(10, Duration::from_millis(100));
        assert_eq!(estimate.prefetch_depth(), 200);
        estimate.record_at_most(10, Duration::ZERO);
        assert_eq!(estimate.prefetch_depth(), 400);
    }

    #[test]
    fn only_tiny_tasks_are_gathered_until_they_are_worth_waking_a_worker() {
        let mut estimate = PrefetchEstimate::default();
        assert_eq!(estimate.worth_waking(), None);
        estimate.record(100, Duration::from_micros(100));
        assert_eq!(estimate.worth_waking(), Some(50));
        let mut estimate = PrefetchEstimate::default();
        estimate.record(1, Duration::from_micros(5));
        assert_eq!(estimate.worth_waking(), None);
    }

    #[test]
    fn threads_share_an_estimate() {
        let estimate = SharedEstimate::default();
        assert!(estimate.is_short());
        for _ in 0..100 {
            estimate.record(40_000);
        }
        assert!(!estimate.is_short());
        // It stops where an eighth of the difference is less than a sixteenth of it.
        let nanos = estimate.get().nanos();
        assert!((20_000.0..=40_000.0).contains(&nanos), "{nanos}");
        for _ in 0..100 {
            estimate.record(0);
        }
        assert!(estimate.is_short());
    }
}
