//! Whether a textbook's claim holds here: decided from the figures, by these rules.
//!
//! **A claim of size** ("a process costs more than a thread") is put to the test under one or more
//! *conditions* (heap sizes, mechanisms …), each with the figure that should be larger and the one
//! that should be smaller.
//! - Under one condition it *holds* if the ratio of the medians is at least 1.25 and the middle
//!   halves of the two sets of samples have no value in common.
//! - It *holds* if it holds under all conditions, it *does not hold here* if it holds under none,
//!   and otherwise it *depends*, on what the conditions differ in.
//!
//! **A claim of fact** ("a thread takes the program with it") is a list of expectations, each seen
//! or not.
//! - It *holds* if all were seen, *does not hold here* if none was, and otherwise it *depends*.

use serde::{Deserialize, Serialize};

use super::format::ratio as ratio_text;
use super::stats::Summary;

/// From this ratio on a difference is called one. Below it, placement and noise decide.
pub(crate) const THRESHOLD: f64 = 1.25;

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Holds,
    DoesNotHold,
    Depends,
}

/// What became of a claim, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// What it depends on, if it does.
    pub(crate) on: Option<String>,
    /// The figures behind it: `4.2 ×`, `5 of 6 as the claim says`.
    pub(crate) evidence: String,
}

impl Verdict {
    /// As it is printed.
    pub(crate) fn text(&self) -> String {
        match self.outcome {
            Outcome::Holds => format!("holds ({})", self.evidence),
            Outcome::DoesNotHold => format!("does not hold here ({})", self.evidence),
            Outcome::Depends => {
                let on = self.on.as_deref().unwrap_or("the circumstances");
                format!("depends, on {on} ({})", self.evidence)
            }
        }
    }
}

/// One test of a claim of size.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) name: String,
    /// What the claim says is the larger.
    pub(crate) larger: Summary,
    /// What the claim says is the smaller.
    pub(crate) smaller: Summary,
}

impl Condition {
    pub(crate) fn new(name: impl Into<String>, larger: Summary, smaller: Summary) -> Self {
        Self {
            name: name.into(),
            larger,
            smaller,
        }
    }

    fn is_large_enough(&self) -> bool {
        ratio(self.larger, self.smaller).is_some_and(|ratio| ratio >= THRESHOLD)
    }

    fn holds(&self) -> bool {
        self.is_large_enough() && !self.larger.overlaps(&self.smaller)
    }

    fn evidence(&self) -> String {
        let text = ratio_text(ratio(self.larger, self.smaller));
        // Otherwise a reader would wonder what is wrong with such a ratio.
        if self.is_large_enough() && !self.holds() {
            format!("{text}, lost in the noise")
        } else {
            text
        }
    }
}

/// The ratio of two medians. `None` for nothing against nothing; infinite for something against
/// nothing.
pub(crate) fn ratio(larger: Summary, smaller: Summary) -> Option<f64> {
    if larger.median == 0.0 && smaller.median == 0.0 {
        None
    } else {
        Some(larger.median / smaller.median)
    }
}

/// The verdict on a claim of size. `on`: what the conditions differ in.
pub(crate) fn of_size(conditions: &[Condition], on: &str) -> Verdict {
    let outcome = outcome(
        conditions
            .iter()
            .filter(|condition| condition.holds())
            .count(),
        conditions.len(),
    );
    let evidence = match conditions {
        [only] => only.evidence(),
        many => {
            let each: Vec<String> = many
                .iter()
                .map(|condition| format!("{} {}", condition.name, condition.evidence()))
                .collect();
            each.join(", ")
        }
    };
    Verdict {
        outcome,
        on: on_if_depends(outcome, on),
        evidence,
    }
}

/// The verdict on a claim of fact: how many of the expectations were seen.
pub(crate) fn of_facts(expectations: &[bool], on: &str) -> Verdict {
    let seen = expectations.iter().filter(|seen| **seen).count();
    let outcome = outcome(seen, expectations.len());
    Verdict {
        outcome,
        on: on_if_depends(outcome, on),
        evidence: format!("{seen} of {} as the claim says", expectations.len()),
    }
}

fn outcome(holding: usize, of: usize) -> Outcome {
    match holding {
        0 => Outcome::DoesNotHold,
        some if some == of => Outcome::Holds,
        _ => Outcome::Depends,
    }
}

fn on_if_depends(outcome: Outcome, on: &str) -> Option<String> {
    (outcome == Outcome::Depends).then(|| on.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(value: f64, spread: f64) -> Summary {
        Summary {
            median: value,
            lower: value - spread,
            upper: value + spread,
            samples: 9,
        }
    }

    #[test]
    fn one_condition_holds_by_ratio_and_clear_of_noise() {
        let clear = of_size(
            &[Condition::new("", around(4.2, 0.1), around(1.0, 0.1))],
            "x",
        );
        assert_eq!(clear.text(), "holds (4.2 ×)");
        let small = of_size(
            &[Condition::new("", around(1.1, 0.01), around(1.0, 0.01))],
            "x",
        );
        assert_eq!(small.text(), "does not hold here (1.1 ×)");
        let noisy = of_size(
            &[Condition::new("", around(2.0, 1.5), around(1.0, 0.5))],
            "x",
        );
        assert_eq!(
            noisy.text(),
            "does not hold here (2.0 ×, lost in the noise)"
        );
    }

    #[test]
    fn the_threshold_itself_holds() {
        let just = of_size(
            &[Condition::new(
                "",
                Summary::exact(THRESHOLD),
                Summary::exact(1.0),
            )],
            "x",
        );
        assert_eq!(just.outcome, Outcome::Holds);
    }

    #[test]
    fn conditions_that_agree_are_told_each() {
        let conditions = [
            Condition::new("a", around(2.0, 0.0), around(1.0, 0.0)),
            Condition::new("b", around(15.0, 0.0), around(1.0, 0.0)),
        ];
        assert_eq!(of_size(&conditions, "x").text(), "holds (a 2.0 ×, b 15 ×)");
    }

    #[test]
    fn conditions_that_do_not_agree_say_on_what_it_depends() {
        let conditions = [
            Condition::new("pipe", around(70.0, 1.0), around(1.0, 0.0)),
            Condition::new("page", around(1.0, 0.0), around(1.0, 0.0)),
        ];
        assert_eq!(
            of_size(&conditions, "the mechanism").text(),
            "depends, on the mechanism (pipe 70 ×, page 1.0 ×)"
        );
    }

    #[test]
    fn something_against_nothing_holds_and_nothing_against_nothing_does_not() {
        let zero = Summary::exact(0.0);
        let some = of_size(&[Condition::new("", Summary::exact(2.0), zero)], "x");
        assert_eq!(some.text(), "holds (∞ ×)");
        let none = of_size(&[Condition::new("", zero, zero)], "x");
        assert_eq!(none.outcome, Outcome::DoesNotHold);
    }

    #[test]
    fn facts_are_counted() {
        assert_eq!(
            of_facts(&[true, true], "x").text(),
            "holds (2 of 2 as the claim says)"
        );
        assert_eq!(
            of_facts(&[false], "x").text(),
            "does not hold here (0 of 1 as the claim says)"
        );
        assert_eq!(
            of_facts(&[true, false, false], "what is tried").text(),
            "depends, on what is tried (1 of 3 as the claim says)"
        );
    }

    #[test]
    fn nothing_tested_holds_nothing() {
        assert_eq!(of_facts(&[], "x").outcome, Outcome::DoesNotHold);
        assert_eq!(of_size(&[], "x").outcome, Outcome::DoesNotHold);
    }
}
