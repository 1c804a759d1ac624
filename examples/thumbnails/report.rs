//! What is said at the end.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade::{Crash, Pool};

/// What became of the pictures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    made: usize,
    skipped: Vec<(PathBuf, String)>,
    failed: Vec<(PathBuf, String)>,
    crashed: Vec<(PathBuf, Crash)>,
}

impl Report {
    pub(crate) fn made(&mut self) {
        self.made += 1;
    }

    pub(crate) fn skip(&mut self, file: &Path, why: impl Display) {
        self.skipped.push((file.to_owned(), why.to_string()));
    }

    pub(crate) fn fail(&mut self, file: &Path, why: impl Display) {
        self.failed.push((file.to_owned(), why.to_string()));
    }

    pub(crate) fn crash(&mut self, file: &Path, crash: Crash) {
        self.crashed.push((file.to_owned(), crash));
    }

    /// Made, left alone, failed, crashed.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> [usize; 4] {
        [
            self.made,
            self.skipped.len(),
            self.failed.len(),
            self.crashed.len(),
        ]
    }

    pub(crate) fn print(&self, taken: Duration, pool: &Pool, out: &Path) {
        println!(
            "{} thumbnails in {:.2} s, {:.0} a second, by {} workers, each a {}; they are in {}",
            self.made,
            taken.as_secs_f64(),
            self.made as f64 / taken.as_secs_f64(),
            pool.workers(),
            pool.kind(),
            out.display()
        );
        for (what, files) in [("left alone", &self.skipped), ("failed", &self.failed)] {
            for (file, why) in files {
                println!("{what}: {}: {why}", name(file));
            }
        }
        for (file, crash) in &self.crashed {
            println!("crashed: {}: {crash}", name(file));
            for line in crash.stderr().lines() {
                println!("    it said:  {line}");
            }
            for line in crash.backtrace().unwrap_or("nobody noted where").lines() {
                println!("    {line}");
            }
            match (crash.file(), crash.file_error()) {
                (Some(file), _) => println!(
                    "    kept in:  {}\n    again:    {}\n    debugger: {}",
                    file.display(),
                    again(file, ""),
                    again(file, "rust-gdb -ex run --args ")
                ),
                (None, why) => println!("    not kept: {}", why.unwrap_or("nobody asked for it")),
            }
        }
    }
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The command that runs a crash again.
fn again(file: &Path, before: &str) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    format!(
        "BRIGADE_REPLAY={} {before}{}",
        file.display(),
        program.display()
    )
}
