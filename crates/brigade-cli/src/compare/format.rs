//! Figures in words: three significant digits and a unit that fits.

use serde::{Deserialize, Serialize};

use super::stats::Summary;

/// What a figure is a figure of. The JSON carries the value in exactly this unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    BytesPerSecond,
    PerSecond,
    Count,
    /// A share of one: 0.25 is 25 %.
    Share,
    /// So many times.
    Times,
}

const TIMES: &[(f64, &str)] = &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
const BYTES: &[(f64, &str)] = &[
    (1_073_741_824.0, "GiB"),
    (1_048_576.0, "MiB"),
    (1024.0, "KiB"),
    (1.0, "B"),
];
const RATES: &[(f64, &str)] = &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")];
const FREQUENCIES: &[(f64, &str)] = &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")];
const PLAIN: &[(f64, &str)] = &[(1.0, "")];
const SHARES: &[(f64, &str)] = &[(0.01, "%")];
const FACTORS: &[(f64, &str)] = &[(1.0, "×")];

impl Unit {
    /// The step of the unit's ladder in which this value is best read.
    fn step(self, value: f64) -> (f64, &'static str) {
        let ladder = match self {
            Self::Nanoseconds => TIMES,
            Self::Bytes => BYTES,
            Self::BytesPerSecond => RATES,
            Self::PerSecond => FREQUENCIES,
            Self::Count => PLAIN,
            Self::Share => SHARES,
            Self::Times => FACTORS,
        };
        // What rounds up to the next step is on it: 1.00 ms rather than 1000 µs.
        let fits = ladder
            .iter()
            .find(|(size, _)| value.abs() >= *size * 0.9995);
        fits.or(ladder.last()).copied().unwrap_or((1.0, ""))
    }

    /// One value: `4.21 µs`.
    pub(crate) fn one(self, value: f64) -> String {
        let (size, name) = self.step(value);
        join(&digits(value / size), name)
    }

    /// The median, and in brackets the quartiles in the same unit: `4.21 µs (4.10–4.55)`.
    pub(crate) fn summary(self, summary: &Summary) -> String {
        let (size, _) = self.step(summary.median);
        let [lower, upper] = [summary.lower, summary.upper].map(|value| digits(value / size));
        let middle = self.one(summary.median);
        if summary.samples < 2 || (lower == upper && lower == digits(summary.median / size)) {
            middle
        } else {
            format!("{middle} ({lower}–{upper})")
        }
    }
}

fn join(number: &str, unit: &str) -> String {
    if unit.is_empty() {
        number.to_owned()
    } else {
        format!("{number} {unit}")
    }
}

/// Three significant digits, and a whole number without a point.
fn digits(value: f64) -> String {
    let size = value.abs();
    if (value - value.round()).abs() < 1e-9 || size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `4.2 ×`; two digits are enough to judge by.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "equal".to_owned(),
        Some(0.0) => "0 ×".to_owned(),
        Some(ratio) if ratio.is_infinite() => "∞ ×".to_owned(),
        Some(ratio) if ratio >= 9.95 => format!("{ratio:.0} ×"),
        Some(ratio) if ratio >= 0.095 => format!("{ratio:.1} ×"),
        Some(ratio) => format!("{ratio:.3} ×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_find_their_unit() {
        assert_eq!(Unit::Nanoseconds.one(0.5), "0.50 ns");
        assert_eq!(Unit::Nanoseconds.one(999.0), "999 ns");
        assert_eq!(Unit::Nanoseconds.one(999_700.0), "1.00 ms");
        assert_eq!(Unit::Nanoseconds.one(4_213.0), "4.21 µs");
        assert_eq!(Unit::Nanoseconds.one(12_345_678.0), "12.3 ms");
        assert_eq!(Unit::Bytes.one(0.0), "0 B");
        assert_eq!(Unit::Bytes.one(310.0 * 1024.0), "310 KiB");
        assert_eq!(Unit::BytesPerSecond.one(3.2e9), "3.20 GB/s");
        assert_eq!(Unit::PerSecond.one(412_300.0), "412 k/s");
        assert_eq!(Unit::PerSecond.one(1.5), "1.50 /s");
        assert_eq!(Unit::Count.one(2.0), "2");
        assert_eq!(Unit::Count.one(2.5), "2.50");
        assert_eq!(Unit::Share.one(0.253), "25.3 %");
        assert_eq!(Unit::Times.one(1.96), "1.96 ×");
    }

    #[test]
    fn the_spread_is_in_the_unit_of_the_median() {
        let summary = Summary {
            median: 1_100.0,
            lower: 900.0,
            upper: 1_300.0,
            samples: 9,
        };
        assert_eq!(Unit::Nanoseconds.summary(&summary), "1.10 µs (0.90–1.30)");
        assert_eq!(
            Unit::Nanoseconds.summary(&Summary::exact(1_100.0)),
            "1.10 µs"
        );
    }

    #[test]
    fn ratios_have_two_digits() {
        assert_eq!(ratio(Some(4.23)), "4.2 ×");
        assert_eq!(ratio(Some(42.3)), "42 ×");
        assert_eq!(ratio(Some(0.01)), "0.010 ×");
        assert_eq!(ratio(Some(0.0)), "0 ×");
        assert_eq!(ratio(None), "equal");
    }
}
