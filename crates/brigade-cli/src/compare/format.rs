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
    /// How many times as much.
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
        match self.parts(summary) {
            (middle, None) => middle,
            (middle, Some(spread)) => format!("{middle} ({spread})"),
        }
    }

    /// The median, and the quartiles where they say anything: `4.21 µs` and `4.10–4.55`.
    pub(crate) fn parts(self, summary: &Summary) -> (String, Option<String>) {
        // Of a median of 0 the spread says what unit fits.
        let (size, name) = match summary.median {
            0.0 => self.step(summary.upper),
            median => self.step(median),
        };
        let [lower, upper] = [summary.lower, summary.upper].map(|value| digits(value / size));
        let middle = join(&digits(summary.median / size), name);
        if summary.samples < 2 || (lower == upper && lower == digits(summary.median / size)) {
            (middle, None)
        } else {
            (middle, Some(format!("{lower}–{upper}")))
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

/// `29 November 2026, 10:31 UTC`, of seconds since 1970.
pub(crate) fn time(seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in eras of 400 years, which are all of one length; a year
    // that begins in March has its leap day at its end. (H. Hinnant, "chrono-Compatible Low-Level
    // Date Algorithms", civil_from_days.)
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 2, 0)
    } else {
        (month - 10, 1)
    };
    let name = MONTHS.get(month as usize).copied().unwrap_or("?");
    format!(
        "{day} {name} {}, {:02}:{:02} UTC",
        era * 400 + year + next,
        rest / 3_600,
        rest / 60 % 60
    )
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
    fn times_are_dates() {
        assert_eq!(time(0), "1 January 1970, 00:00 UTC");
        assert_eq!(time(951_782_400 + 3_661), "29 February 2000, 01:01 UTC");
        assert_eq!(time(1_796_083_199), "30 November 2026, 23:59 UTC");
        assert_eq!(time(4_107_542_400), "1 March 2100, 00:00 UTC");
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
