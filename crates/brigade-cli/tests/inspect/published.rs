//! What programs publish of their pools is what is shown.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::program::Known;
use super::{inspect, inspect_as_nobody, list, picture, process};

fn published(pid: u32) -> Value {
    process(&picture(pid), pid)["published"].clone()
}

fn kind(kind: &str) -> [(&'static str, String); 1] {
    [("KIND", kind.to_owned())]
}

/// Looks again and again until it is there; a limit that only a hang exceeds.
pub(crate) fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "it does not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_task_with_a_process_of_its_own_is_shown_as_what_it_is() {
    let program = Known::start("spawned", &[]);
    let published = published(program.pid());
    let tasks = list(&published, "spawned");
    assert_eq!(tasks.len(), 1, "{published:#}");
    assert_eq!(tasks[0]["id"].to_string(), program.said[0]);
    assert_eq!(tasks[0]["task"], "inspect::pools::hold");
    assert!(tasks[0]["for_ns"].as_u64().expect("a time") > 0);
    let servers = list(&published, "fork_servers");
    let picture = picture(program.pid());
    let server = servers[0].as_u64().expect("a pid") as u32;
    assert_eq!(process(&picture, server)["name"], "brigade-server");
    let text = inspect(&[&program.pid().to_string(), "--color", "never"]);
    let text = String::from_utf8(text.stdout).expect("it is UTF-8");
    let line = format!(
        "process {} for one task: inspect::pools::hold for",
        program.said[0]
    );
    assert!(text.contains(&line), "{text}");
}

#[test]
fn what_a_worker_that_lives_has_written_last_is_shown() {
    let program = Known::start("busy", &kind("process"));
    eventually(|| {
        let published = published(program.pid());
        let written = list(&published, "stderr").first()?.clone();
        assert_eq!(written["id"].to_string(), program.said[0]);
        let text = written["text"].as_str().expect("a text");
        (text == "first\nholding \\u{1b}[2J").then_some(())
    });
}

#[test]
fn a_pool_of_processes_is_shown_as_it_is() {
    let program = Known::start("busy", &kind("process"));
    let published = published(program.pid());
    let pools = list(&published, "pools");
    // The other pool is gone.
    assert_eq!(pools.len(), 1, "{published:#}");
    let pool = &pools[0];
    assert_eq!(pool["kind"], "process");
    assert_eq!(pool["name"], "holder");
    let stats = &pool["stats"];
    assert_eq!(
        [
            &stats["submitted"],
            &stats["running"],
            &stats["queued"],
            &stats["done"]
        ],
        [3, 1, 2, 0]
    );
    let worker = &list(pool, "list")[0];
    assert_eq!(worker["id"].to_string(), program.said[0]);
    assert_eq!(worker["state"], "running");
    assert_eq!(worker["task"], "inspect::pools::hold");
    assert!(worker["for_ns"].as_u64().expect("a time") > 0);
    assert_eq!(published["is_stale"], false);
    // The fork server and the worker are in the picture.
    let picture = picture(program.pid());
    let server = pool["fork_server"].as_u64().expect("a pid") as u32;
    assert_eq!(process(&picture, server)["name"], "brigade-server");
    let worker: u32 = program.said[0].parse().expect("a pid");
    assert_eq!(process(&picture, worker)["parent"], server);
}

#[test]
fn a_pool_of_threads_is_shown_as_it_is() {
    let program = Known::start("busy", &kind("thread"));
    let picture = picture(program.pid());
    let process = process(&picture, program.pid());
    let pool = &list(&process["published"], "pools")[0];
    assert_eq!(pool["kind"], "thread");
    let stats = &pool["stats"];
    assert_eq!([&stats["running"], &stats["queued"]], [1, 2]);
    let worker = &list(pool, "list")[0];
    assert_eq!(worker["task"], "inspect::pools::hold");
    let names: Vec<&Value> = list(process, "threads")
        .iter()
        .filter(|thread| thread["tid"] == worker["id"])
        .map(|thread| &thread["name"])
        .collect();
    assert_eq!(names, ["holder"]);
}

#[test]
fn the_last_crashes_are_kept_with_what_they_wrote() {
    let program = Known::start("crashed", &[]);
    let published = published(program.pid());
    let crashes = list(&published, "crashes");
    assert_eq!(crashes.len(), 16, "{published:#}");
    let last = &crashes[0];
    assert_eq!(last["pid"].to_string(), program.said[0]);
    assert_eq!(last["cause"], "abort()");
    assert_eq!(last["task"], "inspect::pools::crash");
    let pools = list(&published, "pools");
    assert_eq!(last["pool"], pools[0]["number"]);
    assert_eq!(pools[0]["stats"]["crashed"], 20);
    let stderr = last["stderr"].as_str().expect("a text");
    assert!(
        stderr.contains(r"number 19 is too much \u{1b}[2J"),
        "{stderr}"
    );
    let text = inspect(&[&program.pid().to_string(), "--color", "never"]);
    let text = String::from_utf8(text.stdout).expect("it is UTF-8");
    assert!(
        text.contains("died of abort() with inspect::pools::crash"),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
}

#[test]
fn without_readers_nothing_runs() {
    for name in ["process", "thread"] {
        let program = Known::start("idle", &kind(name));
        assert_eq!(program.said[0], program.said[1], "{name}");
    }
}

#[test]
fn a_program_that_is_stopped_is_said_not_to_answer() {
    let program = Known::start("busy", &kind("process"));
    let pid = rustix::process::Pid::from_raw(program.pid() as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it stops");
    let stopped = rustix::process::waitid(
        rustix::process::WaitId::Pid(pid),
        rustix::process::WaitIdOptions::STOPPED | rustix::process::WaitIdOptions::NOWAIT,
    );
    assert!(stopped.is_ok());
    let published = published(program.pid());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it goes on");
    assert_eq!(published["is_stale"], true);
}

#[test]
fn what_is_not_asked_for_is_not_published() {
    let program = Known::start("silent", &[]);
    let picture = picture(program.pid());
    let process = process(&picture, program.pid());
    assert_eq!(process["published"], Value::Null);
    let names = list(process, "threads")
        .iter()
        .map(|thread| &thread["name"]);
    assert!(names.into_iter().all(|name| name != "brigade-publish"));
}

#[test]
fn a_fork_publishes_nothing() {
    let program = Known::start("forked", &[]);
    let child: u32 = program.said[0].parse().expect("a pid");
    let picture = picture(program.pid());
    assert!(process(&picture, program.pid())["published"].is_object());
    let child = process(&picture, child);
    // It has the descriptor all the same.
    let descriptors = list(child, "descriptors").iter();
    let mut targets = descriptors.filter_map(|descriptor| descriptor["target"].as_str());
    assert!(targets.any(|target| target.contains("brigade-published")));
    assert_eq!(child["published"], Value::Null);
}

#[test]
fn another_user_sees_nothing_of_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can look as another user");
        return;
    }
    let program = Known::start("busy", &kind("thread"));
    let pid = program.pid().to_string();
    let output = inspect_as_nobody(&["--json", &pid]);
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    assert!(!text.contains("pools::hold"), "{text}");
    let picture: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(process(&picture, program.pid())["published"], Value::Null);
}
