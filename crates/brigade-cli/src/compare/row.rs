//! One row of the table: what was measured, in a shape that the table and the JSON both print.

use super::format::Unit;
use super::stats::Summary;
use super::verdict::{Verdict, ratio};
use crate::fail::Failure;

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
    /// It could not be measured; why.
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
}

/// One line of figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Stable name, for programs.
    pub(crate) id: &'static str,
    /// What it is, for people.
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) thread: Value,
    pub(crate) process: Value,
}

impl Figure {
    pub(crate) fn new(
        id: &'static str,
        label: impl Into<String>,
        unit: Unit,
        thread: Value,
        process: Value,
    ) -> Self {
        Self {
            id,
            label: label.into(),
            unit,
            thread,
            process,
        }
    }

    /// A line of findings.
    pub(crate) fn facts(
        id: &'static str,
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

/// What an experiment brings home.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// What was done, in a sentence or two.
    pub(crate) done: String,
    pub(crate) figures: Vec<Figure>,
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
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) claim: &'static str,
    pub(crate) result: Result<Measured, Failure>,
}
