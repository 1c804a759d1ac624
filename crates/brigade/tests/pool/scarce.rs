//! The program has as many descriptors as it may, for a while.

use std::fs::File;
use std::time::Duration;

use brigade::channel::{Sender, Transport, channel};
use brigade::{JoinError, Kind, process};
use brigade_test_support::wait::{LIMIT, pause};
use brigade_test_support::{procfs, signal};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{join, pool, processes};

fn send_one(sender: Sender<u32>) -> u32 {
    sender.send(1).expect("the receiver is there");
    7
}

/// In a process of its own. A worker's way for descriptors is opened while there is room for none.
fn waits_until_there_are_some(_: ()) {
    let limit = Rlimit {
        current: Some(200),
        maximum: Some(200),
    };
    setrlimit(Resource::Nofile, limit).expect("a process may have less");
    let pool = pool(Kind::Process, 1);
    let server = procfs::parent(pool.pids()[0]).expect("it is there");
    let (sender, receiver) = channel(Transport::Pipe, 1).expect("a channel");
    // It is asked for the worker's socket, and gives it when there is no room for that any more.
    signal::stop(server);
    let handle = pool.submit(send_one, sender);
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    signal::send(server, libc::SIGCONT);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| handle.join_timeout(LIMIT));
        // The worker has nothing to do, and cannot be given what there is.
        pause(Duration::from_millis(300));
        assert!(!waits.is_finished());
        drop(all);
        let ended = waits.join().expect("no panic");
        assert_eq!(ended.expect("in time").expect("it returns"), 7);
    });
    assert_eq!(receiver.recv(), Ok(1));
}

#[test]
fn a_task_with_descriptors_waits_until_there_are_some() {
    processes(|| {
        let host = process::spawn(waits_until_there_are_some, ()).expect("starts");
        join(host).expect("it judges for itself");
    });
}

fn large(n: u8) -> Vec<u8> {
    vec![n; 100_000]
}

/// In a process of its own.
fn has_no_place_for_a_result(_: ()) {
    let limit = Rlimit {
        current: Some(200),
        maximum: Some(200),
    };
    setrlimit(Resource::Nofile, limit).expect("a process may have less");
    let pool = pool(Kind::Process, 1);
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for n in 0..3 {
        let ended = join(pool.submit(large, n));
        assert!(matches!(ended, Err(JoinError::Undeliverable(_))), "{n}");
    }
    drop(all);
    for n in 3..10 {
        assert!(join(pool.submit(large, n)).expect("it returns") == large(n));
    }
    assert_eq!(pool.stats().restarts, 0);
}

#[test]
fn a_result_that_could_not_be_received_is_not_taken_for_the_next() {
    processes(|| {
        let host = process::spawn(has_no_place_for_a_result, ()).expect("starts");
        join(host).expect("it judges for itself");
    });
}
