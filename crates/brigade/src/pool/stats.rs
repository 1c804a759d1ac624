//! What a pool has done.

use std::time::Duration;

use crate::{Cause, JoinError};

/// A pool's numbers at one moment. Those that count go up only; together they account for every
/// task: `submitted` is `queued + running + done + failed()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers that it should have.
    pub workers: usize,
    /// Worker processes that are stopped now: by a signal (SIGSTOP), or a debugger that came and
    /// left. Their tasks wait with them, unless they have a
    /// [`timeout`](crate::PoolBuilder::timeout) or are cancelled. Threads are stopped with the
    /// program only.
    pub stopped: usize,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that have not begun.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that returned.
    pub done: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks whose worker died, by what it died of.
    pub crashed: Vec<(Cause, u64)>,
    /// Tasks whose time was over.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks whose input or result could not be carried.
    pub undeliverable: u64,
    /// Tasks that the pool was shut down before, or that it could make no worker for.
    pub closed: u64,
    /// How often a task was run again.
    pub retried: u64,
    /// Workers that were gone before their time, for others to take their places: one for each task
    /// that crashed, whose time was over or that was run again, and the two below. (One that wrote
    /// over its mailbox may have taken several tasks along.) Not those that
    /// [`abort`](crate::Pool::abort) ended.
    pub restarts: u64,
    /// Of them, those that were ended because their task was cancelled.
    pub interrupted: u64,
    /// Of them, those that died with no task begun, or did not begin what they were given.
    pub died_idle: u64,
    /// Workers that never were ready: they could not be made, or their initializer failed.
    pub not_ready: u64,
    /// Workers that ended by themselves, between two tasks, and were replaced: by `recycle_after`
    /// and `recycle_above`, or because tasks had left them unfit for others (they closed their
    /// descriptors, left a thread behind that holds stdout, or more than 64 ended processes that
    /// nothing waits for).
    pub recycled: u64,
    /// Time that workers have had tasks, summed over all of them.
    pub busy: Duration,
    /// Bytes of encoded inputs that were carried to workers.
    pub bytes_in: u64,
    /// Bytes of encoded results that were carried back.
    pub bytes_out: u64,
    /// From a task's submission to its end.
    pub latencies: Latencies,
}

impl PoolStats {
    /// Tasks that ended otherwise than by returning.
    pub fn failed(&self) -> u64 {
        let crashed: u64 = self.crashed.iter().map(|(_, n)| n).sum();
        self.panicked + crashed + self.timed_out + self.cancelled + self.undeliverable + self.closed
    }

    /// Counts a task that has ended without a result.
    pub(super) fn count_failure(&mut self, why: &JoinError) {
        match why {
            JoinError::Panicked(_) => self.panicked += 1,
            JoinError::Crashed(crash) => self.count_crash(crash.cause()),
            JoinError::TimedOut(_) => self.timed_out += 1,
            JoinError::Cancelled => self.cancelled += 1,
            JoinError::Undeliverable(_) => self.undeliverable += 1,
            JoinError::Closed => self.closed += 1,
        }
    }

    fn count_crash(&mut self, cause: &Cause) {
        match self.crashed.iter_mut().find(|(c, _)| c == cause) {
            Some((_, n)) => *n += 1,
            None => self.crashed.push((cause.clone(), 1)),
        }
    }
}

/// How many tasks took how long: a histogram, four steps to each doubling from 1 ns on, so that
/// what it says is right to within 19 %.
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: Box<[u64; STEPS]>,
    count: u64,
    longest: Duration,
}

/// Four for each power of two of nanoseconds.
pub(super) const STEPS: usize = 64 * 4;

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            counts: Box::new([0; STEPS]),
            count: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Latencies {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that this part of them, 0.0 to 1.0, took at the most: 0.5 is the median. `None`:
    /// there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = (part.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper(step).min(self.longest));
            }
        }
        Some(self.longest)
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.record_many(time, 1);
    }

    pub(crate) fn record_many(&mut self, time: Duration, count: u64) {
        if count > 0 {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.add_step(step(nanos), count, time);
        }
    }

    /// So many of one step; none of them was longer than `longest`.
    pub(super) fn add_step(&mut self, step: usize, count: u64, longest: Duration) {
        self.counts[step] += count;
        self.count += count;
        self.longest = self.longest.max(longest);
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        for (into, from) in self.counts.iter_mut().zip(other.counts.iter()) {
            *into += from;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count)
            .field("median", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("longest", &self.longest)
            .finish()
    }
}

/// The step of a time in nanoseconds: its power of two, and the two bits after the highest.
pub(super) fn step(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    let quarter = if power < 2 {
        (nanos << (2 - power)) & 3
    } else {
        (nanos >> (power - 2)) & 3
    };
    power as usize * 4 + quarter as usize
}

/// The longest time of a step.
fn upper(step: usize) -> Duration {
    let (power, quarter) = ((step / 4) as u32, (step % 4) as u128);
    Duration::from_nanos(
        u64::try_from(((4 + quarter + 1) << power) / 4)
            .unwrap_or(u64::MAX)
            .saturating_sub(1)
            .max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_its_step() {
        for nanos in (0..5000).chain([u64::MAX, 1 << 40, (1 << 40) + 1]) {
            let top = upper(step(nanos)).as_nanos() as u64;
            assert!(top >= nanos.saturating_sub(1), "{nanos} {top}");
            assert!(
                top as f64 <= nanos.max(1) as f64 * 1.26 + 1.0,
                "{nanos} {top}"
            );
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut times = Latencies::default();
        assert_eq!(times.quantile(0.5), None);
        for n in 1..=1000_u64 {
            times.record(Duration::from_micros(n));
        }
        let median = times.quantile(0.5).expect("some").as_micros();
        assert!((500..=600).contains(&median), "{median}");
        assert_eq!(times.quantile(1.0), Some(Duration::from_millis(1)));
        assert_eq!(times.count(), 1000);
    }
}
