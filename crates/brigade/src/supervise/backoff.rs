//! How long a restart waits.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Twice as long each time, up to a most; of that, between half and all, by chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

/// The clock can say when that is over, and no caller waits for it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Backoff {
    /// The wait before the `n`th restart in a row; the first is 1. `chance` is any number.
    pub(super) fn delay(&self, n: u32, chance: u64) -> Duration {
        let factor = 1_u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor);
        let whole = whole.min(self.most).min(LONGEST);
        let half = whole / 2;
        let part = (chance % 1024) as u32;
        half + half / 1024 * part
    }
}

/// A number that cannot be foreseen: that of std's hash tables.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_most_and_is_spread() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            most: Duration::from_secs(3),
        };
        for (n, whole) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (6, 3000),
            (40, 3000),
            (u32::MAX, 3000),
        ] {
            let whole = Duration::from_millis(whole);
            assert_eq!(backoff.delay(n, 0), whole / 2);
            let longest = backoff.delay(n, 1023);
            assert!(longest > whole * 9 / 10 && longest <= whole, "{longest:?}");
        }
    }
}
