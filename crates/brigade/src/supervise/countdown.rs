//! A limit of time in which only time counts that the program could use.
//!
//! The clock goes on while the program is stopped (SIGSTOP, a frozen control group), and nothing
//! tells it of that. A limit is counted in quarters: one that the supervisor wakes up for much too
//! late was lost to all, and is given back.

use std::time::{Duration, Instant};

const QUARTERS: u32 = 4;
/// On a busy machine a wake-up may be this late, and the quarter that it ends counts all the same.
const USUAL: Duration = Duration::from_millis(50);
/// How many quarters are given back: on a machine that is always late a limit still ends.
const GIVEN_BACK: u32 = 16;

#[derive(Clone, Debug)]
pub(super) struct Countdown {
    limit: Duration,
    left: u32,
    given_back: u32,
    /// The end of this quarter. `None`: so late that the clock cannot say it.
    due: Option<Instant>,
}

impl Countdown {
    pub(super) fn new(limit: Duration, now: Instant) -> Countdown {
        Countdown {
            limit,
            left: QUARTERS,
            given_back: 0,
            due: now.checked_add(limit / QUARTERS),
        }
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the limit is over.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let Some(due) = self.due.filter(|&due| due <= now) else {
            return false;
        };
        let quarter = self.limit / QUARTERS;
        if now - due > quarter.max(USUAL) && self.given_back < GIVEN_BACK {
            self.given_back += 1;
        } else {
            self.left -= 1;
        }
        self.due = now.checked_add(quarter);
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    fn after(mut countdown: Countdown, from: Instant, seconds: &[f64]) -> bool {
        let mut over = false;
        for &at in seconds {
            over = countdown.is_over(from + Duration::from_secs_f64(at));
        }
        over
    }

    #[test]
    fn it_is_over_after_its_limit() {
        let now = Instant::now();
        let countdown = Countdown::new(LIMIT, now);
        assert!(!after(countdown.clone(), now, &[1.0, 2.0, 3.0, 3.9]));
        assert!(after(countdown.clone(), now, &[1.0, 2.01, 3.02, 4.03]));
        // Looked at in between, for other reasons.
        assert!(!after(countdown.clone(), now, &[0.1, 0.2, 0.3, 0.4, 0.5]));
        assert!(!after(countdown, now, &[]));
    }

    #[test]
    fn time_in_which_the_program_was_stopped_does_not_count() {
        let now = Instant::now();
        let countdown = Countdown::new(LIMIT, now);
        assert!(!after(countdown.clone(), now, &[1.0, 2.0, 100.0, 101.0]));
        assert!(after(countdown, now, &[1.0, 2.0, 100.0, 101.0, 102.0]));
    }

    #[test]
    fn one_that_is_always_late_ends() {
        let now = Instant::now();
        let mut countdown = Countdown::new(LIMIT, now);
        let looks = (1..100_u32).find(|&n| countdown.is_over(now + LIMIT * n));
        assert_eq!(looks, Some(GIVEN_BACK + QUARTERS));
    }

    #[test]
    fn none_at_all_and_for_ever() {
        let now = Instant::now();
        let mut none = Countdown::new(Duration::ZERO, now);
        assert!((0..4).any(|_| none.is_over(now)));
        let mut ever = Countdown::new(Duration::MAX, now);
        assert!(!ever.is_over(now + Duration::from_secs(1 << 32)));
    }
}
