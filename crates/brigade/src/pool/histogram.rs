//! How long tasks took, counted in buckets.

use std::time::Duration;

/// How many tasks took how long: a histogram with four buckets for each doubling from 1 ns on, so
/// that what it says is right to within 19 %.
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    longest: Duration,
}

/// Four for each power of two of nanoseconds.
pub(super) const BUCKETS: usize = 64 * 4;

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            counts: Box::new([0; BUCKETS]),
            count: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Latencies {
    /// How many tasks were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest time.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The longest time that this part of the tasks took, from 0.0 to 1.0: 0.5 is the median.
    /// `None`: no task was recorded.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = (part.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(bucket_upper_bound(bucket).min(self.longest));
            }
        }
        Some(self.longest)
    }

    /// How many took less than this power of two of nanoseconds.
    pub(super) fn count_below(&self, power: u32) -> u64 {
        self.counts.iter().take(power as usize * 4).sum()
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.record_many(time, 1);
    }

    pub(crate) fn record_many(&mut self, time: Duration, count: u64) {
        if count > 0 {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.add_bucket(bucket_of(nanos), count, time);
        }
    }

    /// Adds `count` times of one bucket, none of which is longer than `longest`.
    pub(super) fn add_bucket(&mut self, bucket: usize, count: u64, longest: Duration) {
        self.counts[bucket] += count;
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

/// The bucket of a time in nanoseconds: its power of two, and the two bits after the highest.
pub(super) fn bucket_of(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    let quarter = if power < 2 {
        (nanos << (2 - power)) & 3
    } else {
        (nanos >> (power - 2)) & 3
    };
    power as usize * 4 + quarter as usize
}

/// The longest time of a bucket.
fn bucket_upper_bound(bucket: usize) -> Duration {
    let (power, quarter) = ((bucket / 4) as u32, (bucket % 4) as u128);
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
            let top = bucket_upper_bound(bucket_of(nanos)).as_nanos() as u64;
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
