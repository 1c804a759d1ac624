//! `brigade inspect`, on programs whose connections are known, on a third party's, and where it is
//! not permitted to look.

mod ended;
mod known;
mod namespaces;
mod permission;
mod pools;
mod program;
mod published;
mod third_party;
mod top;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs `brigade inspect` as the user who runs the test.
fn inspect(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program runs")
}

/// The same, as a user who may not look into others' processes.
fn inspect_as_nobody(arguments: &[&str]) -> Output {
    command(arguments)
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the program runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command.arg("inspect").args(arguments).stdin(Stdio::null());
    command
}

/// The JSON of a process.
fn picture(pid: u32) -> Value {
    let output = inspect(&["--json", &pid.to_string()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

fn process(picture: &Value, pid: u32) -> &Value {
    list(picture, "processes")
        .iter()
        .find(|process| process["pid"] == pid)
        .unwrap_or_else(|| panic!("no process {pid} in {picture:#}"))
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name]
        .as_array()
        .unwrap_or_else(|| panic!("no list {name} in {of:#}"))
}
