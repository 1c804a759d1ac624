//! Pools of a program's workers.

use std::time::Duration;

use brigade::{JoinError, Kind, Pool, process};

use crate::{Copy, this_file, this_program};

fn pool(program: &process::Program) -> Pool {
    let builder = Pool::builder(Kind::Process)
        .workers(2)
        .process(program.builder());
    builder.build().expect("a pool")
}

#[test]
fn a_pool_runs_tasks_of_its_program() {
    let program = this_program();
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .process(process::Builder::new().program(this_file()));
    let pool = pool.build().expect("a pool");
    let double = program.task::<u32, u32>("double").expect("exported");
    assert_eq!(pool.submit_named(&double, 4).join().expect("it returns"), 8);
    let handle = pool.try_submit_named(&double, 5).expect("there is room");
    assert_eq!(handle.join().expect("it returns"), 10);

    let all: Vec<u32> = pool
        .map_named(&double, 0..1000)
        .collect::<Result<_, _>>()
        .expect("all return");
    assert_eq!(all, (0..1000).map(|n| 2 * n).collect::<Vec<_>>());
    let mut seen = 0;
    for (number, result) in pool.map_unordered_named(&double, 0..1000) {
        assert_eq!(result.expect("it returns"), 2 * number as u32);
        seen += 1;
    }
    assert_eq!(seen, 1000);
}

#[test]
fn a_crash_costs_one_task() {
    let program = this_program();
    let pool = pool(&program);
    let abort = program.task::<(), u32>("abort").expect("exported");
    let double = program.task::<u32, u32>("double").expect("exported");
    let before: Vec<_> = (0..20).map(|n| pool.submit_named(&double, n)).collect();
    let crash = pool.submit_named(&abort, ());
    let after: Vec<_> = (0..20).map(|n| pool.submit_named(&double, n)).collect();
    let Err(JoinError::Crashed(crash)) = crash.join() else {
        panic!("it aborts");
    };
    assert!(crash.task().starts_with("abort of program"), "{crash}");
    for (n, handle) in before.into_iter().chain(after).enumerate() {
        assert_eq!(handle.join().expect("it returns"), 2 * (n as u32 % 20));
    }
}

#[test]
fn a_pool_goes_on_with_another_fork_server() {
    let copy = Copy::new("pool");
    let program = process::Program::open(copy.path()).expect("a program");
    let pool = pool(&program);
    let server = program.task::<(), u32>("server").expect("exported");
    let first = pool
        .submit_named(&server, ())
        .join()
        .expect("it has a parent");
    brigade_test_support::signal::kill(first);
    let second = loop {
        match pool.submit_named(&server, ()).join() {
            // A worker that was about to be killed.
            Err(JoinError::Crashed(_)) => {}
            Ok(pid) if pid == first || pid == 1 => {}
            other => break other.expect("it has a parent"),
        }
    };
    assert_ne!(second, first);
}

#[test]
fn a_task_over_its_time_is_ended() {
    let program = this_program();
    let builder = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(Duration::from_secs(1));
    let pool = builder.process(program.builder()).build().expect("a pool");
    let hang = program.task::<(), u32>("hang").expect("exported");
    let ended = pool.submit_named(&hang, ()).join();
    assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
}

/// What an end that is no end says.
#[track_caller]
fn undeliverable<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> String {
    match ended {
        Err(JoinError::Undeliverable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn workers_of_another_program_are_said_to_be_that() {
    let program = this_program();
    let double = program.task::<u32, u32>("double").expect("exported");

    let threads = Pool::threads(1).expect("a pool");
    let why = undeliverable(threads.submit_named(&double, 1).join());
    assert!(why.contains("threads of this one"), "{why}");
    assert_eq!(
        threads
            .map_named(&double, 0..3)
            .filter(Result::is_err)
            .count(),
        3
    );
    assert_eq!(
        threads
            .map_unordered_named(&double, 0..3)
            .map(|(n, _)| n)
            .sum::<usize>(),
        3
    );

    let copy = Copy::new("another");
    let other = process::Program::open(copy.path()).expect("a program");
    let theirs = pool(&other);
    let why = undeliverable(theirs.submit_named(&double, 1).join());
    assert!(why.contains(&copy.path().display().to_string()), "{why}");
    assert_eq!(
        theirs
            .map_named(&double, 0..3)
            .filter(Result::is_err)
            .count(),
        3
    );

    // A function of this program is not theirs, whatever program it is.
    let why = undeliverable(theirs.submit(|n: u32| n, 1).join());
    assert!(why.contains("a function of this program"), "{why}");
    let e = program
        .builder()
        .spawn(|n: u32| n, 1)
        .expect_err("a function of this program");
    assert!(e.to_string().contains("a function of this program"), "{e}");
    let builder = Pool::builder(Kind::Process)
        .process(program.builder())
        .initializer(|| {});
    let e = builder.build().expect_err("a function of this program");
    assert!(e.to_string().contains("initializer"), "{e}");
    let e = other
        .spawn(&double, 1)
        .expect_err("a task of another program");
    assert!(e.to_string().contains("`double`"), "{e}");
}

#[test]
fn a_task_is_started_where_it_was_submitted() {
    let program = this_program();
    let pool = pool(&program);
    let panic = program.task::<String, u32>("panic").expect("exported");
    let line = line!() + 1;
    let ended = pool.submit_named(&panic, "why".to_owned()).join();
    let Err(JoinError::Panicked(panicked)) = ended else {
        panic!("{ended:?}");
    };
    let place = format!("{panicked:?}");
    assert!(place.contains("tests/program/pools.rs"), "{place}");
    assert!(place.contains(&format!("line: {line}")), "{place}");
}
