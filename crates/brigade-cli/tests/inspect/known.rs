//! Every connection of a known program is found, and none is invented.

use std::collections::BTreeSet;

use serde_json::Value;

use super::program::Known;
use super::{inspect, list, picture, process};

/// What there is of a connection: its kind, and the processes on each side.
type Shape = (String, BTreeSet<u64>, BTreeSet<u64>);

fn shape(connection: &Value) -> Shape {
    let pids = |side: &str| {
        let ends = list(connection, side).iter();
        ends.map(|end| end["pid"].as_u64().expect("a pid"))
            .collect()
    };
    let kind = connection["kind"].as_str().expect("a kind").to_owned();
    (kind, pids("one"), pids("other"))
}

fn shapes(picture: &Value, name: &str) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = list(picture, name).iter().map(shape).collect();
    shapes.sort();
    shapes
}

#[test]
fn each_connection_is_found_and_none_is_invented() {
    let alpha = Known::start("alpha", &[]);
    let a = u64::from(alpha.pid());
    let b: u64 = alpha.said[0].parse().expect("beta's pid");
    let us = u64::from(std::process::id());
    let picture = picture(alpha.pid());
    let set = |pids: &[u64]| pids.iter().copied().collect::<BTreeSet<u64>>();
    let mut found = shapes(&picture, "connections");
    // The side that is told first is the one with the lower number.
    for (kind, one, other) in &mut found {
        if matches!(kind.as_str(), "unix" | "tcp") && one > other {
            std::mem::swap(one, other);
        }
    }
    let (low, high) = (set(&[a.min(b)]), set(&[a.max(b)]));
    let mut expected = vec![
        // What the test lets each of them end with, and the known pipe.
        ("pipe".to_owned(), set(&[us]), set(&[a])),
        ("pipe".into(), set(&[a]), set(&[b])),
        ("pipe".into(), set(&[a]), set(&[b])),
        // A pair, and a connection to a listening socket.
        ("unix".into(), low.clone(), high.clone()),
        ("unix".into(), low.clone(), high.clone()),
        ("tcp".into(), low, high),
        ("queue".into(), set(&[a, b]), set(&[])),
        ("region".into(), set(&[a, b]), set(&[])),
    ];
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{picture:#}");
    let mut listeners = shapes(&picture, "listeners");
    listeners.sort();
    assert_eq!(
        listeners,
        [
            ("tcp".into(), set(&[a]), set(&[])),
            ("unix".into(), set(&[a]), set(&[])),
        ]
    );
    let outside = list(&picture, "outside");
    assert_eq!(outside.len(), 1, "{outside:?}");
    assert_eq!(outside[0]["pid"], us);
}

#[test]
fn names_and_sizes_are_the_right_ones() {
    let alpha = Known::start("alpha", &[]);
    let name = &alpha.said[1];
    let picture = picture(alpha.pid());
    let named = |kind: &str| {
        let connections = list(&picture, "connections").iter();
        let mut names = connections
            .filter(|connection| connection["kind"] == kind)
            .map(|connection| connection["name"].as_str().expect("a name").to_owned());
        names.next().unwrap_or_else(|| panic!("no {kind}"))
    };
    assert_eq!(named("queue"), format!("/{name} (deleted)"));
    assert!(named("region").starts_with("known region ("), "{picture:#}");
    let names: Vec<&str> = list(&picture, "connections")
        .iter()
        .filter_map(|connection| connection["name"].as_str())
        .collect();
    assert!(names.contains(&format!("@{name}").as_str()), "{names:?}");
    let region = list(&picture, "connections")
        .iter()
        .find(|connection| connection["kind"] == "region")
        .expect("a region");
    assert_eq!(region["size"], 4096);
    assert!(list(region, "one").iter().all(|end| end["mapped"] == true));
}

#[test]
fn threads_are_named_and_cannot_steer_the_terminal() {
    let program = Known::start("threads", &[]);
    let picture = picture(program.pid());
    let threads = list(process(&picture, program.pid()), "threads");
    let names: BTreeSet<&str> = threads
        .iter()
        .filter_map(|thread| thread["name"].as_str())
        .collect();
    assert!(names.contains("first"), "{names:?}");
    assert!(names.contains(r"evil\u{1b}[31m"), "{names:?}");
    for thread in threads {
        assert!(["sleeping", "running"].contains(&thread["state"].as_str().expect("a state")));
    }
    let text = inspect(&[&program.pid().to_string(), "--color", "never"]);
    let text = String::from_utf8(text.stdout).expect("it is UTF-8");
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.contains(r"evil\u{1b}[31m"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn memory_is_what_the_kernel_says() {
    let program = Known::start("threads", &[]);
    let picture = picture(program.pid());
    let memory = &process(&picture, program.pid())["memory"];
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", program.pid()))
        .expect("its memory");
    let sum = |names: [&str; 2]| -> u64 {
        let lines = rollup
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    // It waits, so that its own pages stay; what it shares with other runs of this binary moves
    // from one to the other as they come and go.
    let private = memory["private"].as_u64().expect("a number");
    let shared = memory["shared"].as_u64().expect("a number");
    let (private_now, shared_now) = (
        sum(["Private_Clean", "Private_Dirty"]),
        sum(["Shared_Clean", "Shared_Dirty"]),
    );
    assert_eq!(
        private + shared,
        private_now + shared_now,
        "{memory} {rollup}"
    );
    assert!(private > 0);
}
