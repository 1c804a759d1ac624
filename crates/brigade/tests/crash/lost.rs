//! Ends that cannot be known, and workers that break the protocol.

use std::time::Duration;

use brigade::{Cause, JoinError, process};

use crate::{crash_of, into_crash, next_task_succeeds};

/// Overwrites everything in the memory that this worker shares with its host, but for the phase: a
/// task that corrupts its process.
fn scribble(byte: u8) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    for line in maps.lines().filter(|l| l.contains("memfd:brigade-mailbox")) {
        let (low, high) = line
            .split_once(' ')
            .expect("a range")
            .0
            .split_once('-')
            .expect("two ends");
        let (low, high) = (
            usize::from_str_radix(low, 16).expect("hex"),
            usize::from_str_radix(high, 16).expect("hex"),
        );
        // SAFETY: none: it is mapped and writable, and not ours to write.
        unsafe { std::ptr::write_bytes(low as *mut u8, byte, high - low) };
    }
}

#[test]
fn a_worker_that_scribbles_over_its_mailbox_and_goes_on() {
    fn scribble_and_stay(byte: u8) {
        scribble(byte);
        loop {
            std::thread::park();
        }
    }
    brigade::init();
    for byte in [0x01, 0x80, 0xff] {
        let mut handle = process::spawn(scribble_and_stay, byte).expect("a process starts");
        // It wakes nobody; whoever looks again sees it.
        let ended = loop {
            match handle.join_timeout(Duration::from_millis(20)) {
                Ok(ended) => break ended,
                Err(again) => handle = again,
            }
        };
        assert_eq!(into_crash(ended).cause(), &Cause::Lost);
        next_task_succeeds();
    }
}

#[test]
fn a_worker_that_scribbles_and_dies() {
    for byte in [0x01, 0x80, 0xff] {
        let crash = crash_of(
            |byte: u8| -> () {
                scribble(byte);
                std::process::abort();
            },
            byte,
        );
        // Lost, if the host looked between the two.
        assert!(
            matches!(crash.cause(), Cause::Abort | Cause::Lost),
            "{crash}"
        );
    }
}

#[test]
fn a_worker_that_scribbles_and_returns_harms_only_its_own_task() {
    brigade::init();
    for byte in [0x01, 0x80, 0xff] {
        let handle = process::spawn(|byte: u8| scribble(byte), byte).expect("a process starts");
        match handle.join() {
            Ok(()) => {}
            // The host looked between the two.
            Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
            other => panic!("{other:?}"),
        }
        next_task_succeeds();
    }
}

#[test]
fn a_worker_that_cannot_see_the_exit_table() {
    brigade::init();
    let seen = process::spawn(
        |()| {
            std::fs::read_to_string("/proc/self/maps")
                .expect("maps")
                .contains("brigade-exit table")
        },
        (),
    );
    assert!(!seen.expect("a process starts").join().expect("it succeeds"));
}

#[test]
fn zeroes_in_the_mailbox_hang_nobody() {
    // The ring looks empty then, and the worker's own end is what tells.
    brigade::init();
    let ended = process::spawn(
        |()| {
            scribble(0);
            std::process::abort()
        },
        (),
    );
    let crash = into_crash::<()>(ended.expect("a process starts").join());
    assert_eq!(crash.cause(), &Cause::Abort);
    next_task_succeeds();
}
