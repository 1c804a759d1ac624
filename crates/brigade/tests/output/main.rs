//! What workers read and write by their standard streams, where their builder says so.
#![cfg(target_os = "linux")]

mod files;
mod input;
mod lines;
mod open_files;
mod readers;
mod waiting;

use std::io::Write;
use std::process::{Command, Stdio};

use brigade::process::{Line, Lines};

/// Reads all lines on a thread.
fn read_all(lines: Lines) -> std::thread::JoinHandle<Vec<Line>> {
    std::thread::spawn(move || lines.collect())
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(Line::text).collect()
}

/// Writes so many lines to stdout, each by one call.
fn write_numbers(count: u32) -> u32 {
    for n in 0..count {
        let line = format!("line {n}\n");
        std::io::stdout()
            .write_all(line.as_bytes())
            .expect("stdout");
    }
    count
}

/// Leaves a line without its end behind, and dies.
fn die_in_a_line(_: ()) {
    print!("to stdout");
    std::io::stdout().flush().expect("stdout");
    eprint!("whole\nto stderr");
    std::process::abort()
}

/// A test again, in a program of its own.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, "this program")
        .stdin(Stdio::null());
    command
}

/// Set there.
const ROLE: &str = "BRIGADE_TEST_OUTPUT_ROLE";
