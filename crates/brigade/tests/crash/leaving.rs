//! Tasks that leave instead of returning.

use brigade::{Cause, Kind, Phase, Pool, process};

use crate::{crash_of, next_task_succeeds};

#[test]
fn abort() {
    let crash = crash_of(|()| -> () { std::process::abort() }, ());
    assert_eq!(crash.cause(), &Cause::Abort);
    assert_eq!(crash.phase(), Phase::Running);
    assert!(crash.backtrace().is_some());
}

#[test]
fn exit_with_a_status() {
    for status in [0, 1, 42, 255] {
        let crash = crash_of(
            |status: i32| -> () {
                // SAFETY: ends the process; `exit` runs the handlers that were registered in it.
                unsafe { libc::exit(status) };
            },
            status,
        );
        assert_eq!(crash.cause(), &Cause::Exit(status));
    }
}

#[test]
fn exit_without_a_word() {
    let crash = crash_of(
        |()| -> () {
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(0) };
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Exit(0));
    assert_eq!(crash.phase(), Phase::Running);
}

#[test]
fn exec_of_another_program() {
    let crash = crash_of(
        |()| {
            use std::os::unix::process::CommandExt;
            std::process::Command::new("/bin/false").exec().to_string()
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Exit(1));
}

/// Makes its parent, the fork server, its tracer.
fn be_traced() {
    // SAFETY: no memory is involved.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(traced, 0, "{}", std::io::Error::last_os_error());
}

fn raise(signal: i32) {
    // SAFETY: it has no handler, or one that nothing depends on.
    unsafe { libc::raise(signal) };
}

fn goes_on_traced(signal: i32) -> i32 {
    be_traced();
    raise(signal);
    signal
}

/// Each signal waits for the tracer, who does not know of it.
#[test]
fn a_task_that_asks_to_be_traced_goes_on_or_dies_of_its_own() {
    let abort: fn(u32) = |_| {
        be_traced();
        std::process::abort();
    };
    assert_eq!(crash_of(abort, 1).cause(), &Cause::Abort);
    let signal: fn(i32) = |signal| {
        be_traced();
        raise(signal);
    };
    let of_its_own = crash_of(signal, libc::SIGUSR2);
    assert!(
        matches!(
            of_its_own.cause(),
            Cause::Signal(libc::SIGUSR2) | Cause::Killed(libc::SIGUSR2)
        ),
        "{of_its_own}"
    );
    let pool = Pool::new(Kind::Process, 1).expect("a pool");
    for _ in 0..3 {
        let ended = process::spawn(goes_on_traced, libc::SIGWINCH).expect("a process starts");
        assert_eq!(ended.join().expect("it returns"), libc::SIGWINCH);
        let ended = pool.submit(goes_on_traced, libc::SIGWINCH);
        assert_eq!(ended.join().expect("it returns"), libc::SIGWINCH);
    }
    let exec: fn(u32) = |_| {
        use std::os::unix::process::CommandExt;
        be_traced();
        let why = std::process::Command::new("/bin/false").exec();
        panic!("{why}");
    };
    assert_eq!(crash_of(exec, 1).cause(), &Cause::Exit(1));
    next_task_succeeds();
}
