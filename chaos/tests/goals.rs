//! The goals in small numbers: that the commands work, and that they find nothing.

use std::process::{Command, Output};

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

fn assert_met(arguments: &[&str]) -> String {
    met(arguments, &chaos(arguments))
}

fn met(arguments: &[&str], output: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    assert!(stdout.contains("goal met"), "{stdout}");
    stdout.into_owned()
}

#[test]
fn r1_each_task_ends_once() {
    let said = assert_met(&["r1", "--count", "600", "--tasks", "20000"]);
    assert!(said.contains("with a lock"), "{said}");
}

#[test]
fn r2_whatever_goes_wrong() {
    let said = assert_met(&["r2", "--count", "2", "--no-time-goal"]);
    assert!(said.contains("decoding the result"), "{said}");
}

#[test]
fn r3_nothing_is_left_of_processes() {
    let said = assert_met(&["r3", "--count", "500"]);
    assert!(said.contains("100 killed from outside"), "{said}");
}

#[test]
fn r4_nobody_survives_the_program() {
    // How long it takes is no test's business: others share the machine.
    let said = assert_met(&["r4", "--count", "20", "--no-time-goal"]);
    assert!(said.contains("survivors after 10 s: 0"), "{said}");
}

#[test]
fn r5_nobody_waits_for_the_dead() {
    let said = assert_met(&["r5", "--count", "20", "--no-time-goal"]);
    assert!(said.contains("Barrier"), "{said}");
}

#[test]
fn r7_every_death_is_named_right() {
    let said = assert_met(&["r7", "--count", "5"]);
    assert!(said.contains("before it started"), "{said}");
}

#[test]
fn r8_time_is_over_for_those_who_do_not_listen() {
    let said = assert_met(&["r8", "--count", "6", "--no-time-goal"]);
    assert!(said.contains("2 at a time"), "{said}");
}

#[test]
fn r12_nobody_waits_for_those_who_are_stopped() {
    let said = assert_met(&["r12", "--count", "60", "--long", "3"]);
    assert!(said.contains("wait for ever"), "{said}");
}

#[test]
fn exhaustion_is_its_workers_alone() {
    let arguments = ["exhaustion", "--count", "5", "--no-time-goal"];
    let output = chaos(&arguments);
    let why = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) && why.contains("can be limited here") {
        println!("skipped: {why}");
        return;
    }
    let said = met(&arguments, &output);
    assert!(said.contains("enforced by"), "{said}");
}

#[test]
fn bad_usage_is_exit_code_2() {
    for arguments in [
        &["r0"][..],
        &["r1", "--count", "5"],
        &["r5", "--count", "1"],
        &["r3", "--count", "many"],
        &["r4", "--count", "0"],
        &[],
    ] {
        assert_eq!(chaos(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
