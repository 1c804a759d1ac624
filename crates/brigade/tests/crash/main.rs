//! Every way to die, in a process: the right name, the right phase, and the next task succeeds.
//!
//! A file a family of deaths. Tasks here misbehave on purpose and in one line each.

mod codec;
mod faults;
mod leaving;
mod locks;
mod lost;
mod outside;
mod text;

use brigade::{Crash, JoinError, Message, process};

/// Runs a task that dies, and gives what is told of it.
#[track_caller]
fn crash_of<A: Message, R: Message + std::fmt::Debug>(task: fn(A) -> R, input: A) -> Crash {
    brigade::init();
    let handle = process::spawn(task, input).expect("a process starts");
    let pid = handle.pid();
    let crash = into_crash(handle.join());
    assert_eq!(Some(crash.pid()), pid);
    next_task_succeeds();
    crash
}

fn into_crash<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Crash {
    match ended {
        Err(JoinError::Crashed(crash)) => crash,
        other => panic!("expected a crash, got {other:?}"),
    }
}

fn next_task_succeeds() {
    let next = process::spawn(|n: u32| n + 1, 1).expect("a process starts");
    assert_eq!(next.join().expect("an innocent task succeeds"), 2);
}
