//! Tasks that leave instead of returning.

use brigade::{Cause, Phase};

use crate::crash_of;

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
