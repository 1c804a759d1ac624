//! What tasks do: nothing, or work of a known length.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A task that does nothing.
pub(crate) fn nothing((): ()) {}

/// A task that gives back what it was given.
pub(crate) fn same<T>(value: T) -> T {
    value
}

/// A small value that is no plain number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fields {
    number: u64,
    share: f64,
    is_last: bool,
}

impl Fields {
    pub(crate) fn some() -> Fields {
        Fields {
            number: 1 << 40,
            share: 0.5,
            is_last: true,
        }
    }
}

/// A task that takes so many steps, each of which has to wait for the one before.
///
/// Work and not time: one that looks at a clock would be done as soon while somebody else has its
/// processor.
pub(crate) fn steps(count: u32) {
    let mut state = black_box(1_u64);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

/// How many steps take so long on a processor that does nothing else.
pub(crate) fn lasting(time: Duration) -> u32 {
    const SAMPLE: u32 = 50_000;
    static LENGTH: OnceLock<f64> = OnceLock::new();
    let step = LENGTH.get_or_init(|| {
        let once = || {
            let start = Instant::now();
            steps(SAMPLE);
            start.elapsed().as_secs_f64()
        };
        // The fastest is the one that nobody disturbed.
        (0..100).map(|_| once()).fold(f64::INFINITY, f64::min) / f64::from(SAMPLE)
    });
    (time.as_secs_f64() / step).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_is_more_steps() {
        let (short, long) = (
            lasting(Duration::from_micros(10)),
            lasting(Duration::from_millis(1)),
        );
        assert!(
            short > 0 && long.abs_diff(100 * short) < short,
            "{short} {long}"
        );
        assert_eq!(lasting(Duration::ZERO), 0);
    }
}
