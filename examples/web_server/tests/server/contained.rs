//! What a worker that breaks costs.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Connection;
use crate::server::{Server, eventually, is_alive};

#[test]
fn each_fault_has_its_status_and_costs_its_request() {
    for options in [
        &["--root", "root", "--request-timeout", "8000"][..],
        &["--root", "root", "--request-timeout", "8000", "--sandbox"],
    ] {
        let server = Server::start(options);
        let front = server.number("/pid");
        // All in one connection, which lives through all of them.
        let mut client = Connection::open(server.address);
        for (fault, status) in [
            ("segv", 502),
            ("abort", 502),
            ("exit", 502),
            ("overflow", 502),
            ("panic", 500),
            ("hang", 504),
        ] {
            assert_eq!(
                client.get(&format!("/fault/{fault}")).status,
                status,
                "{fault}"
            );
            assert_eq!(client.get("/gzip/text.txt").status, 200, "after {fault}");
        }
        assert_eq!(server.number("/pid"), front);
        assert_eq!(server.number("/handlers/panicked"), 1);
        assert_eq!(server.number("/handlers/timed_out"), 1);
        let crashes = server.status()["handlers"]["crashed"].to_string();
        for cause in ["SIGSEGV", "abort", "exit(7)", "stack overflow"] {
            assert!(crashes.contains(cause), "{cause} is not among {crashes}");
        }
    }
}

#[test]
fn threads_are_not_contained() {
    let mut server = Server::start(&[
        "--root",
        "root",
        "--workers",
        "thread",
        "--request-timeout",
        "8000",
    ]);
    assert_eq!(server.get("/fault/panic").status, 500);
    assert_eq!(server.get("/fault/hang").status, 504);
    assert_eq!(server.get("/gzip/text.txt").status, 200);
    let mut client = Connection::open(server.address);
    client.try_get("/fault/segv").expect_err("no answer");
    assert_eq!(server.wait().signal(), Some(libc::SIGSEGV));
}

#[test]
fn neighbours_of_a_crash_get_their_answers() {
    let server = Server::start(&["--root", "root"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbours: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Connection::open(server.address);
                    let mut answers = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        assert_eq!(client.get("/gzip/text.txt").status, 200);
                        assert_eq!(client.get("/").status, 200);
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        let mut client = Connection::open(server.address);
        for _ in 0..20 {
            assert_eq!(client.get("/fault/segv").status, 502);
        }
        is_over.store(true, Ordering::Relaxed);
        for neighbour in neighbours {
            assert!(neighbour.join().expect("all were answered") > 0);
        }
    });
    assert_eq!(server.number("/handlers/crashed/0/count"), 20);
}

#[test]
fn a_front_that_is_killed_is_replaced_and_the_backlog_waits() {
    let server = Server::start(&["--root", "root"]);
    let front = server.number("/pid");
    let handlers: Vec<u64> = (server.status()["handlers"]["pids"]
        .as_array()
        .expect("two")
        .iter())
    .filter_map(|pid| pid.as_u64())
    .collect();
    let pid = Pid::from_raw(front as i32).expect("a process");
    kill_process(pid, Signal::KILL).expect("it is there");
    // No connection is refused meanwhile: the socket is the program's. One that the dead front had
    // accepted already is lost, and so may be the first here.
    let answered = (0..3).any(|_| {
        let answer = Connection::open(server.address).try_get("/status");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert!(answered);
    assert_ne!(server.number("/pid"), front);
    eventually("the workers of the dead front are gone", || {
        !is_alive(front) && !handlers.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn a_worker_that_grows_is_replaced_between_two_requests() {
    let server = Server::start(&[
        "--root",
        "root",
        "--handlers",
        "1",
        "--recycle-above",
        "100",
    ]);
    let mut client = Connection::open(server.address);
    let mut pids: Vec<String> = Vec::new();
    for _ in 0..12 {
        let answer = client.get("/fault/leak/48");
        assert_eq!(answer.status, 200);
        pids.push(answer.text().to_owned());
        // It is looked at once a millisecond at most.
        std::thread::park_timeout(std::time::Duration::from_millis(3));
    }
    pids.dedup();
    assert!(pids.len() > 2, "{pids:?}");
    assert!(server.number("/handlers/recycled") >= 2);
}

#[test]
fn a_worker_in_a_sandbox_opens_nothing() {
    let open = Server::start(&["--root", "root"]);
    assert_eq!(open.get("/fault/open").status, 200);
    let shut = Server::start(&["--root", "root", "--sandbox"]);
    let refused = shut.get("/fault/open");
    assert_eq!(
        (refused.status, refused.text()),
        (403, "Permission denied (os error 13)\n")
    );
}
