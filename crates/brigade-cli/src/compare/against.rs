//! What has changed since an older result, figure by figure.
//!
//! A change is *beyond the noise* by the rule of [`verdict`](super::verdict): the medians differ by
//! a quarter of the smaller at least, and the middle halves of the samples have no value in common.

use std::fmt::Write as _;

use super::format::{ratio, time};
use super::render::{self, cell};
use super::row::{Figure, Measured, Report, Row, Value};
use super::verdict::{self, THRESHOLD};
use crate::terminal::{COLUMNS, Paint, wrap};

/// The older result, by its name, and what is different.
#[derive(Debug)]
pub(super) struct Changes {
    /// What a reader has to know before the figures: another machine, another version.
    pub(super) remarks: Vec<String>,
    pub(super) rows: Vec<RowChange>,
}

#[derive(Debug)]
pub(super) struct RowChange {
    pub(super) number: usize,
    pub(super) title: String,
    /// Of the row as a whole: it was not measured then, or the verdict is another.
    pub(super) remarks: Vec<String>,
    pub(super) figures: Vec<FigureChange>,
}

#[derive(Debug)]
pub(super) struct FigureChange {
    pub(super) label: String,
    pub(super) thread: Option<Change>,
    pub(super) process: Option<Change>,
    pub(super) sandbox: Option<Change>,
}

/// Of one value.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) before: String,
    pub(super) after: String,
    /// The new median by the old one.
    pub(super) ratio: Option<f64>,
    pub(super) mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Equal, or within the noise.
    None,
    Higher,
    Lower,
    /// Another finding, or measured only once.
    Other,
}

impl Mark {
    /// A sign that needs no colour.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Higher => "▲",
            Self::Lower => "▼",
            Self::Other => "◆",
        }
    }
}

/// What the signs mean.
pub(super) const LEGEND: &str = "▲ higher and ▼ lower than before, beyond the noise: by a quarter at least, and the middle halves of the samples have no value in common. ◆ another finding. What has no sign may be noise.";

/// `name`: of the file of the older one.
pub(super) fn compare(name: &str, before: &Report, after: &Report) -> Changes {
    let rows = after.rows.iter().map(|row| {
        let old = before.rows.iter().find(|old| old.id == row.id);
        row_change(old, row)
    });
    let gone = before.rows.iter().filter(|old| {
        let is_same = |row: &Row| row.id == old.id;
        !after.rows.iter().any(is_same)
    });
    let mut remarks = remarks(name, before, after);
    let gone: Vec<&str> = gone.map(|row| &*row.title).collect();
    if !gone.is_empty() {
        remarks.push(format!("Only in {name}: {}.", gone.join(", ")));
    }
    Changes {
        remarks,
        rows: rows.collect(),
    }
}

fn remarks(name: &str, before: &Report, after: &Report) -> Vec<String> {
    let when = |report: &Report| {
        report.time.map_or_else(
            || "at a time it does not tell".to_owned(),
            |at| format!("on {}", time(at)),
        )
    };
    let mut remarks = vec![format!("Compared with {name}, measured {}.", when(before))];
    let [old, new] = [before, after].map(render::machine_line);
    if old != new {
        remarks.push(format!(
            "Another machine: it was {old}, and is {new}. Differences may be the machine's."
        ));
    }
    if before.program != after.program {
        remarks.push(format!(
            "Another version: it was brigade {}, and is {}.",
            before.program, after.program
        ));
    }
    if before.machine.build != after.machine.build {
        remarks.push(format!(
            "Another build: it was {}, and is {}. Their figures cannot be compared.",
            before.machine.build, after.machine.build
        ));
    }
    for (when, report) in [("Then", before), ("Now", after)] {
        let load = report.machine.load.filter(|_| render::is_busy(report));
        remarks.extend(load.map(|load| format!("{when} the machine was busy (load {load:.1}).")));
    }
    if before.quick != after.quick {
        remarks.push("One of the two was a quick look, with fewer samples.".to_owned());
    }
    remarks
}

fn row_change(before: Option<&Row>, after: &Row) -> RowChange {
    let mut change = RowChange {
        number: after.number,
        title: after.title.to_string(),
        remarks: Vec::new(),
        figures: Vec::new(),
    };
    let old = before.map(|row| row.result.as_ref());
    match (old, &after.result) {
        (Some(Ok(old)), Ok(new)) => {
            if old.verdict.outcome != new.verdict.outcome {
                let [old, new] = [old, new].map(|one| one.verdict.text());
                let remark = format!(
                    "{} The verdict was: {old}; and is: {new}.",
                    Mark::Other.sign()
                );
                change.remarks.push(remark);
            }
            change.figures = figures(old, new);
        }
        (None, Ok(_)) => change.remarks.push("Not in the older result.".to_owned()),
        (Some(Err(why)), Ok(_)) => change
            .remarks
            .push(format!("It was not measured then: {why}")),
        (_, Err(why)) => change.remarks.push(format!("Not measured now: {why}")),
    }
    change
}

fn figures(before: &Measured, after: &Measured) -> Vec<FigureChange> {
    let changes = after.figures.iter().filter_map(|new| {
        let old = before.figure(&new.id)?;
        let change = FigureChange {
            label: new.label.clone(),
            thread: value(new, &old.thread, &new.thread),
            process: value(new, &old.process, &new.process),
            sandbox: match (&old.sandbox, &new.sandbox) {
                (Some(before), Some(after)) => value(new, before, after),
                _ => None,
            },
        };
        (!new.detail || change.is_marked()).then_some(change)
    });
    changes.collect()
}

impl FigureChange {
    pub(super) fn sides(&self) -> [Option<&Change>; 3] {
        [&self.thread, &self.process, &self.sandbox].map(Option::as_ref)
    }

    fn is_marked(&self) -> bool {
        let mut sides = self.sides().into_iter().flatten();
        sides.any(|change| change.mark != Mark::None)
    }
}

fn value(figure: &Figure, before: &Value, after: &Value) -> Option<Change> {
    let unit = figure.unit;
    let medians = [before, after].map(|value| value.summary());
    let (ratio, mark) = match (medians, before, after) {
        (_, Value::None, Value::None) => return None,
        ([Some(old), Some(new)], ..) => {
            let ratio = verdict::ratio(new, old);
            let is_clear = !old.overlaps(&new);
            let mark = match ratio {
                Some(ratio) if is_clear && ratio >= THRESHOLD => Mark::Higher,
                Some(ratio) if is_clear && ratio <= 1.0 / THRESHOLD => Mark::Lower,
                _ => Mark::None,
            };
            (ratio, mark)
        }
        (
            _,
            Value::Fact {
                data: old,
                text: said,
            },
            Value::Fact {
                data: new,
                text: says,
            },
        ) => {
            // The data decide where there are some: words may have been mended.
            let is_same = if old.is_some() {
                old == new
            } else {
                said == says
            };
            (None, if is_same { Mark::None } else { Mark::Other })
        }
        _ => (None, Mark::Other),
    };
    let said = |value: &Value| match value {
        Value::Measured(summary) => unit.one(summary.median),
        other => cell(unit, other),
    };
    Some(Change {
        before: said(before),
        after: said(after),
        ratio,
        mark,
    })
}

impl Change {
    /// `439 µs → 380 µs, 0.9 ×`.
    fn text(&self) -> String {
        let parts = [self.values(), self.note()];
        let parts: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(if self.ratio.is_some() { ", " } else { " " })
    }

    /// `439 µs → 380 µs`; an unchanged finding once.
    pub(super) fn values(&self) -> String {
        if self.ratio.is_none() && self.mark == Mark::None {
            self.after.clone()
        } else {
            format!("{} → {}", self.before, self.after)
        }
    }

    /// `1.5 × ▲`: how much, and whether beyond the noise.
    pub(super) fn note(&self) -> String {
        let by = self.ratio.map_or_else(String::new, |by| ratio(Some(by)));
        format!("{by} {}", self.mark.sign()).trim().to_owned()
    }
}

/// For the terminal.
pub(super) fn table(changes: &Changes, paint: Paint) -> String {
    let mut lines = Vec::new();
    for remark in changes.remarks.iter().map(String::as_str).chain([LEGEND]) {
        lines.extend(wrap(remark, COLUMNS));
    }
    for row in &changes.rows {
        lines.push(paint.dim(&"─".repeat(COLUMNS)));
        lines.push(paint.bold(&format!("{:>2}  {}", row.number, row.title)));
        let has_sandbox = row.figures.iter().any(|figure| figure.sandbox.is_some());
        for remark in &row.remarks {
            lines.extend(render::indented(remark));
        }
        if !row.figures.is_empty() {
            let heads = ["", "in a thread", "in a process", "in a sandbox"].map(str::to_owned);
            let heads = render::beside(heads, has_sandbox);
            lines.extend(heads.map(|line| paint.bold(&line)));
        }
        for figure in &row.figures {
            let [thread, process, sandbox] = figure
                .sides()
                .map(|change| change.map_or_else(String::new, Change::text));
            let cells = [figure.label.clone(), thread, process, sandbox];
            let is_marked = figure.is_marked();
            let painted = |line: String| if is_marked { paint.bold(&line) } else { line };
            lines.extend(render::beside(cells, has_sandbox).map(painted));
        }
    }
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::format::Unit;
    use super::super::render::tests::{failed_row, sample, sample_row};
    use super::super::stats::Summary;
    use super::*;

    fn around(value: f64, spread: f64) -> Value {
        Value::Measured(Summary {
            median: value,
            lower: value - spread,
            upper: value + spread,
            samples: 9,
        })
    }

    fn changed(before: Value, after: Value) -> (Mark, String) {
        let figure = Figure::new("x", "x", Unit::Nanoseconds, Value::None, Value::None);
        let change = value(&figure, &before, &after).unwrap();
        (change.mark, change.text())
    }

    #[test]
    fn only_what_is_beyond_the_noise_is_marked() {
        let (mark, text) = changed(around(400.0, 9.0), around(600.0, 9.0));
        assert_eq!((mark, &*text), (Mark::Higher, "400 ns → 600 ns, 1.5 × ▲"));
        assert_eq!(
            changed(around(600.0, 9.0), around(400.0, 9.0)).0,
            Mark::Lower
        );
        // Too little, and too unsteady.
        let (mark, text) = changed(around(400.0, 1.0), around(440.0, 1.0));
        assert_eq!((mark, &*text), (Mark::None, "400 ns → 440 ns, 1.1 ×"));
        assert_eq!(
            changed(around(400.0, 300.0), around(800.0, 300.0)).0,
            Mark::None
        );
        assert_eq!(changed(around(0.0, 0.0), around(0.0, 0.0)).0, Mark::None);
        assert_eq!(changed(around(0.0, 0.0), around(5.0, 0.0)).0, Mark::Higher);
    }

    #[test]
    fn another_finding_is_marked_and_the_same_is_not() {
        let (mark, text) = changed(Value::yes_no(true), Value::yes_no(false));
        assert_eq!((mark, &*text), (Mark::Other, "yes → no ◆"));
        let (mark, text) = changed(Value::yes_no(true), Value::yes_no(true));
        assert_eq!((mark, &*text), (Mark::None, "yes"));
        assert_eq!(changed(around(1.0, 0.0), Value::None).0, Mark::Other);
    }

    #[test]
    fn another_machine_and_another_version_are_said() {
        let before = sample(&[sample_row(), failed_row()]);
        let same = compare("old.json", &before, &before);
        let said = same.remarks.join("\n");
        assert!(
            !said.contains("Another") && said.contains("the machine was busy"),
            "{said}"
        );
        let text = table(&same, Paint { on: false });
        assert_eq!(text.matches("in a thread").count(), 1, "{text}");
        let [head] = text
            .lines()
            .filter(|line| line.contains("in a thread"))
            .collect::<Vec<_>>()[..]
        else {
            panic!("{text}");
        };
        assert!(head.ends_with("in a process"), "{text}");
        let mut after = sample(&[sample_row()]);
        after.machine.cores = 64;
        after.program = "9.9.9".into();
        after.machine.build = "release".into();
        after.quick = false;
        let said = compare("old.json", &before, &after).remarks.join("\n");
        for words in [
            "Another machine: it was 2 cores",
            "and is 64 cores",
            "it was brigade 0.1.0, and is 9.9.9",
            "Another build",
            "quick look",
            "Only in old.json: A sample.",
        ] {
            assert!(said.contains(words), "no `{words}` in {said}");
        }
    }

    #[test]
    fn rows_that_came_and_went_say_so_and_all_fits() {
        let before = sample(&[failed_row()]);
        let mut now = failed_row();
        now.result = sample_row().result;
        let after = sample(&[now, sample_row()]);
        let text = table(&compare("old.json", &before, &after), Paint { on: false });
        assert!(
            text.contains("It was not measured then: not here"),
            "{text}"
        );
        assert!(text.contains("Not in the older result."), "{text}");
        for line in text.lines() {
            assert!(line.width() <= COLUMNS, "{line}");
        }
    }
}
