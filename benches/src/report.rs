//! How figures are told: as text, or as JSON.

use serde::Serialize;

use crate::rounds::Series;
use crate::stats::Summary;

/// What a row measures.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The row of the goals.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// What is Brigade's here.
    pub(crate) name: &'static str,
    pub(crate) ours: Summary,
    /// What our own figure is to be, if it is to be anything.
    pub(crate) goal: Option<Goal>,
    pub(crate) anchors: Vec<Anchor>,
    pub(crate) notes: Vec<String>,
}

/// What it is measured beside.
#[derive(Debug, Serialize)]
pub(crate) struct Anchor {
    pub(crate) name: &'static str,
    pub(crate) figure: Summary,
    /// Ours over this one's, round by round.
    pub(crate) ratio: Summary,
    /// What the ratio is to be, if it is to be anything.
    pub(crate) goal: Option<Goal>,
}

/// A goal for a median.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Goal::AtMost(limit) => figure <= limit,
            Goal::AtLeast(limit) => figure >= limit,
        }
    }

    fn told(self, figure: f64, unit: &str) -> String {
        let (sign, limit) = match self {
            Goal::AtMost(limit) => ("≤", limit),
            Goal::AtLeast(limit) => ("≥", limit),
        };
        format!(
            "goal {sign} {limit} {unit}: {}",
            if self.is_met(figure) { "met" } else { "MISSED" }
        )
    }
}

impl Row {
    /// A row from what was measured: ours is the first. `goals`: for the ratio to the anchor of
    /// that name.
    pub(crate) fn new(
        id: &'static str,
        what: &'static str,
        unit: &'static str,
        all: &[Series],
        goals: &[(&'static str, Goal)],
    ) -> Option<Row> {
        let (ours, others) = all.split_first()?;
        let anchor = |other: &Series| {
            let goal = goals
                .iter()
                .find(|(name, _)| *name == other.name)
                .map(|&(_, goal)| goal);
            Some(Anchor {
                name: other.name,
                figure: other.summary()?,
                ratio: ours.ratio_to(other)?,
                goal,
            })
        };
        debug_assert!(
            goals
                .iter()
                .all(|(name, _)| others.iter().any(|o| o.name == *name)),
            "each goal has its anchor"
        );
        let anchors = others.iter().map(anchor).collect::<Option<_>>()?;
        Some(Row {
            id,
            what,
            unit,
            name: ours.name,
            ours: ours.summary()?,
            goal: None,
            anchors,
            notes: Vec::new(),
        })
    }

    /// With a goal for our own figure.
    pub(crate) fn with_goal(mut self, goal: Goal) -> Row {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Row {
        self.notes.extend(notes);
        self
    }

    pub(crate) fn is_met(&self) -> bool {
        self.goal.is_none_or(|goal| goal.is_met(self.ours.median))
            && self
                .anchors
                .iter()
                .all(|a| a.goal.is_none_or(|goal| goal.is_met(a.ratio.median)))
    }

    pub(crate) fn print(&self) {
        match self.ours.rounds {
            1 => println!("{}  {}", self.id, self.what),
            rounds => println!("{}  {} ({rounds} rounds)", self.id, self.what),
        }
        let goal = self.goal.map(|goal| goal.told(self.ours.median, self.unit));
        self.line(self.name, &self.ours, "", &goal.unwrap_or_default());
        for anchor in &self.anchors {
            let goal = anchor.goal.map(|goal| goal.told(anchor.ratio.median, "×"));
            let ratio = format!("{} ×", figure(anchor.ratio.median));
            self.line(
                anchor.name,
                &anchor.figure,
                &ratio,
                &goal.unwrap_or_default(),
            );
        }
        for note in &self.notes {
            println!("    {note}");
        }
        println!();
    }

    fn line(&self, name: &str, summary: &Summary, ratio: &str, goal: &str) {
        let spread = match summary.rounds {
            1 => String::new(),
            _ => format!("{} – {}", figure(summary.p10), figure(summary.p90)),
        };
        let line = format!(
            "    {name:<34}{:>9} {:<4}{spread:>17}{ratio:>10}   {goal}",
            figure(summary.median),
            self.unit
        );
        println!("{}", line.trim_end());
    }
}

/// Three digits that count, or whole.
pub(crate) fn figure(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        n if n < 1.0 => format!("{number:.3}"),
        n if n < 10.0 => format!("{number:.2}"),
        n if n < 100.0 => format!("{number:.1}"),
        n if n < 10_000.0 => format!("{number:.0}"),
        _ => {
            let digits = format!("{number:.0}");
            let (thousands, rest) = digits.split_at(digits.len() - 3);
            format!("{thousands},{rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (45.67, "45.7"),
            (1568.7, "1569"),
            (52_062.0, "52,062"),
        ] {
            assert_eq!(figure(number), text);
        }
    }

    #[test]
    fn a_goal_says_what_it_is() {
        assert_eq!(Goal::AtMost(1.3).told(1.2, "×"), "goal ≤ 1.3 ×: met");
        assert_eq!(
            Goal::AtLeast(1000.0).told(999.0, "workers"),
            "goal ≥ 1000 workers: MISSED"
        );
    }
}
