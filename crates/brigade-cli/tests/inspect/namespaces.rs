//! Programs in a pid namespace of their own, as in a container: what they publish is told by the
//! numbers that processes have here.

use std::env;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::program::Known;
use super::{list, picture, process, published::eventually};

/// A program in a new pid namespace, with a /proc of its own, and its number here.
fn start(role: &str, kind: &str) -> Option<(Known, u32)> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
    };
    let works = unshare().arg("true").stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("skipped, because unshare(1) makes no pid namespace here");
        return None;
    }
    let mut command = unshare();
    command.arg(env::current_exe().expect("this program"));
    let known = Known::start_by(command, role, &[("KIND", kind.to_owned())]);
    let starter = known.pid();
    let path = format!("/proc/{starter}/task/{starter}/children");
    let children = std::fs::read_to_string(path).expect("its child");
    let program = children.trim().parse().expect("one child");
    Some((known, program))
}

#[test]
fn workers_have_the_numbers_of_here() {
    let Some((known, program)) = start("busy", "process") else {
        return;
    };
    let inside: u32 = known.said[0].parse().expect("a pid");
    let picture = picture(program);
    let published = &process(&picture, program)["published"];
    let pool = &list(published, "pools")[0];
    let worker = &list(pool, "list")[0];
    assert_eq!(worker["id_inside"], inside, "{published:#}");
    let server = pool["fork_server"].as_u64().expect("a pid") as u32;
    assert_eq!(process(&picture, server)["name"], "brigade-server");
    let outside = worker["id"].as_u64().expect("a pid") as u32;
    assert_ne!(outside, inside);
    assert_eq!(process(&picture, outside)["parent"], server);
    let numbers = std::fs::read_to_string(format!("/proc/{outside}/status")).expect("its status");
    assert!(
        numbers.contains(&format!("NSpid:\t{outside}\t{inside}\n")),
        "{numbers}"
    );
    let pid = program.to_string();
    let once = Command::new(env!("CARGO_BIN_EXE_brigade"))
        .args(["top", "--once", &pid])
        .output()
        .expect("the program runs");
    let text = String::from_utf8(once.stdout).expect("it is UTF-8");
    let row = text.lines().find(|line| line.contains("worker of 1"));
    let row = row.unwrap_or_else(|| panic!("no worker in {text}"));
    assert!(row.contains(&outside.to_string()), "{text}");
    assert!(row.contains("inspect::pools::hold"), "{text}");
}

#[test]
fn threads_and_single_tasks_have_the_numbers_of_here() {
    let Some((_known, program)) = start("busy", "thread") else {
        return;
    };
    let seen = picture(program);
    let of_program = process(&seen, program);
    let pool = &list(&of_program["published"], "pools")[0];
    let worker = &list(pool, "list")[0];
    let mut threads = list(of_program, "threads").iter();
    let thread = threads.find(|thread| thread["tid"] == worker["id"]);
    assert_eq!(thread.expect("the thread")["name"], "holder");

    let (known, program) = start("spawned", "process").expect("it worked before");
    let inside: u32 = known.said[0].parse().expect("a pid");
    eventually(|| {
        let picture = picture(program);
        let published = process(&picture, program)["published"].clone();
        let task = list(&published, "spawned").first()?.clone();
        assert_eq!(task["id_inside"], inside);
        let written = list(&published, "stderr").first()?;
        assert_eq!(written["id"], task["id"]);
        let processes = list(&picture, "processes").iter();
        let names: Vec<&Value> = processes
            .filter(|process| process["pid"] == task["id"])
            .map(|process| &process["name"])
            .collect();
        assert_eq!(names, ["brigade-worker"]);
        Some(())
    });
}
