//! One row of the table: what was measured, in a shape that the table, the JSON and the page print,
//! and that is read back from JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::format::Unit;
use super::stats::Summary;
use super::verdict::{Verdict, ratio};
use crate::fail::Failure;
use crate::machine::Machine;

/// A name or sentence: of this program, or of a file that is read.
pub(crate) type Text = Cow<'static, str>;

/// All that a run has found out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The version of the program that measured.
    pub(crate) program: Text,
    /// Seconds since 1970, when it began to measure; older files do not say.
    pub(crate) time: Option<u64>,
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// The figure of that name, if it was measured.
    pub(crate) fn figure(&self, row: &str, figure: &str) -> Option<&Figure> {
        let row = self.rows.iter().find(|one| one.id == row)?;
        row.result.as_ref().ok()?.figure(figure)
    }
}

/// One side of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A number with its spread.
    Measured(Summary),
    /// A finding that is no number. `data`: the same for programs to read.
    Fact {
        text: String,
        data: Option<serde_json::Value>,
    },
    /// The value could not be measured; why.
    Missing(Failure),
    /// There is no such thing for this kind.
    None,
}

impl Value {
    /// Yes or no, for people and programs.
    pub(crate) fn yes_no(yes: bool) -> Self {
        Self::Fact {
            text: if yes { "yes" } else { "no" }.to_owned(),
            data: Some(yes.into()),
        }
    }

    /// A summary, or the reason why there is none.
    pub(crate) fn from_result(result: Result<Summary, Failure>) -> Self {
        result.map_or_else(Self::Missing, Self::Measured)
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        match self {
            Self::Measured(summary) => Some(*summary),
            _ => None,
        }
    }

    /// The median in words, for a sentence.
    pub(crate) fn said(&self, unit: Unit) -> String {
        self.summary().map_or_else(
            || "(not measured)".to_owned(),
            |summary| unit.one(summary.median),
        )
    }
}

/// What a figure depends on, where it is one point of a line: the horizontal axis of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Axis {
    /// Bytes of the host's heap.
    Heap,
    /// Bytes of a message.
    Message,
    /// Bytes of a task's input.
    Input,
    /// Workers at once.
    Workers,
}

/// A place on such an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) axis: Axis,
    pub(crate) value: f64,
    /// The line that the point is of: what is the same in all its figures.
    pub(crate) line: Text,
}

/// One line of figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Stable name, for programs.
    pub(crate) id: Text,
    /// What it is, for people.
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) thread: Value,
    pub(crate) process: Value,
    /// In a process that is shut in by a sandbox; only where that was tried.
    pub(crate) sandbox: Option<Value>,
    pub(crate) at: Option<At>,
    /// Only for a chart and for programs: the table in the terminal leaves it out.
    pub(crate) detail: bool,
}

impl Figure {
    pub(crate) fn new(
        id: impl Into<Text>,
        label: impl Into<String>,
        unit: Unit,
        thread: Value,
        process: Value,
    ) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
            unit,
            thread,
            process,
            sandbox: None,
            at: None,
            detail: false,
        }
    }

    /// This figure, with its value in a process that is shut in.
    pub(crate) fn in_sandbox(self, value: Value) -> Self {
        Self {
            sandbox: Some(value),
            ..self
        }
    }

    /// This figure, as a point of a line.
    pub(crate) fn at(self, axis: Axis, value: f64, line: impl Into<Text>) -> Self {
        let line = line.into();
        Self {
            at: Some(At { axis, value, line }),
            ..self
        }
    }

    /// This figure, left out of the table in the terminal.
    pub(crate) fn detail(self) -> Self {
        Self {
            detail: true,
            ..self
        }
    }

    /// A line of findings.
    pub(crate) fn facts(
        id: impl Into<Text>,
        label: impl Into<String>,
        thread: Value,
        process: Value,
    ) -> Self {
        Self::new(id, label, Unit::Count, thread, process)
    }

    /// The process's figure by the thread's, where both are numbers.
    pub(crate) fn ratio(&self) -> Option<f64> {
        ratio(self.process.summary()?, self.thread.summary()?)
    }
}

/// What was found, seen from either kind of worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Views {
    pub(crate) thread: String,
    pub(crate) process: String,
}

impl Views {
    /// One sentence, for both kinds.
    pub(crate) fn of(say: impl Fn(fn(&Figure) -> &Value) -> String) -> Self {
        Self {
            thread: say(|figure| &figure.thread),
            process: say(|figure| &figure.process),
        }
    }
}

/// What an experiment brings home.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// What was done, in a sentence or two.
    pub(crate) done: String,
    pub(crate) figures: Vec<Figure>,
    /// What was found, in a sentence on each kind; older files have none.
    pub(crate) views: Option<Views>,
    pub(crate) verdict: Verdict,
    /// What a reader has to know to read the figures right.
    pub(crate) notes: Vec<String>,
}

impl Measured {
    /// The figure of that name.
    pub(crate) fn figure(&self, id: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.id == id)
    }
}

/// A row as it is printed: measured, or the reason why not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) number: usize,
    pub(crate) id: Text,
    pub(crate) title: Text,
    pub(crate) claim: Text,
    pub(crate) result: Result<Measured, Failure>,
}
