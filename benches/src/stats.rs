//! What to make of a row of figures.

use serde::Serialize;

/// The middle and the spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
    /// How many figures.
    pub(crate) rounds: usize,
}

impl Summary {
    /// `None`: no figure at all.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| -> Option<f64> {
            let place = part * sorted.len().checked_sub(1)? as f64;
            let (low, high) = (
                sorted.get(place.floor() as usize)?,
                sorted.get(place.ceil() as usize)?,
            );
            Some(low + (high - low) * place.fract())
        };
        Some(Summary {
            median: at(0.5)?,
            p10: at(0.1)?,
            p90: at(0.9)?,
            rounds: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(Summary::of([]), None);
        let one = Summary {
            median: 7.0,
            p10: 7.0,
            p90: 7.0,
            rounds: 1,
        };
        assert_eq!(Summary::of([7.0]), Some(one));
        let summary = Summary::of((0..=10).rev().map(f64::from)).expect("figures");
        assert_eq!((summary.p10, summary.median, summary.p90), (1.0, 5.0, 9.0));
        assert_eq!(Summary::of([1.0, 2.0]).expect("figures").median, 1.5);
    }
}
