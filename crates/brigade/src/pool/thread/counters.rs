//! A pool's counters. Each thread counts for itself; a snapshot adds them up.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::locks::lock;
use crate::JoinError;
use crate::PoolStats;
use crate::pool::histogram::{BUCKETS, Latencies, bucket_of};
use crate::pool::policy::queue_and_retries::QueueLimit;

/// The counters of one thread. It alone writes them, so no addition has to be atomic.
pub(super) struct ThreadCounters {
    /// Tasks that the thread has begun.
    pub(super) begun: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) panicked: AtomicU64,
    /// The tasks in `begun` whose ends other threads count, or that were queued again. Written
    /// under the table's lock.
    pub(super) external: AtomicU64,
    /// Nanoseconds.
    pub(super) busy: AtomicU64,
    latencies: Box<[AtomicU64; BUCKETS]>,
    longest: AtomicU64,
}

/// Adds without a lock prefix, for a counter that one thread writes.
pub(super) fn add_unshared(to: &AtomicU64, n: u64) {
    to.store(to.load(Ordering::Relaxed) + n, Ordering::Release);
}

impl ThreadCounters {
    pub(super) fn new() -> ThreadCounters {
        ThreadCounters {
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            external: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            latencies: Box::new([const { AtomicU64::new(0) }; BUCKETS]),
            longest: AtomicU64::new(0),
        }
    }

    /// Records that `tasks` tasks took `nanos` nanoseconds each from their submission to their end.
    pub(super) fn record_latency(&self, nanos: u64, tasks: u64) {
        add_unshared(&self.latencies[bucket_of(nanos)], tasks);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.store(nanos, Ordering::Release);
        }
    }

    /// Adds the counters of a thread that counts no more.
    pub(super) fn merge(&self, other: &ThreadCounters) {
        let get = |from: &AtomicU64| from.load(Ordering::Acquire);
        for (to, from) in [
            (&self.begun, &other.begun),
            (&self.done, &other.done),
            (&self.panicked, &other.panicked),
            (&self.external, &other.external),
            (&self.busy, &other.busy),
        ]
        .into_iter()
        .chain(self.latencies.iter().zip(other.latencies.iter()))
        {
            add_unshared(to, get(from));
        }
        let longest = get(&self.longest).max(get(&other.longest));
        self.longest.store(longest, Ordering::Release);
    }

    fn add_to(&self, stats: &mut PoolStats) {
        stats.done += self.done.load(Ordering::Acquire);
        stats.panicked += self.panicked.load(Ordering::Acquire);
        stats.busy += Duration::from_nanos(self.busy.load(Ordering::Acquire));
        let longest = Duration::from_nanos(self.longest.load(Ordering::Acquire));
        for (bucket, count) in self.latencies.iter().enumerate() {
            stats
                .latencies
                .add_bucket(bucket, count.load(Ordering::Acquire), longest);
        }
    }
}

/// What is counted of tasks that end without a thread of the pool.
pub(super) struct PoolCounters {
    /// A task is counted here before its end is counted, so a snapshot reads this after the ends.
    pub(super) submitted: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) interrupted: AtomicU64,
    pub(super) not_ready: AtomicU64,
    pub(super) recycled: AtomicU64,
    latencies: Mutex<Latencies>,
}

impl PoolCounters {
    pub(super) fn new() -> PoolCounters {
        PoolCounters {
            submitted: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            not_ready: AtomicU64::new(0),
            recycled: AtomicU64::new(0),
            latencies: Mutex::new(Latencies::default()),
        }
    }

    /// `tasks` tasks ended like this without running to their end.
    pub(super) fn count_ended(&self, how: &JoinError, nanos: u64, tasks: u64) {
        // Before its end is counted: a thread that has seen all ends sees all times.
        self.record_latency(nanos, tasks);
        self.count(how, tasks);
    }

    pub(super) fn count(&self, how: &JoinError, tasks: u64) {
        let count = match how {
            JoinError::TimedOut(_) => &self.timed_out,
            JoinError::Closed => &self.closed,
            JoinError::Panicked(_) => &self.panicked,
            _ => &self.cancelled,
        };
        count.fetch_add(tasks, Ordering::AcqRel);
    }

    /// Records that `tasks` tasks took `nanos` nanoseconds each from their submission to their end.
    pub(super) fn record_latency(&self, nanos: u64, tasks: u64) {
        lock(&self.latencies).record_many(Duration::from_nanos(nanos), tasks);
    }
}

/// Adds up the counters of the threads that are there and of those that were. The caller holds the
/// table's lock, so that no thread comes, goes or is abandoned meanwhile.
///
/// Tasks go on while one counter is read after the other. So the counters of tasks that have left
/// the queue are read first, and then how many were submitted. What is more than there is room for
/// in the queue (`limit`) came in between, and is left out.
pub(super) fn snapshot<'a>(
    workers: usize,
    limit: QueueLimit,
    counters: &PoolCounters,
    live: impl Iterator<Item = &'a ThreadCounters>,
    past: &ThreadCounters,
) -> PoolStats {
    let mut stats = PoolStats {
        workers,
        ..PoolStats::default()
    };
    past.add_to(&mut stats);
    for thread in live {
        let before = stats.done + stats.panicked;
        thread.add_to(&mut stats);
        let external = thread.external.load(Ordering::Acquire);
        let ended = stats.done + stats.panicked - before + external;
        // The thread may have ended some since its ends were read, but it runs only one at a time.
        let begun = thread.begun.load(Ordering::Acquire);
        stats.running += begun.saturating_sub(ended).min(1);
    }
    stats.timed_out = counters.timed_out.load(Ordering::Acquire);
    stats.cancelled = counters.cancelled.load(Ordering::Acquire);
    stats.closed = counters.closed.load(Ordering::Acquire);
    stats.panicked += counters.panicked.load(Ordering::Acquire);
    stats.latencies.add(&lock(&counters.latencies));
    stats.retried = counters.retried.load(Ordering::Acquire);
    let out = stats.running + stats.done + stats.failed();
    let submitted = counters.submitted.load(Ordering::Acquire);
    // A task that is queued again goes in whether there is room or not.
    let room = (limit.get()).map_or(u64::MAX, |limit| limit as u64 + stats.retried);
    stats.queued = submitted.saturating_sub(out).min(room);
    stats.submitted = out + stats.queued;
    stats.restarts = counters.restarts.load(Ordering::Acquire);
    stats.interrupted = counters.interrupted.load(Ordering::Acquire);
    stats.not_ready = counters.not_ready.load(Ordering::Acquire);
    stats.recycled = counters.recycled.load(Ordering::Acquire);
    stats
}
