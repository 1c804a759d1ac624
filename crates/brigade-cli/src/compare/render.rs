//! The table for people. It fits 100 columns whatever the cells say: long ones are broken into
//! lines.

use std::fmt::Write as _;

use super::format::{Unit, ratio};
use super::row::{Figure, Measured, Report, Row, Value};
use super::verdict::Outcome;
use crate::terminal::{COLUMNS, Paint, pad, wrap};

const INDENT: usize = 4;
const LABEL: usize = 31;
const CELL: usize = 27;
const RATIO: usize = 8;
// Indent, four columns, and a space between each two.
const _: () = assert!(INDENT + LABEL + 1 + CELL + 1 + CELL + 1 + RATIO <= COLUMNS);
/// The columns of a row that was also tried in a sandbox: label and cells.
const THREE: (usize, usize) = (27, 21);
/// A cell where there is no column for the ratio.
const TWO: usize = 31;
const _: () = assert!(INDENT + LABEL + 2 * (1 + TWO) <= COLUMNS);
const _: () = assert!(INDENT + THREE.0 + 3 * (1 + THREE.1) <= COLUMNS);

/// The whole table.
pub(crate) fn table(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    let line = |out: &mut String, text: &str| {
        let _ = writeln!(out, "{}", text.trim_end());
    };
    for text in head(report) {
        for part in wrap(&text, COLUMNS) {
            line(&mut out, &paint.dim(&part));
        }
    }
    line(&mut out, "");
    let cells = [
        pad("", INDENT + LABEL + 1),
        pad("in a thread", CELL + 1),
        pad("in a process", CELL + 1),
        "ratio".to_owned(),
    ];
    line(&mut out, &paint.bold(&cells.concat()));
    for row in &report.rows {
        line(&mut out, &paint.dim(&"─".repeat(COLUMNS)));
        for text in block(row, paint) {
            line(&mut out, &text);
        }
    }
    out
}

/// The machine, and what a reader has to know to read the figures right.
fn head(report: &Report) -> Vec<String> {
    let mut lines = vec![
        machine_line(report),
        "Figures are medians, in brackets the lower and the upper quartile. The ratio is process by thread.".to_owned(),
    ];
    lines.extend(warnings(report));
    lines
}

/// Why the figures may be worth less than others.
pub(crate) fn warnings(report: &Report) -> Vec<String> {
    let machine = &report.machine;
    let mut lines = Vec::new();
    if report.quick {
        lines.push(
            "A quick look: few samples. Without --quick the figures are steadier.".to_owned(),
        );
    }
    if let Some(load) = machine.load.filter(|_| is_busy(report)) {
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

/// Half of the cores taken: one of two workers would have to share.
pub(crate) fn is_busy(report: &Report) -> bool {
    let machine = &report.machine;
    machine
        .load
        .is_some_and(|load| load >= machine.cores as f64 / 2.0)
}

/// `2 cores, AMD EPYC, Linux 6.18, 23.5 GiB`.
pub(crate) fn machine_line(report: &Report) -> String {
    let machine = &report.machine;
    let cores = if machine.cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{} cores", machine.cores)
    };
    let mut what = vec![cores];
    what.extend(machine.processor.clone());
    what.push(format!("Linux {}", machine.kernel));
    what.extend(machine.memory.map(|bytes| Unit::Bytes.one(bytes as f64)));
    what.join(", ")
}

fn block(row: &Row, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.bold(&format!("{:>2}  {}", row.number, row.title))];
    paragraph(&mut lines, "Claim: ", &row.claim, |text| text.to_owned());
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
    let shown = || measured.figures.iter().filter(|figure| !figure.detail);
    if shown().any(|figure| figure.sandbox.is_some()) {
        let heads = ["", "in a thread", "in a process", "in a sandbox"];
        let heads = beside(heads.map(str::to_owned), true);
        lines.extend(heads.map(|line| paint.bold(&line)));
        lines.extend(shown().flat_map(three_lines));
    } else {
        lines.extend(shown().flat_map(figure_lines));
    }
    if let Some(views) = &measured.views {
        let plain = |text: &str| text.to_owned();
        paragraph(lines, "The thread's view: ", &views.thread, plain);
        paragraph(lines, "The process's view: ", &views.process, plain);
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

fn figure_lines(figure: &Figure) -> impl Iterator<Item = String> + use<> {
    let by = figure.ratio().map(|by| ratio(Some(by))).unwrap_or_default();
    let cells = [
        figure.label.clone(),
        cell(figure.unit, &figure.thread),
        cell(figure.unit, &figure.process),
        by,
    ];
    columns(cells, [LABEL, CELL, CELL, RATIO])
}

/// As the function above with a column for the sandbox and none for the ratio.
fn three_lines(figure: &Figure) -> impl Iterator<Item = String> + use<> {
    let sandbox = figure.sandbox.as_ref().unwrap_or(&Value::None);
    let cells = [&figure.thread, &figure.process, sandbox].map(|side| cell(figure.unit, side));
    let [thread, process, sandbox] = cells;
    beside([figure.label.clone(), thread, process, sandbox], true)
}

/// A label and cells beside each other: two, or three with that of the sandbox.
pub(crate) fn beside(
    cells: [String; 4],
    with_sandbox: bool,
) -> impl Iterator<Item = String> + use<> {
    let (label, three) = THREE;
    let [first, thread, process, sandbox] = cells;
    if with_sandbox {
        columns(
            [first, thread, process, sandbox],
            [label, three, three, three],
        )
    } else {
        columns(
            [first, thread, process, String::new()],
            [LABEL, TWO, TWO, 0],
        )
    }
}

/// A paragraph under a row.
pub(crate) fn indented(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    paragraph(&mut lines, "", text, |text| text.to_owned());
    lines
}

/// What a table says of a value.
pub(crate) fn cell(unit: Unit, value: &Value) -> String {
    match value {
        Value::Measured(summary) => unit.summary(summary),
        Value::Fact { text, .. } => text.clone(),
        Value::Missing(reason) => format!("not measured: {reason}"),
        Value::None => "–".to_owned(),
    }
}

/// Cells beside each other, each broken into lines of its width.
fn columns(cells: [String; 4], widths: [usize; 4]) -> impl Iterator<Item = String> + use<> {
    let cells: Vec<Vec<String>> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrap(cell, width))
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    (0..height).map(move |line| {
        let parts = cells.iter().zip(widths).map(|(cell, width)| {
            let part = cell.get(line).map_or("", String::as_str);
            pad(part, width)
        });
        let parts: Vec<String> = parts.collect();
        format!("{}{}", " ".repeat(INDENT), parts.join(" "))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::EXPERIMENTS;
    use super::super::row::Views;
    use super::super::stats::Summary;
    use super::super::verdict::{self, Condition};
    use super::*;
    use crate::fail::Failure;
    use crate::machine::Machine;

    const PLAIN: Paint = Paint { on: false };

    fn machine() -> Machine {
        Machine {
            cores: 2,
            processor: Some("A processor with a name that its maker found worth ninety columns or more, ® and ™ included @ 3 GHz".into()),
            kernel: "6.18.0-with-a-suffix".into(),
            memory: Some(24 << 30),
            load: Some(3.0),
            build: "debug".into(),
        }
    }

    /// A quick report with these rows, on a machine of its own.
    pub(crate) fn sample(rows: &[Row]) -> Report {
        Report {
            program: "0.1.0".into(),
            time: Some(1_796_000_000),
            quick: true,
            machine: machine(),
            rows: rows.to_vec(),
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
            id: "sample".into(),
            title: "A sample".into(),
            claim: "A claim.".into(),
            result: Ok(Measured {
                done: note.to_owned(),
                figures: vec![Figure::new(
                    "spawn",
                    label,
                    Unit::Nanoseconds,
                    thread,
                    process,
                )],
                views: Some(Views {
                    thread: note.to_owned(),
                    process: note.to_owned(),
                }),
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
            id: "failed".into(),
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
                id: experiment.id.into(),
                title: experiment.title.into(),
                claim: experiment.claim.into(),
                ..sample_row()
            })
            .collect();
        let text = table(&sample(&rows), PLAIN);
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
            let text = table(&sample(&rows), PLAIN);
            assert_fits(&text);
        }
    }

    #[test]
    fn figures_ratio_and_verdict_are_there() {
        let text = table(&sample(&[sample_row()]), PLAIN);
        assert!(text.contains("49.5 µs (47.2–51.8)"), "{text}");
        assert!(text.contains("4.2 ×"), "{text}");
        assert!(text.contains("Verdict: holds (4.5 ×)"), "{text}");
    }

    #[test]
    fn a_row_that_failed_says_why_within_the_width() {
        let text = table(&sample(&[failed_row()]), PLAIN);
        assert!(text.contains("Not measured: not here:"), "{text}");
        assert_fits(&text);
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let rows = [sample_row(), failed_row()];
        let plain = table(&sample(&rows), PLAIN);
        let coloured = table(&sample(&rows), Paint { on: true });
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
