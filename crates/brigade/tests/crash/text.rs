//! What is told: the last lines of stderr, and one line for each error.

use brigade::{JoinError, process, thread};

use crate::crash_of;

#[test]
fn the_last_lines_of_stderr_are_kept() {
    let crash = crash_of(
        |lines: u32| -> () {
            for n in 0..lines {
                eprintln!("line {n}");
            }
            std::process::abort();
        },
        2000,
    );
    let kept = crash.stderr();
    assert!(kept.ends_with("line 1998\nline 1999\n"), "{kept}");
    assert!(kept.len() <= 4096 && kept.len() > 3000);
    assert!(kept.starts_with("line "), "whole lines only: {kept}");
}

#[test]
fn a_panic_tells_the_same_in_both_kinds() {
    fn fail(n: u32) -> u32 {
        panic!("the number was {n}")
    }
    brigade::init();
    let mut told = Vec::new();
    for ended in [
        thread::spawn(fail, 7).expect("starts").join(),
        process::spawn(fail, 7).expect("starts").join(),
    ] {
        let Err(JoinError::Panicked(panic)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(panic.message(), "the number was 7");
        assert!(
            panic.location().is_some_and(|l| l.contains("text.rs:")),
            "{:?}",
            panic.location()
        );
        assert!(
            panic.backtrace().is_some_and(|b| b.contains("fail")),
            "{:?}",
            panic.backtrace()
        );
        assert!(panic.task().contains("fail"));
        told.push(panic.to_string());
    }
    assert_eq!(told[0], told[1]);
}

/// Two functions with the same code, which an optimizing compiler makes one of: then they have one
/// name.
#[test]
fn equal_functions_are_told_apart_by_the_place_of_their_call() {
    fn one(n: u32) -> u32 {
        std::fs::read(n.to_string()).map_or_else(|_| std::process::abort(), |b| b.len() as u32)
    }
    fn other(n: u32) -> u32 {
        std::fs::read(n.to_string()).map_or_else(|_| std::process::abort(), |b| b.len() as u32)
    }
    let first = line!() + 1;
    let crashes = [crash_of(one, 0), crash_of(other, 0)];
    let are_one = one as fn(u32) -> u32 as usize == other as fn(u32) -> u32 as usize;
    for (crash, name) in crashes.iter().zip(["::one", "::other"]) {
        assert!(crash.task().contains(name) || are_one, "{}", crash.task());
        assert_eq!(crash.started_at().file(), file!());
        assert_eq!(crash.started_at().line(), first);
    }
    assert_ne!(crashes[0].started_at(), crashes[1].started_at());
}

/// Where it died is where the program's own code was left, and not the library that ended it.
#[test]
fn the_place_is_the_programs_own() {
    fn by_std(_: u32) {
        std::process::abort()
    }
    fn by_c(_: u32) {
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
    fn by_raise(_: u32) {
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGFPE) };
        // Not a jump there, which would leave no frame of this function.
        std::hint::black_box(());
    }
    fn in_a_library(_: u32) {
        // SAFETY: none; writing there is the point.
        unsafe { libc::memset(std::hint::black_box(0x40) as *mut libc::c_void, 1, 4096) };
    }
    fn in_std(_: u32) {
        // SAFETY: none; reading there is the point.
        let text =
            unsafe { std::slice::from_raw_parts(std::hint::black_box(0x40) as *const u8, 64) };
        std::hint::black_box(text.to_vec());
    }
    for (task, name) in [
        (by_std as fn(u32), "by_std"),
        (by_c, "by_c"),
        (by_raise, "by_raise"),
        (in_a_library, "in_a_library"),
        (in_std, "in_std"),
    ] {
        let told = crash_of(task, 7).to_string();
        let place = told.rsplit(", in ").next().expect("a place");
        assert!(place.contains(name) && place.contains("text.rs:"), "{told}");
    }
}
