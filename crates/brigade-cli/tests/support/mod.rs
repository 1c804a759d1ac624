//! Running the built program and looking at what came of it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Run {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The exit code; a death by signal is none.
    pub(crate) fn code(&self) -> Option<i32> {
        assert_eq!(self.status.signal(), None, "{}", self.stderr);
        self.status.code()
    }
}

/// A variable in the environment of a run, and so in that of everybody who comes from it: the id of
/// the test program.
pub(crate) const MARK: &str = "BRIGADE_TEST_RUN";

/// Runs `brigade` with these arguments, without a terminal.
pub(crate) fn brigade(arguments: &[&str]) -> Run {
    brigade_marked(arguments, "")
}

/// The same, marked: [`MARK`].
pub(crate) fn brigade_marked(arguments: &[&str], mark: &str) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_brigade"))
        .env(MARK, mark)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    Run {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("standard output is text"),
        stderr: String::from_utf8(output.stderr).expect("standard error is text"),
    }
}

/// The rows of the table, as the documentation has them.
pub(crate) fn rows() -> [&'static str; 10] {
    [
        "memory",
        "creation",
        "resources",
        "switching",
        "communication",
        "synchronisation",
        "crash",
        "concurrency",
        "isolation",
        "advice",
    ]
}
