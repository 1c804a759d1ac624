//! The table for people. It fits 100 columns whatever the cells say: long ones are broken into
//! lines.

use std::fmt::Write as _;

use super::format::{Unit, ratio};
use super::row::{Figure, Measured, Row, Value};
use super::verdict::Outcome;
use crate::machine::Machine;
use crate::terminal::{COLUMNS, Paint, pad, wrap};

const INDENT: usize = 4;
const LABEL: usize = 31;
const CELL: usize = 27;
const RATIO: usize = 8;
// Indent, four columns, and a space between each two.
const _: () = assert!(INDENT + LABEL + 1 + CELL + 1 + CELL + 1 + RATIO <= COLUMNS);

/// The whole table.
pub(crate) fn table(machine: &Machine, quick: bool, rows: &[Row], paint: Paint) -> String {
    let mut out = String::new();
    let line = |out: &mut String, text: &str| {
        let _ = writeln!(out, "{}", text.trim_end());
    };
    for text in head(machine, quick) {
        for part in wrap(&text, COLUMNS) {
            line(&mut out, &paint.dim(&part));
        }
    }
    line(&mut out, "");
    let cells = [
        pad("", INDENT + LABEL + 1),
        pad("thread", CELL + 1),
        pad("process", CELL + 1),
        "ratio".to_owned(),
    ];
    line(&mut out, &paint.bold(&cells.concat()));
    for row in rows {
        line(&mut out, &paint.dim(&"─".repeat(COLUMNS)));
        for text in block(row, paint) {
            line(&mut out, &text);
        }
    }
    out
}

fn head(machine: &Machine, quick: bool) -> Vec<String> {
    let cores = if machine.cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{} cores", machine.cores)
    };
    let mut what = vec![cores];
    what.extend(machine.processor.clone());
    what.push(format!("Linux {}", machine.kernel));
    what.extend(machine.memory.map(|bytes| Unit::Bytes.one(bytes as f64)));
    let mut lines = vec![
        what.join(", "),
        "Figures are medians, in brackets the lower and the upper quartile. The ratio is process by thread.".to_owned(),
    ];
    if quick {
        lines.push(
            "A quick look: few samples. Without --quick the figures are steadier.".to_owned(),
        );
    }
    // Half of the cores taken: one of two workers would have to share.
    if let Some(load) = machine
        .load
        .filter(|load| *load >= machine.cores as f64 / 2.0)
    {
        lines.push(format!(
            "The machine was busy before this began (load {load:.1}): the figures are unsteady."
        ));
    }
    if machine.build != "release" {
        lines.push(
            "This is a debug build: its figures say little about a release build.".to_owned(),
        );
    }
    lines
}

fn block(row: &Row, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.bold(&format!("{:>2}  {}", row.number, row.title))];
    paragraph(&mut lines, "Claim: ", row.claim, |text| text.to_owned());
    match &row.result {
        Ok(measured) => measured_lines(&mut lines, measured, paint),
        Err(reason) => paragraph(&mut lines, "Not measured: ", &reason.to_string(), |text| {
            paint.bad(text)
        }),
    }
    lines
}

fn measured_lines(lines: &mut Vec<String>, measured: &Measured, paint: Paint) {
    paragraph(lines, "Done: ", &measured.done, |text| paint.dim(text));
    for figure in &measured.figures {
        lines.extend(figure_lines(figure));
    }
    let verdict = |text: &str| match measured.verdict.outcome {
        Outcome::Holds => paint.good(text),
        Outcome::DoesNotHold => paint.bad(text),
        Outcome::Depends => paint.middling(text),
    };
    paragraph(lines, "Verdict: ", &measured.verdict.text(), verdict);
    for note in &measured.notes {
        paragraph(lines, "• ", note, |text| text.to_owned());
    }
}

/// A labelled paragraph, its further lines indented under its first word.
fn paragraph(lines: &mut Vec<String>, label: &str, text: &str, paint: impl Fn(&str) -> String) {
    let hang = label.chars().count();
    for (index, part) in wrap(text, COLUMNS - INDENT - hang).into_iter().enumerate() {
        let lead = if index == 0 {
            label.to_owned()
        } else {
            " ".repeat(hang)
        };
        lines.push(format!("{}{lead}{}", " ".repeat(INDENT), paint(&part)));
    }
}

fn figure_lines(figure: &Figure) -> Vec<String> {
    let cell = |value: &Value| match value {
        Value::Measured(summary) => figure.unit.summary(summary),
        Value::Fact { text, .. } => text.clone(),
        Value::Missing(reason) => format!("not measured: {reason}"),
        Value::None => "–".to_owned(),
    };
    let by = figure.ratio().map(|by| ratio(Some(by))).unwrap_or_default();
    let columns = [
        wrap(&figure.label, LABEL),
        wrap(&cell(&figure.thread), CELL),
        wrap(&cell(&figure.process), CELL),
        wrap(&by, RATIO),
    ];
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let part = |column: &Vec<String>, line: usize| column.get(line).cloned().unwrap_or_default();
    (0..height)
        .map(|line| {
            let [label, thread, process, by] =
                [0, 1, 2, 3].map(|index: usize| part(&columns[index], line));
            let cells = [
                pad(&label, LABEL),
                pad(&thread, CELL),
                pad(&process, CELL),
                by,
            ];
            format!("{}{}", " ".repeat(INDENT), cells.join(" "))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::EXPERIMENTS;
    use super::super::stats::Summary;
    use super::super::verdict::{self, Condition};
    use super::*;
    use crate::fail::Failure;

    const PLAIN: Paint = Paint { on: false };

    fn machine() -> Machine {
        Machine {
            cores: 2,
            processor: Some("A processor with a name that its maker found worth ninety columns or more, ® and ™ included @ 3 GHz".into()),
            kernel: "6.18.0-with-a-suffix".into(),
            memory: Some(24 << 30),
            load: Some(3.0),
            build: "debug",
        }
    }

    fn row(label: &str, thread: Value, process: Value, note: &str) -> Row {
        let verdict = verdict::of_size(
            &[Condition::new(
                label,
                Summary::exact(9.0),
                Summary::exact(2.0),
            )],
            label,
        );
        Row {
            number: 4,
            id: "sample",
            title: "A sample",
            claim: "A claim.",
            result: Ok(Measured {
                done: note.to_owned(),
                figures: vec![Figure::new(
                    "spawn",
                    label,
                    Unit::Nanoseconds,
                    thread,
                    process,
                )],
                verdict,
                notes: vec![note.to_owned()],
            }),
        }
    }

    pub(crate) fn sample_row() -> Row {
        let figure =
            |value: f64| Value::Measured(Summary::of(&[value, value * 1.1, value * 1.2]).unwrap());
        row(
            "spawn and join",
            figure(45_000.0),
            figure(190_000.0),
            "a thread, a process",
        )
    }

    pub(crate) fn failed_row() -> Row {
        Row {
            number: 12,
            id: "failed",
            result: Err(Failure::new("not here: ".repeat(40))),
            ..sample_row()
        }
    }

    fn assert_fits(table: &str) {
        for line in table.lines() {
            assert!(line.width() <= COLUMNS, "{} columns: {line}", line.width());
        }
    }

    #[test]
    fn every_experiment_fits_with_its_own_title_and_claim() {
        let rows: Vec<Row> = EXPERIMENTS
            .iter()
            .map(|experiment| Row {
                id: experiment.id,
                title: experiment.title,
                claim: experiment.claim,
                ..sample_row()
            })
            .collect();
        let text = table(&machine(), true, &rows, PLAIN);
        assert_fits(&text);
        for experiment in &EXPERIMENTS {
            assert!(text.contains(experiment.title), "{}", experiment.id);
        }
    }

    #[test]
    fn long_and_wide_text_fits_too() {
        let long = "ein sehr langer Text mit einemWortDasLängerIstAlsJedeSpalteUndDarumGebrochenWerdenMuss µ×∞ ";
        let wide = "共有メモリを使うスレッドとプロセスの比較".repeat(4);
        for text in [long.repeat(5), wide] {
            let rows = [row(
                &text,
                Value::Fact {
                    text: text.clone(),
                    data: None,
                },
                Value::Missing(Failure::new(text.clone())),
                &text,
            )];
            let text = table(&machine(), true, &rows, PLAIN);
            assert_fits(&text);
        }
    }

    #[test]
    fn figures_ratio_and_verdict_are_there() {
        let text = table(&machine(), false, &[sample_row()], PLAIN);
        assert!(text.contains("49.5 µs (47.2–51.8)"), "{text}");
        assert!(text.contains("4.2 ×"), "{text}");
        assert!(text.contains("Verdict: holds (4.5 ×)"), "{text}");
    }

    #[test]
    fn a_row_that_failed_says_why_within_the_width() {
        let text = table(&machine(), false, &[failed_row()], PLAIN);
        assert!(text.contains("Not measured: not here:"), "{text}");
        assert_fits(&text);
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let rows = [sample_row(), failed_row()];
        let plain = table(&machine(), true, &rows, PLAIN);
        let coloured = table(&machine(), true, &rows, Paint { on: true });
        assert!(coloured.contains("\x1b[32mholds"), "{coloured}");
        let mut stripped = coloured;
        for code in [
            "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m",
        ] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(stripped, plain);
    }
}
