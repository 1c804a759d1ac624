//! Brigade's tests, in each environment that a program may meet: `scripts/environments`.
//!
//! - [`list`]: the environments, and what is expected in each; [`place`], [`inherited`],
//!   [`filter`]: how a process moves into one
//! - [`builds`]: what runs there; [`trial`]: one environment's runs, with a limit of time
//! - here: which are run, two at a time, and the table

mod builds;
mod filter;
mod inherited;
mod list;
mod place;
mod trial;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;

use builds::{Build, Programs};
use list::{Environment, Expected, Need};
use trial::{Order, Result as Outcome};

/// Something was not as expected.
const UNEXPECTED: u8 = 1;
/// Something that this program needs itself failed.
const FAILED: u8 = 3;

/// Brigade's tests, in each environment that a program may meet.
#[derive(Debug, Parser)]
struct Arguments {
    /// The quick part: the contract's suite, in the environments that need no other build.
    #[arg(long)]
    quick: bool,
    /// The test suites, instead of the contract's and, but for the quick part, the pool's.
    #[arg(long, value_delimiter = ',')]
    suites: Vec<String>,
    /// How many environments are tried at a time.
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Writes the table to this file, in Markdown.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Fails where something was skipped for want of a package or a privilege.
    #[arg(long)]
    all: bool,
    /// Only the environments whose name contains one of these.
    names: Vec<String>,
}

/// How this program starts itself: for one environment, and for one run in it.
const ONE: &str = "one";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let order = |text: &str| serde_json::from_str::<Order>(text).map_err(io::Error::from);
    let ended =
        match arguments.get(1..).unwrap_or_default() {
            [first, text] if first == ONE => order(text)
                .and_then(|order| trial::run(&order))
                .and_then(|outcome| {
                    println!("{}", serde_json::to_string(&outcome)?);
                    Ok(ExitCode::SUCCESS)
                }),
            [first, text] if first == trial::ENTER => {
                Err(order(text).map_or_else(|e| e, |order| trial::enter(&order)))
            }
            _ => try_all(&Arguments::parse()),
        };
    ended.unwrap_or_else(|why| {
        eprintln!("environments: {why}");
        FAILED.into()
    })
}

/// What came of an environment.
enum Line {
    Tried(Outcome),
    Skipped(String),
}

fn try_all(arguments: &Arguments) -> io::Result<ExitCode> {
    let all = list::all();
    let chosen: Vec<usize> = (0..all.len())
        .filter(|&at| {
            let environment = all[at];
            let is_named = |name: &String| environment.name.contains(name.as_str());
            let named = arguments.names.is_empty() || arguments.names.iter().any(is_named);
            named && (environment.quick || !arguments.quick)
        })
        .collect();
    let target = target()?;
    let logs = target.join("environments/logs");
    std::fs::create_dir_all(&logs)?;
    let usual: &[&str] = if arguments.quick {
        &["contract"]
    } else {
        &["contract", "pool"]
    };
    let named: Vec<&str> = arguments.suites.iter().map(String::as_str).collect();
    let suites = if named.is_empty() { usual } else { &named };
    let limit = Duration::from_secs(if arguments.quick { 120 } else { 900 });

    let mut built: HashMap<Build, Programs> = HashMap::new();
    for &at in &chosen {
        let build = all[at].build;
        if missing(all[at]).is_none() && !built.contains_key(&build) {
            let mut programs = build.programs(&target, suites)?;
            if build == Build::Usual {
                builds::in_c(&target, &mut programs)?;
            }
            built.insert(build, programs);
        }
    }

    let lines: Vec<Mutex<Option<Line>>> = chosen.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        while let Some((line, &at)) = {
            let mine = next.fetch_add(1, Ordering::Relaxed);
            lines.get(mine).zip(chosen.get(mine))
        } {
            let environment = all[at];
            let came = match missing(environment) {
                Some(why) => Line::Skipped(why),
                None => Line::Tried(try_one(&Order {
                    environment: at,
                    programs: built.get(&environment.build).cloned().unwrap_or_default(),
                    suites: suites.iter().map(|&name| name.to_owned()).collect(),
                    limit,
                    logs: logs.clone(),
                    program: String::new(),
                    arguments: Vec::new(),
                    scratch: PathBuf::new(),
                })?),
            };
            tell(environment, &came);
            if let Ok(mut line) = line.lock() {
                *line = Some(came);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.at_once.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    })?;

    let mut table =
        String::from("| environment | expected | came | seconds |\n|---|---|---|---|\n");
    let (mut right, mut wrong, mut known, mut skipped) = (0, 0, 0, 0);
    for (&at, line) in chosen.iter().zip(lines) {
        let environment = all[at];
        let Ok(Some(line)) = line.into_inner() else {
            continue;
        };
        let (came, seconds) = match &line {
            Line::Tried(outcome) => {
                let mark = match (outcome.as_expected, environment.known_fault) {
                    (true, _) => {
                        right += 1;
                        ""
                    }
                    (false, None) => {
                        wrong += 1;
                        "**not so**: "
                    }
                    (false, Some(_)) => {
                        known += 1;
                        "**not yet**: "
                    }
                };
                (
                    format!("{mark}{}", outcome.said),
                    format!("{:.0}", outcome.seconds),
                )
            }
            Line::Skipped(why) => {
                skipped += 1;
                (format!("skipped: {why}"), String::new())
            }
        };
        let came = came.replace('|', "\\|");
        let expected = expected(environment).replace('|', "\\|");
        table += &format!(
            "| {} | {expected} | {came} | {seconds} |\n",
            environment.name
        );
    }
    if let Some(file) = &arguments.table {
        std::fs::write(file, &table)?;
    }
    println!("environments: what was printed is in {}", logs.display());
    println!("environments: {known} known faults");
    println!("{right} passed, {wrong} failed, {skipped} skipped");
    let failed = wrong > 0 || arguments.all && skipped > 0;
    Ok(if failed {
        UNEXPECTED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn expected(environment: &Environment) -> String {
    let mut text = match environment.expected {
        Expected::Works => "works".to_owned(),
        Expected::Refused(words) => format!("refused, naming {}", words.join(", ")),
    };
    for (name, why) in environment.without {
        text += &format!("; without `{name}`: {why}");
    }
    text
}

fn tell(environment: &Environment, line: &Line) {
    match line {
        Line::Tried(outcome) => {
            let came = match (outcome.as_expected, environment.known_fault) {
                (true, None) => "as expected",
                (true, Some(_)) => "as expected, so that it is no known fault any more",
                (false, None) => "NOT AS EXPECTED",
                (false, Some(fault)) => &format!("KNOWN FAULT: {fault}"),
            };
            println!(
                "environment {}: {came} ({:.1} s): {}",
                environment.name, outcome.seconds, outcome.said
            );
        }
        Line::Skipped(why) => println!("environment {}: SKIPPED: {why}", environment.name),
    }
}

/// What the machine lacks that the environment needs.
fn missing(environment: &Environment) -> Option<String> {
    environment.needs.iter().find_map(|need| match need {
        Need::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
        Need::Command(command, package) => {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            let is_there = std::env::split_paths(&paths).any(|path| path.join(command).exists());
            (!is_there).then(|| format!("needs {command}: apt-get install {package}"))
        }
        Need::File(file, package) => {
            (!Path::new(file).exists()).then(|| format!("needs {file}: apt-get install {package}"))
        }
        Need::Controller(name) => place::controller(name)
            .is_none()
            .then(|| format!("needs the control groups' controller {name}")),
        &Need::Kernel(major, minor) => {
            (kernel() < (major, minor)).then(|| format!("needs Linux {major}.{minor}"))
        }
        Need::Landlock => (!filter::has_landlock()).then(|| "needs Landlock".to_owned()),
    })
}

/// The version of the kernel.
fn kernel() -> (u32, u32) {
    let of = rustix::system::uname();
    let mut numbers = of.release().to_str().unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (next(), next())
}

fn try_one(order: &Order) -> io::Result<Outcome> {
    let output = Command::new("/proc/self/exe")
        .arg(ONE)
        .arg(serde_json::to_string(order)?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    serde_json::from_slice(&output.stdout).or_else(|_| {
        Ok(Outcome {
            as_expected: false,
            said: format!("could not be tried: {}", output.status),
            seconds: 0.0,
        })
    })
}

/// Where cargo builds.
fn target() -> io::Result<PathBuf> {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return std::path::absolute(target);
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().unwrap_or(package).join("target"))
}
