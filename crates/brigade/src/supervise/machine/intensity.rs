//! How often a supervisor restarts before it gives up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Intensity {
    most: u32,
    period: Duration,
    /// When restarts were, within the period. No more than one above the most.
    restarts: VecDeque<Instant>,
}

impl Intensity {
    pub(super) fn new(most: u32, period: Duration) -> Intensity {
        Intensity {
            most,
            period,
            restarts: VecDeque::new(),
        }
    }

    /// One more restart. Whether it is allowed.
    pub(super) fn allows_another(&mut self, now: Instant) -> bool {
        let period = self.period;
        self.restarts
            .retain(|&at| now.saturating_duration_since(at) <= period);
        self.restarts.push_back(now);
        self.restarts.len() <= self.most as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_most_within_the_period() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut two_in_five = Intensity::new(2, 5 * second);
        assert!(two_in_five.allows_another(now));
        assert!(two_in_five.allows_another(now + second));
        // The first one is out of the window, the second is not.
        assert!(two_in_five.allows_another(now + 6 * second));
        assert!(!two_in_five.allows_another(now + 6 * second));
        assert!(!Intensity::new(0, second).allows_another(now));
    }
}
