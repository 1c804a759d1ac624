//! Tasks of a program, each in a process of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use brigade::{Cause, JoinError, process};
use brigade_test_support::{procfs, signal, wait};

use crate::{Copy, Kind, Order, this_program};

#[test]
fn a_task_runs_in_a_worker_of_its_program() {
    let program = this_program();
    let add = program.task::<(u64, u64), u64>("add").expect("exported");
    assert_eq!(
        program
            .spawn(&add, (1, 2))
            .expect("a process starts")
            .join()
            .expect("sum"),
        3
    );

    let echo = program.task::<Order, Order>("echo").expect("exported");
    let order = Order {
        id: 7,
        kind: Kind::Sized {
            width: 2,
            height: 3,
        },
        notes: BTreeMap::from([("a".to_owned(), vec!["b".to_owned()])]),
    };
    let handle = program
        .spawn(&echo, order.clone())
        .expect("a process starts");
    assert_eq!(handle.join().expect("it returns"), order);

    let large = program.task::<Vec<u8>, Vec<u8>>("large").expect("exported");
    let bytes = vec![7; 3 << 20];
    let handle = program
        .spawn(&large, bytes.clone())
        .expect("a process starts");
    assert_eq!(handle.join().expect("it returns"), bytes);
}

#[test]
fn the_program_has_no_arguments_and_the_builders_options() {
    let program = this_program();
    let arguments = program
        .task::<(), Vec<String>>("arguments")
        .expect("exported");
    let had = program
        .spawn(&arguments, ())
        .expect("a process starts")
        .join();
    assert_eq!(
        had.expect("it returns"),
        [program.path().display().to_string()]
    );

    let variable = program
        .task::<String, Option<String>>("variable")
        .expect("exported");
    let builder = program.builder().env("COLOUR", "green").name("painter");
    let handle = builder.spawn_named(&variable, "COLOUR".to_owned());
    let had = handle.expect("a process starts").join();
    assert_eq!(had.expect("it returns").as_deref(), Some("green"));
}

#[test]
fn each_way_to_end_is_told_by_the_tasks_name() {
    let program = this_program();
    let panic = program.task::<String, u32>("panic").expect("exported");
    let ended = program
        .spawn(&panic, "why not".to_owned())
        .expect("a process starts")
        .join();
    let Err(JoinError::Panicked(panicked)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(panicked.message(), "why not");
    let place = panicked.location().expect("it has a place");
    assert!(place.contains("tests/program/main.rs"), "{place}");

    let abort = program.task::<(), u32>("abort").expect("exported");
    let ended = program.spawn(&abort, ()).expect("a process starts").join();
    let Err(JoinError::Crashed(crash)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(*crash.cause(), Cause::Abort);
    assert!(crash.task().starts_with("abort of program"), "{crash}");
}

#[cfg(feature = "backtrace")]
#[test]
fn a_crash_is_traced_in_the_programs_own_file() {
    let program = this_program();
    let abort = program.task::<(), u32>("abort").expect("exported");
    let ended = program.spawn(&abort, ()).expect("a process starts").join();
    let Err(JoinError::Crashed(crash)) = ended else {
        panic!("{ended:?}");
    };
    let backtrace = crash.backtrace().expect("it aborted");
    assert!(backtrace.contains("tests/program/main.rs"), "{backtrace}");
}

#[test]
fn a_task_is_cancelled() {
    let program = this_program();
    let hang = program.task::<(), u32>("hang").expect("exported");
    let handle = program.spawn(&hang, ()).expect("a process starts");
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
}

#[test]
fn a_fork_server_that_is_killed_is_started_again() {
    let copy = Copy::new("killed");
    let program = process::Program::open(copy.path()).expect("a program");
    let server = program.task::<(), u32>("server").expect("exported");
    let hang = program.task::<(), u32>("hang").expect("exported");
    let first = program.spawn(&server, ()).expect("a process starts").join();
    let first = first.expect("it has a parent");
    let lost = program.spawn(&hang, ()).expect("a process starts");
    signal::kill(first);
    let ended = lost.join();
    assert!(matches!(&ended, Err(JoinError::Crashed(_))), "{ended:?}");
    let second = program.spawn(&server, ()).expect("a process starts").join();
    assert_ne!(second.expect("it has a parent"), first);
}

#[test]
fn the_fork_server_ends_with_the_last_that_names_the_program() {
    let copy = Copy::new("dropped");
    let program = process::Program::open(copy.path()).expect("a program");
    let again = process::Program::open(copy.path()).expect("the same program");
    let server = program.task::<(), u32>("server").expect("exported");
    let hang = program.task::<(), u32>("hang").expect("exported");
    let pid = program.spawn(&server, ()).expect("a process starts").join();
    let pid = pid.expect("it has a parent");
    let same = again.task::<(), u32>("server").expect("exported");
    assert_eq!(
        again
            .spawn(&same, ())
            .expect("a process starts")
            .join()
            .expect("parent"),
        pid
    );
    let running = program.spawn(&hang, ()).expect("a process starts");
    drop((program, again, server, same, hang));
    // A task that runs goes on.
    let ended = running.join_timeout(Duration::from_millis(100));
    let running = ended.expect_err("it hangs");
    assert!(!procfs::has_ended(pid));
    running.cancel();
    assert!(matches!(running.join(), Err(JoinError::Cancelled)));
    wait::until("the fork server ends", || procfs::has_ended(pid));
}
