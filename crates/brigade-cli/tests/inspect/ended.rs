//! Processes that are not there, or not any more.

use std::process::{Command, Stdio};

use super::program::Known;
use super::{inspect, list, picture, process};

#[test]
fn no_such_process_is_an_error_that_says_so() {
    let mut child = Command::new("/bin/true").spawn().expect("a program");
    let pid = child.id().to_string();
    child.wait().expect("it ends");
    let output = inspect(&[&pid]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(&format!("no process {pid}")), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_ended_child_that_nothing_collected_is_said_to_be_a_zombie() {
    let program = Known::start("zombie", &[]);
    let child: u32 = program.said[0].parse().expect("a pid");
    let picture = picture(program.pid());
    let child = process(&picture, child);
    assert_eq!(child["state"], "zombie");
    assert_eq!(child["descriptors"]["unknown"], "it has ended");
    assert_eq!(child["memory"]["private"]["unknown"], "it has ended");
}

#[test]
fn children_that_come_and_go_spoil_nothing() {
    // A shell that starts one program after another, each for less than a look takes.
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "while :; do /bin/true & /bin/true; done"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    for _ in 0..30 {
        let output = inspect(&["--json", &shell.id().to_string()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
        let picture: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(list(&picture, "processes")[0]["pid"], shell.id());
    }
    shell.kill().expect("the end");
    shell.wait().expect("the end");
}

#[test]
fn a_thread_leads_to_its_process() {
    let program = Known::start("threads", &[]);
    let pid = program.pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let mut tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let tid = tids.find(|&tid| tid != pid).expect("another thread");
    assert_eq!(picture(tid)["root"], pid);
}
