//! The report for people: it fits 100 columns.

use std::fmt::Write as _;

use super::{Finding, Status};
use crate::machine::Machine;
use crate::terminal::{COLUMNS, Paint, pad, wrap};

const NAME: usize = 24;
const STATUS: usize = 7;
const TEXT: usize = COLUMNS - NAME - STATUS;

/// The whole report.
pub(super) fn report(machine: &Machine, findings: &[Finding], paint: Paint) -> String {
    let mut out = String::new();
    let title = format!(
        "Linux {}: what Brigade finds here, and what that means",
        machine.kernel
    );
    for line in wrap(&title, COLUMNS) {
        let _ = writeln!(out, "{}", paint.bold(&line));
    }
    let _ = writeln!(out);
    for finding in findings {
        entry(&mut out, finding, paint);
    }
    let lacking: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.is_lacking())
        .map(|finding| finding.name)
        .collect();
    let (text, good) = if lacking.is_empty() {
        ("Process workers can run here.".to_owned(), true)
    } else {
        (
            format!(
                "Process workers cannot run here, for want of: {}. Threads can.",
                lacking.join(", ")
            ),
            false,
        )
    };
    let _ = writeln!(out);
    for line in wrap(&text, COLUMNS) {
        let _ = writeln!(
            out,
            "{}",
            if good {
                paint.good(&line)
            } else {
                paint.bad(&line)
            }
        );
    }
    out
}

fn entry(out: &mut String, finding: &Finding, paint: Paint) {
    let word = match finding.status {
        Status::Yes => "yes",
        Status::Partly => "partly",
        Status::No => "no",
    };
    let padded = pad(word, STATUS);
    let word = match finding.status {
        Status::Yes => paint.good(&padded),
        Status::Partly => paint.middling(&padded),
        Status::No => paint.bad(&padded),
    };
    let names = wrap(finding.name, NAME - 1);
    let texts = wrap(&finding.found, TEXT).into_iter().chain(
        wrap(&finding.means, TEXT)
            .into_iter()
            .map(|line| paint.dim(&line)),
    );
    let texts: Vec<String> = texts.collect();
    for line in 0..texts.len().max(names.len()) {
        let name = pad(names.get(line).map_or("", String::as_str), NAME);
        let status = if line == 0 {
            word.clone()
        } else {
            " ".repeat(STATUS)
        };
        let text = texts.get(line).map_or("", String::as_str);
        let _ = writeln!(
            out,
            "{}",
            format!("{}{status}{text}", paint.bold(&name)).trim_end()
        );
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn long_and_wide_text_fits_and_what_is_lacking_is_said() {
        let long = "a very long finding with aWordThatIsLongerThanAnyColumnOfThisReportCouldEverBeInAllOfTheTerminalsOfTheWorld 共有メモリ ".repeat(3);
        let findings = [
            Finding::new(
                "a",
                "something with a long name to it",
                Status::No,
                long.clone(),
                long,
            )
            .required(),
            Finding::new("b", "short", Status::Partly, "x", "y"),
        ];
        let text = report(&Machine::look(), &findings, Paint { on: false });
        for line in text.lines() {
            assert!(line.width() <= COLUMNS, "{line}");
        }
        assert!(
            text.contains("for want of: something with a long name to it"),
            "{text}"
        );
    }

    #[test]
    fn the_real_report_fits_too() {
        let text = report(
            &Machine::look(),
            &super::super::limits::look(),
            Paint { on: false },
        );
        for line in text.lines() {
            assert!(line.width() <= COLUMNS, "{line}");
        }
    }
}
