//! The program itself is stopped: its tasks lose nothing by it.

use std::time::{Duration, Instant};

use brigade::{Kind, Pool, process};
use brigade_test_support::procfs::has_ended;
use brigade_test_support::signal::{go_on, stop};
use brigade_test_support::wait::{pause, until};

use crate::Host;
use crate::processes::{Child, listen, say};
use crate::tasks::{double, flag, is_set, join, server, until_let};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("timed-threads", || timed(Kind::Thread)),
    ("timed-processes", || timed(Kind::Process)),
    ("short-threads", || short(Kind::Thread)),
    ("short-processes", || short(Kind::Process)),
    ("long-processes", long),
    ("joins", joins),
    ("keeps-its-server", keeps_its_server),
    ("never-ends-threads", || never_ends(Kind::Thread)),
    ("never-ends-processes", || never_ends(Kind::Process)),
];

pub(crate) const TRIALS: &[(&str, fn())] = &[
    ("a_stopped_program_threads_have_their_time", || {
        stopped("timed-threads")
    }),
    ("a_stopped_program_processes_have_their_time", || {
        stopped("timed-processes")
    }),
    ("a_program_stopped_for_moments_threads", || {
        for_moments("short-threads")
    }),
    ("a_program_stopped_for_moments_processes", || {
        for_moments("short-processes")
    }),
    ("a_stopped_program_a_task_that_ran_through", || {
        stopped("long-processes")
    }),
    ("a_stopped_program_join_timeout_looks_first", || {
        stopped("joins")
    }),
    ("a_stopped_program_does_not_end_its_fork_server", || {
        let mut host = Child::host("keeps-its-server");
        assert_eq!(host.line(), "ready");
        host.is_stopped_for(Duration::from_secs(13));
        host.tell();
        host.ends_well();
    }),
    ("a_stopped_program_whose_fork_server_is_stopped", || {
        let mut host = Child::host("keeps-its-server");
        assert_eq!(host.line(), "ready");
        let server = host.line().parse().expect("a number");
        // Both, as in a control group that is frozen.
        stop(host.pid());
        stop(server);
        pause(Duration::from_secs(12));
        go_on(host.pid());
        go_on(server);
        host.tell();
        host.ends_well();
    }),
    ("a_stopped_program_time_is_over_in_the_end_threads", || {
        stopped("never-ends-threads")
    }),
    (
        "a_stopped_program_time_is_over_in_the_end_processes",
        || stopped("never-ends-processes"),
    ),
];

/// Stops a host for three seconds as soon as it says that it is ready, as often as it says so.
fn stopped(name: &'static str) {
    let mut host = Child::host(name);
    while host.line() == "ready" {
        host.is_stopped_for(Duration::from_secs(3));
        host.tell();
    }
    host.ends_well();
}

fn for_moments(name: &'static str) {
    let mut host = Child::host(name);
    assert_eq!(host.line(), "ready");
    for _ in 0..10 {
        host.is_stopped_for(Duration::from_millis(100));
        pause(Duration::from_millis(20));
    }
    host.tell();
    host.ends_well();
}

/// What a task has.
const TIME: Duration = Duration::from_millis(1500);

/// A task that needs so much time, in milliseconds, in which it can run: what is between two of its
/// steps counts as 20 ms at the most: on a machine that has much to do a step takes longer.
pub(crate) fn run_for(needs: u64) -> u64 {
    let step = Duration::from_millis(20);
    let mut had = Duration::ZERO;
    let mut last = Instant::now();
    while had < Duration::from_millis(needs) {
        pause(Duration::from_millis(1));
        had += last.elapsed().min(step);
        last = Instant::now();
    }
    needs
}

fn timed(kind: Kind) {
    let pool = Pool::builder(kind)
        .workers(2)
        .timeout(TIME)
        .build()
        .expect("a pool");
    for turn in 0..3 {
        let handles: Vec<_> = (0..8).map(|_| pool.submit(run_for, 300)).collect();
        pause(Duration::from_millis(150 * turn));
        say("ready");
        listen();
        for handle in handles {
            let ended = join(handle);
            assert_eq!(ended.expect("it did not need as much time as it had"), 300);
        }
        assert!(pool.map(run_for, [200; 6]).all(|ended| ended.is_ok()));
    }
}

fn short(kind: Kind) {
    let pool = Pool::builder(kind)
        .workers(1)
        .timeout(Duration::from_millis(900))
        .build();
    let pool = pool.expect("a pool");
    let handle = pool.submit(run_for, 500);
    say("ready");
    assert_eq!(
        join(handle).expect("it did not need as much time as it had"),
        500
    );
    assert_eq!(pool.stats().timed_out, 0);
    listen();
}

/// Takes so many milliseconds, whoever is stopped meanwhile.
fn last(millis: u64) -> u64 {
    pause(Duration::from_millis(millis));
    millis
}

fn long() {
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(TIME)
        .build()
        .expect("a pool");
    // It ends while the program is stopped; and one that ends after that, having had less than its
    // time beside the program.
    for needs in [2500, 3300] {
        let handle = pool.submit(last, needs);
        until("it runs", || handle.pid().is_some());
        say("ready");
        listen();
        assert_eq!(
            join(handle).expect("they did not run both for so long"),
            needs
        );
    }
}

fn joins() {
    let pools: Vec<Pool> = Kind::ALL
        .map(|kind| Pool::new(kind, 1).expect("a pool"))
        .into();
    for turn in 0..3 {
        let handle = match turn {
            0 => process::spawn(run_for, 500).expect("a process"),
            1 => pools[0].submit(run_for, 500),
            _ => pools[1].submit(run_for, 500),
        };
        let kind = handle.kind();
        let waiter = std::thread::spawn(move || handle.join_timeout(Duration::from_secs(2)));
        pause(Duration::from_millis(20));
        say("ready");
        listen();
        // A thread has not run, and so it may not have ended; the result of a process is there.
        match waiter.join().expect("no panic") {
            Ok(ended) => assert_eq!(ended.expect("it returned"), 500),
            Err(handle) => {
                assert_eq!(kind, Kind::Thread);
                assert_eq!(join(handle).expect("it returns"), 500);
            }
        }
    }
}

fn keeps_its_server() {
    let server = server();
    let (begun, gate) = (flag(), flag());
    let handle = process::spawn(until_let, (begun.clone(), gate.clone())).expect("a process");
    let pid = is_set(&begun);
    // A question is on its way.
    pause(Duration::from_millis(900));
    say("ready");
    say(server);
    listen();
    pause(Duration::from_secs(3));
    assert!(!has_ended(pid));
    gate.store(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(join(handle).expect("it is let"), 7);
    assert_eq!(
        join(process::spawn(double, 2).expect("a process")).expect("returns"),
        4
    );
    assert_eq!(self::server(), server);
}

fn never_ends(kind: Kind) {
    let pool = Pool::builder(kind)
        .workers(1)
        .timeout(Duration::from_millis(500))
        .build();
    let pool = pool.expect("a pool");
    let begun = flag();
    let handle = pool.submit(crate::tasks::for_ever, begun.clone());
    is_set(&begun);
    say("ready");
    listen();
    let start = Instant::now();
    let ended = join(handle);
    assert!(
        matches!(ended, Err(brigade::JoinError::TimedOut(_))),
        "{ended:?}"
    );
    // It was given back what it could not use, and no more.
    assert!(start.elapsed() < Duration::from_secs(20));
}
