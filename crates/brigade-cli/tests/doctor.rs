//! `brigade doctor`, on this machine.

mod support;

use serde_json::Value;
use support::{brigade, rows};

#[test]
fn the_json_report_has_a_finding_for_each_thing_looked_for() {
    let run = brigade(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("the report is JSON");
    assert_eq!(report["schema"], "brigade-doctor");
    let findings = report["findings"].as_array().expect("there are findings");
    for id in [
        "proc",
        "pidfd",
        "memfd",
        "process-worker",
        "futex-waitv",
        "subreaper",
        "message-queues",
        "cores",
        "descriptors",
        "tasks",
        "memory",
        "landlock",
        "seccomp",
        "ptrace-scope",
        "namespaces",
        "cgroup-v1",
        "cgroup-v2",
    ] {
        let finding = findings
            .iter()
            .find(|finding| finding["id"] == id)
            .unwrap_or_else(|| panic!("no {id}"));
        for field in ["name", "found", "means"] {
            assert!(
                finding[field].as_str().is_some_and(|text| !text.is_empty()),
                "{id}: {field}"
            );
        }
        assert!(
            ["yes", "partly", "no"].contains(&finding["status"].as_str().unwrap_or("")),
            "{finding}"
        );
    }
    // The code says the same as the findings.
    let lacking = findings
        .iter()
        .any(|finding| finding["required"] == true && finding["status"] == "no");
    assert_eq!(run.code(), Some(if lacking { 4 } else { 0 }));
}

#[test]
fn the_text_fits_a_hundred_columns() {
    let run = brigade(&["doctor", "--color", "never"]);
    assert!(run.stdout.lines().count() > rows().len());
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
