//! A handful of samples in three numbers that a busy machine does not spoil: the median and the
//! quartiles.

use serde::{Deserialize, Serialize};

use crate::fail::Failure;

/// What many samples come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The middle one: half are below, half above.
    pub(crate) median: f64,
    /// A quarter of the samples is below.
    pub(crate) lower: f64,
    /// A quarter of the samples is above.
    pub(crate) upper: f64,
    /// How many there were.
    pub(crate) samples: usize,
}

impl Summary {
    /// Of at least one sample, all of them numbers.
    pub(crate) fn of(samples: &[f64]) -> Result<Self, Failure> {
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite()) {
            return Err(Failure::new(format!(
                "no figure can be made of {} samples",
                samples.len()
            )));
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Ok(Self {
            median: at(&sorted, 0.5),
            lower: at(&sorted, 0.25),
            upper: at(&sorted, 0.75),
            samples: sorted.len(),
        })
    }

    /// A figure that was counted and not sampled.
    pub(crate) fn exact(value: f64) -> Self {
        Self {
            median: value,
            lower: value,
            upper: value,
            samples: 1,
        }
    }

    /// From "so much per message" to "messages per so much": the fast end becomes the high one.
    pub(crate) fn per(self, amount: f64) -> Self {
        Self {
            median: amount / self.median,
            lower: amount / self.upper,
            upper: amount / self.lower,
            samples: self.samples,
        }
    }

    /// Do the middle halves of the two have a value in common? Then a difference may be chance.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.lower <= other.upper && other.lower <= self.upper
    }
}

/// The value at a share of the sorted samples, between the two that are nearest (as numpy does it).
fn at(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[position.floor() as usize],
        sorted[position.ceil() as usize],
    );
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quartiles_do_not_depend_on_the_order() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            summary,
            Summary {
                median: 3.0,
                lower: 2.0,
                upper: 4.0,
                samples: 5
            }
        );
        let even = Summary::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((even.median, even.lower, even.upper), (2.5, 1.75, 3.25));
    }

    #[test]
    fn one_wild_sample_moves_nothing() {
        let calm = Summary::of(&[10.0, 11.0, 12.0, 13.0, 14.0]).unwrap();
        let wild = Summary::of(&[10.0, 11.0, 12.0, 13.0, 1e9]).unwrap();
        assert_eq!(calm.median, wild.median);
        assert_eq!(calm.upper, wild.upper);
    }

    #[test]
    fn a_single_sample_is_its_own_summary() {
        assert_eq!(Summary::of(&[7.0]).unwrap(), Summary::exact(7.0));
    }

    #[test]
    fn nothing_and_not_a_number_are_refused() {
        assert!(Summary::of(&[]).is_err());
        assert!(Summary::of(&[1.0, f64::NAN]).is_err());
        assert!(Summary::of(&[f64::INFINITY]).is_err());
    }

    #[test]
    fn a_rate_turns_the_quartiles_round() {
        let rate = Summary::of(&[1.0, 2.0, 4.0]).unwrap().per(8.0);
        assert_eq!(rate.median, 4.0);
        assert!(rate.lower < rate.median && rate.median < rate.upper);
    }

    #[test]
    fn ranges_overlap_or_do_not() {
        let low = Summary::of(&[1.0, 2.0, 3.0]).unwrap();
        let high = Summary::of(&[10.0, 11.0, 12.0]).unwrap();
        assert!(!low.overlaps(&high) && !high.overlaps(&low));
        let wide = Summary::of(&[2.0, 2.0, 20.0]).unwrap();
        assert!(low.overlaps(&wide) && wide.overlaps(&high));
    }
}
