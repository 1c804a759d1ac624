//! Thumbnails of a directory of pictures, some of which nobody should open: a real job, with
//! workers that are threads or processes.
//!
//! `cargo run --release --example thumbnails` makes pictures to work on: PNG and JPEG files of many
//! sizes, one that is cut off, and some in an old format, one of which crashes the format's
//! decoder. In a process that costs the one picture, and the report says how to run its crash
//! again, in a debugger if you like. `-- --workers thread` does the same in threads, but leaves
//! those in the old format alone. `-- DIRECTORY` does it for the pictures there; `-- --help` tells
//! the rest.

mod legacy;
mod picture;
mod report;
mod samples;

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use brigade::{JoinError, Kind, Pool};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use report::Report;

/// Thumbnails of a directory of pictures: PNG, JPEG, and the old LEG.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the pictures are. If nothing is said, some are made.
    pictures: Option<PathBuf>,
    /// What the workers are: `process` or `thread`.
    #[arg(long, default_value_t = Kind::Process)]
    workers: Kind,
    /// How many workers; as many as there are processors, if nothing is said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the thumbnails go.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where crash files go.
    #[arg(long)]
    crashes: Option<PathBuf>,
    /// How many pictures are made, if none are given.
    #[arg(long, default_value_t = 60)]
    samples: usize,
    /// Decodes LEG files in threads too. One that is broken ends this program.
    #[arg(long)]
    yes_crash_me: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    brigade::init();
    // What nobody has chosen a place for goes here, and stays, so that it can be looked at.
    let here = std::env::temp_dir().join(format!("brigade-thumbnails-{}", std::process::id()));
    run(Arguments::parse(), &here)?;
    Ok(())
}

fn run(arguments: Arguments, here: &Path) -> Result<Report, Box<dyn Error>> {
    let out = arguments.out.unwrap_or_else(|| here.join("thumbnails"));
    let crashes = arguments.crashes.unwrap_or_else(|| here.join("crashes"));
    fs::create_dir_all(&out)?;

    let kind = arguments.workers;
    let mut builder = Pool::builder(kind).keep_crashes(crashes);
    if let Some(jobs) = arguments.jobs {
        builder = builder.workers(jobs);
    }
    let pool = builder.build()?;

    let pictures = match arguments.pictures {
        Some(pictures) => pictures,
        None => samples::make(&pool, &here.join("pictures"), arguments.samples)?,
    };
    let mut report = Report::default();
    let mut files = Vec::new();
    for file in files_in(&pictures)? {
        if kind == Kind::Thread && is_legacy(&file) && !arguments.yes_crash_me {
            report.skip(&file, "its decoder makes mistakes with memory, and a thread shares its memory with this whole program (--yes-crash-me)");
        } else {
            files.push(file);
        }
    }
    let began = Instant::now();
    shrink_all(&pool, &files, &out, &mut report);
    report.print(began.elapsed(), &pool, &out);
    Ok(report)
}

/// One picture after another, each read when a worker has room for it. A task is given a file's
/// bytes, not its name: so a crash file has all that it takes.
fn shrink_all(pool: &Pool, files: &[PathBuf], out: &Path, report: &mut Report) {
    let bar = progress_bar(files.len());
    let (taken, unreadable) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let inputs = files.iter().filter_map(|file| match fs::read(file) {
        Ok(bytes) => {
            taken.borrow_mut().push(file);
            Some(bytes)
        }
        Err(e) => {
            unreadable.borrow_mut().push((file, e));
            None
        }
    });
    for (number, ended) in pool.map_unordered(picture::shrink, inputs) {
        let file = taken.borrow()[number];
        match ended {
            Ok(Ok(thumbnail)) => match fs::write(out.join(target(file)), thumbnail) {
                Ok(()) => report.made(),
                Err(e) => report.fail(file, e),
            },
            Ok(Err(why)) => report.fail(file, why),
            // This one only; the others go on.
            Err(JoinError::Crashed(crash)) => report.crash(file, crash),
            Err(other) => report.fail(file, other),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for (file, e) in unreadable.into_inner() {
        report.fail(file, e);
    }
}

/// `a.png` and `a.jpg` have a thumbnail each.
fn target(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".png");
    name.into()
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let told = |e| format!("{}: {e}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(told)? {
        let path = entry?.path();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if ["png", "jpg", "jpeg", "leg"].contains(&&*extension.to_lowercase()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_legacy(file: &Path) -> bool {
    file.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("leg"))
}

fn progress_bar(len: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of few pictures, with these workers.
    fn made_by(workers: &str) -> (Report, PathBuf) {
        brigade::init();
        let here =
            std::env::temp_dir().join(format!("thumbnails-{workers}-{}", std::process::id()));
        let words = [
            "thumbnails",
            "--samples",
            "6",
            "--workers",
            workers,
            "--jobs",
            "2",
        ];
        let arguments = Arguments::try_parse_from(words).expect("are understood");
        (run(arguments, &here).expect("runs"), here)
    }

    #[test]
    fn a_crash_costs_one_picture_in_a_process() {
        let (report, here) = made_by("process");
        assert_eq!(report.counts(), [8, 0, 1, 1], "{report:?}");
        assert_eq!(
            files_in(&here.join("thumbnails")).expect("is there").len(),
            8
        );
        assert_eq!(
            fs::read_dir(here.join("crashes"))
                .expect("is there")
                .count(),
            1
        );
        fs::remove_dir_all(here).expect("is there");
    }

    #[test]
    fn what_would_crash_is_left_alone_in_a_thread() {
        let (report, here) = made_by("thread");
        assert_eq!(report.counts(), [6, 3, 1, 0], "{report:?}");
        fs::remove_dir_all(here).expect("is there");
    }
}
