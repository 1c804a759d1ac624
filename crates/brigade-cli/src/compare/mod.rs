//! The textbooks' table of processes and threads, each row an experiment that runs now, on this
//! machine.
//!
//! The contract of an [`Experiment`]: it says the claim, does what it says it does, and gives
//! figures for both kinds and a verdict by the rules of [`verdict`]; or it gives the reason why it
//! could not. It waits for nothing without a deadline, leaves nothing behind, and works through the
//! library: what a task does here, a user's task can do.
//!
//! What implements it: a file each, in the order of [`EXPERIMENTS`].

mod advice;
mod against;
mod channels;
mod communication;
mod concurrency;
mod crash;
mod creation;
mod format;
mod isolation;
mod json;
mod memory;
mod page;
mod pooled;
mod progress;
mod render;
mod resources;
mod row;
mod stats;
mod switching;
mod synchronisation;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::CompareArgs;
use crate::exit;
use crate::fail::{Failure, OrFail as _};
use crate::machine::Machine;
use crate::terminal::{self, Color};
use progress::Progress;
use row::{Figure, Measured, Report, Row};

/// One row of the table, before it is measured.
#[derive(Debug)]
pub(crate) struct Experiment {
    /// The row's name for `--only` and in the JSON.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What the textbooks say.
    pub(crate) claim: &'static str,
    /// Rows whose figures it works with. They are measured before, shown or not.
    needs: &'static [&'static str],
    run: fn(&Context<'_>) -> Result<Measured, Failure>,
}

/// All of them, in the order of the table.
pub(crate) static EXPERIMENTS: [Experiment; 10] = [
    memory::EXPERIMENT,
    creation::EXPERIMENT,
    resources::EXPERIMENT,
    switching::EXPERIMENT,
    communication::EXPERIMENT,
    synchronisation::EXPERIMENT,
    crash::EXPERIMENT,
    concurrency::EXPERIMENT,
    isolation::EXPERIMENT,
    advice::EXPERIMENT,
];

/// What an experiment is given.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Fewer samples, for a first look.
    pub(crate) quick: bool,
    earlier: &'a [Row],
}

impl Context<'_> {
    /// The number for this kind of run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A figure of a row that was measured before.
    pub(crate) fn figure(&self, row: &str, figure: &str) -> Result<&Figure, Failure> {
        let found = self.earlier.iter().find(|earlier| earlier.id == row);
        let found = found.ok_or_else(|| Failure::new(format!("the row {row} was not measured")))?;
        let measured = found
            .result
            .as_ref()
            .map_err(|reason| Failure::new(format!("the row {row}: {reason}")))?;
        measured
            .figure(figure)
            .ok_or_else(|| Failure::new(format!("the row {row} has no figure {figure}")))
    }
}

/// `brigade compare`.
pub(crate) fn run(args: &CompareArgs) -> ExitCode {
    match show(args) {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            eprintln!("brigade: {reason}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Measures or reads, and prints.
fn show(args: &CompareArgs) -> Result<u8, Failure> {
    // Files first: to measure takes a minute, and to find a mistake none.
    let mut before = args.against.as_deref().map(read).transpose()?;
    if let Some(before) = &mut before {
        before.rows.retain(|row| is_wanted(args, &row.id));
    }
    if let Some(file) = &args.html {
        try_to_write(file)?;
    }
    let (report, code) = match &args.from {
        Some(file) => {
            let mut report = read(file)?;
            report.rows.retain(|row| is_wanted(args, &row.id));
            (report, exit::DONE)
        }
        None => {
            let report = measured_now(args);
            let code = code(&report.rows);
            (report, code)
        }
    };
    let changes = args.against.as_ref().zip(before.as_ref());
    let changes = changes
        .map(|(file, before)| against::compare(&file.display().to_string(), before, &report));
    if let Some(file) = &args.html {
        let page = page::page(&report, changes.as_ref());
        std::fs::write(file, page).or_fail(&format!("writing {}", file.display()))?;
    }
    let paint = args.color.unwrap_or(Color::Auto).decide();
    let text = match &changes {
        _ if args.json => json::write(&report),
        Some(changes) => against::table(changes, paint),
        None => render::table(&report, paint),
    };
    terminal::print(&text).or_fail("writing the table")?;
    Ok(code)
}

fn read(file: &Path) -> Result<Report, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).or_fail(&name)?;
    json::read(&name, &text)
}

/// Finds out whether the page can be written, and leaves what is there as it is.
fn try_to_write(file: &Path) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).open(file);
    opened
        .map(drop)
        .or_fail(&format!("writing {}", file.display()))
}

fn is_wanted(args: &CompareArgs, id: &str) -> bool {
    args.only.is_empty() || args.only.iter().any(|only| only == id)
}

fn measured_now(args: &CompareArgs) -> Report {
    let wanted: Vec<&'static Experiment> = EXPERIMENTS
        .iter()
        .filter(|experiment| is_wanted(args, experiment.id))
        .collect();
    Report {
        program: env!("CARGO_PKG_VERSION").into(),
        time: now(),
        quick: args.quick,
        machine: Machine::look(),
        rows: measure(&wanted, args.quick),
    }
}

/// Seconds since 1970.
fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// 0, 1 or 3: see [`exit`].
fn code(rows: &[Row]) -> u8 {
    match rows.iter().filter(|row| row.result.is_ok()).count() {
        0 => exit::FAILED,
        all if all == rows.len() => exit::DONE,
        _ => exit::PARTLY,
    }
}

/// Measures what is wanted, and what that needs; gives what is wanted.
fn measure(wanted: &[&'static Experiment], quick: bool) -> Vec<Row> {
    let is_wanted = |experiment: &Experiment| wanted.iter().any(|one| one.id == experiment.id);
    let is_needed =
        |experiment: &Experiment| wanted.iter().any(|one| one.needs.contains(&experiment.id));
    let plan: Vec<_> = EXPERIMENTS
        .iter()
        .enumerate()
        .filter(|(_, one)| is_wanted(one) || is_needed(one))
        .collect();
    let progress = Progress::new(plan.len());
    let mut rows: Vec<Row> = Vec::with_capacity(plan.len());
    for (index, experiment) in plan {
        progress.begin(experiment.title);
        let context = Context {
            quick,
            earlier: &rows,
        };
        let result = guarded(experiment, &context);
        progress.end();
        rows.push(Row {
            number: index + 1,
            id: experiment.id.into(),
            title: experiment.title.into(),
            claim: experiment.claim.into(),
            result,
        });
    }
    progress.clear();
    rows.retain(|row| wanted.iter().any(|one| row.id == one.id));
    rows
}

/// A mistake in one experiment costs that row and no other.
fn guarded(experiment: &Experiment, context: &Context<'_>) -> Result<Measured, Failure> {
    catch_unwind(AssertUnwindSafe(|| (experiment.run)(context))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::new(format!(
            "the experiment itself panicked: {text}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_needs_come_first() {
        for (index, experiment) in EXPERIMENTS.iter().enumerate() {
            let before = &EXPERIMENTS[..index];
            assert!(
                before.iter().all(|other| other.id != experiment.id),
                "{} twice",
                experiment.id
            );
            for need in experiment.needs {
                assert!(
                    before.iter().any(|other| other.id == *need),
                    "{} needs {need}",
                    experiment.id
                );
            }
        }
    }

    #[test]
    fn a_row_that_fails_or_panics_gives_its_reason() {
        let failing = Experiment {
            id: "x",
            title: "x",
            claim: "x",
            needs: &[],
            run: |_| Err(Failure::new("no such thing")),
        };
        let context = Context {
            quick: true,
            earlier: &[],
        };
        assert_eq!(
            guarded(&failing, &context).unwrap_err().to_string(),
            "no such thing"
        );
        let panicking = Experiment {
            run: |_| panic!("on purpose"),
            ..failing
        };
        assert!(
            guarded(&panicking, &context)
                .unwrap_err()
                .to_string()
                .contains("on purpose")
        );
    }

    #[test]
    fn exit_codes_say_how_much_was_measured() {
        let bad = render::tests::failed_row();
        let good = render::tests::sample_row();
        assert_eq!(code(&[good.clone(), good.clone()]), exit::DONE);
        assert_eq!(code(&[good, bad.clone()]), exit::PARTLY);
        assert_eq!(code(&[bad]), exit::FAILED);
    }

    #[test]
    fn figures_of_earlier_rows_are_found_or_missed_by_name() {
        let rows = [render::tests::sample_row(), render::tests::failed_row()];
        let context = Context {
            quick: true,
            earlier: &rows,
        };
        assert!(context.figure("sample", "spawn").is_ok());
        assert!(context.figure("sample", "none").is_err());
        assert!(
            context
                .figure("failed", "spawn")
                .unwrap_err()
                .to_string()
                .contains("not here")
        );
        assert!(context.figure("absent", "spawn").is_err());
    }
}
