//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::helper::Helper;
use crate::terminal::Color;
use crate::{compare, doctor, exit, helper, inspect, top};

#[derive(Debug, Parser)]
#[command(name = "brigade", version, about = "Processes and threads compared on this machine", after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what the textbooks say of processes and threads, here and now
    #[command(after_help = exit::HELP)]
    Compare(CompareArgs),
    /// Show which of the kernel's means are there, and what that means for you
    #[command(after_help = exit::HELP)]
    Doctor(DoctorArgs),
    /// Draw a program: its processes, their threads, and what connects them
    #[command(after_help = exit::HELP)]
    Inspect(InspectArgs),
    /// Watch what the pools of a program do, which has called `brigade::publish()`
    #[command(after_help = exit::HELP)]
    Top(TopArgs),
    /// This program once more, for itself
    #[command(hide = true)]
    Helper(HelperArgs),
}

/// How to compare.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Fewer samples: under 15 seconds instead of under a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this row; may be given several times
    #[arg(long, value_name = "ROW", value_parser = row_names())]
    pub(crate) only: Vec<String>,
    /// Measure nothing: show the result in this file, which `--json` printed
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub(crate) from: Option<PathBuf>,
    /// Show what has changed since the result in this file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) against: Option<PathBuf>,
    /// Write a page to look at as well: one file, with charts, that needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print JSON (see docs/compare-json.md) instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Colours in the table [default: auto]
    #[arg(long, value_name = "WHEN", conflicts_with = "json")]
    pub(crate) color: Option<Color>,
}

/// How to report.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON (see docs/doctor-json.md) instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Colours in the text [default: auto]
    #[arg(long, value_name = "WHEN", conflicts_with = "json")]
    pub(crate) color: Option<Color>,
}

/// What to draw.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The process at the top
    pub(crate) pid: u32,
    /// Print JSON (see docs/inspect-json.md) instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Print SVG instead of text
    #[arg(long, conflicts_with = "json")]
    pub(crate) svg: bool,
    /// Colours in the text [default: auto]
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["json", "svg"])]
    pub(crate) color: Option<Color>,
}

/// What to watch.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// A process, or the name of a program [default: a list of those that there are]
    #[arg(value_name = "PID | NAME")]
    pub(crate) program: Option<String>,
    /// Print one picture as text, and end
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
struct HelperArgs {
    /// Who started it: it does not outlive that
    #[arg(long)]
    parent: i32,
    #[command(subcommand)]
    helper: Helper,
}

/// The rows by name, so that a wrong one is answered with the right ones.
fn row_names() -> PossibleValuesParser {
    PossibleValuesParser::new(compare::EXPERIMENTS.iter().map(|experiment| experiment.id))
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return say(&message),
    };
    match cli.command {
        Command::Compare(args) => compare::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Helper(args) => match helper::run(args.helper, args.parent) {
            Ok(()) => ExitCode::from(exit::DONE),
            Err(reason) => {
                eprintln!("brigade: {reason}");
                ExitCode::from(exit::FAILED)
            }
        },
    }
}

/// A mistake, or what `--help` and `--version` asked for. Not by clap's own `exit`, which ends the
/// program on the spot.
fn say(message: &clap::Error) -> ExitCode {
    let mistake = message.use_stderr();
    match message.print() {
        Ok(()) if mistake => ExitCode::from(exit::USAGE),
        Ok(()) => ExitCode::from(exit::DONE),
        // Who asked for help and reads no further has had enough of it.
        Err(error) if !mistake && error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::from(exit::DONE)
        }
        Err(_) => ExitCode::from(exit::FAILED),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_row_is_answered_with_the_right_ones() {
        let error = Cli::try_parse_from(["brigade", "compare", "--only", "nonsense"]).unwrap_err();
        assert!(error.use_stderr());
        let text = error.to_string();
        for experiment in &compare::EXPERIMENTS {
            assert!(text.contains(experiment.id), "{text}");
        }
    }
}
