//! Times, what is made of them, and numbers that only look accidental.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the clock that all processes share.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Of sorted nanoseconds.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<Duration> {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().map(Duration::from_nanos)
}

pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |t| {
        format!("{:.3} ms", t.as_secs_f64() * 1e3)
    })
}

/// Behind a goal of time: whether it was asked for.
pub(crate) fn if_asked(no_time_goal: bool) -> &'static str {
    if no_time_goal { ", not asked for" } else { "" }
}

/// Lets an instant come: there is nothing to wait for, and a sleep would be longer than that.
pub(crate) fn let_pass(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Numbers that are the same for the same seed (xorshift).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed | 1 << 63)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_times() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_nanos(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_nanos(198)));
        assert_eq!(percentile(&times, 100), Some(Duration::from_nanos(200)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let of = |seed| {
            let mut numbers = Numbers::new(seed);
            (0..100).map(|_| numbers.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!((0..10).all(|digit| of(1).contains(&digit)));
    }
}
