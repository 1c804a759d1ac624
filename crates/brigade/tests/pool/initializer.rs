//! What is done once in every worker before its first task.

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use brigade::{JoinError, Kind, Pool, process};

use crate::{both, double, join, pool, until, works};

#[test]
fn it_runs_once_in_every_worker() {
    /// In this program: all threads'. In a worker process: its own.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static MINE: AtomicU32 = const { AtomicU32::new(0) };
    }
    fn prepare() {
        RUNS.fetch_add(1, SeqCst);
        MINE.with(|runs| runs.fetch_add(1, SeqCst));
    }
    fn look(_: u32) -> (u32, u32) {
        (RUNS.load(SeqCst), MINE.with(|runs| runs.load(SeqCst)))
    }
    both(|kind| {
        let pool = Pool::builder(kind).workers(3).initializer(prepare).build();
        let pool = pool.expect("a pool");
        let expected = match kind {
            Kind::Thread => 3,
            Kind::Process => 1,
        };
        if kind == Kind::Thread {
            // `build` returns when each worker is ready.
            assert_eq!(RUNS.load(SeqCst), 3);
        }
        for ended in pool.map(look, 0..300) {
            assert_eq!(ended.expect("returns"), (expected, 1));
        }
    });
}

#[test]
fn replacements_are_prepared_too() {
    thread_local! {
        static READY: AtomicU32 = const { AtomicU32::new(0) };
    }
    fn prepare() {
        READY.with(|ready| ready.fetch_add(1, SeqCst));
    }
    fn look(_: u32) -> u32 {
        READY.with(|ready| ready.load(SeqCst))
    }
    both(|kind| {
        let builder = Pool::builder(kind).workers(2).initializer(prepare);
        let pool = builder.recycle_after(3).build().expect("a pool");
        assert!(
            pool.map(look, 0..100)
                .all(|ended| ended.is_ok_and(|n| n == 1))
        );
        for _ in 0..5 {
            let (handle, gate) = crate::occupy(&pool);
            handle.cancel();
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
            gate.add();
            assert_eq!(join(pool.submit(look, 0)).expect("returns"), 1);
        }
    });
}

#[test]
fn one_that_panics_is_an_error_of_build() {
    fn fail() {
        panic!("no database");
    }
    both(|kind| {
        for workers in [1, 4] {
            let built = Pool::builder(kind)
                .workers(workers)
                .initializer(fail)
                .build();
            let error = built.expect_err("it panics").to_string();
            assert!(
                error.contains("no database") && error.contains("initializer"),
                "{error}"
            );
        }
    });
}

#[test]
fn one_that_fails_is_named() {
    fn fail() {
        panic!("no database");
    }
    fn dies() {
        std::process::abort();
    }
    both(|kind| {
        let told = |initializer: fn()| {
            let builder = Pool::builder(kind).workers(1).initializer(initializer);
            builder.build().expect_err("it fails").to_string()
        };
        let panics = told(fail);
        assert!(panics.contains("one_that_fails_is_named::fail"), "{panics}");
        let line = line!() + 2;
        let builder = Pool::builder(kind).workers(1);
        let closure = builder.initializer(|| panic!("no database")).build();
        let closure = closure.expect_err("it fails").to_string();
        // By where it was given.
        assert!(
            closure.contains(&format!("initializer.rs:{line}:")),
            "{closure}"
        );
        assert!(!closure.contains("src/pool"), "{closure}");
        for text in [panics, closure] {
            assert!(
                text.starts_with("the pool's initializer failed: task `"),
                "{text}"
            );
            assert!(text.ends_with("no database"), "{text}");
        }
        if kind == Kind::Process {
            let dies = told(dies);
            assert!(dies.contains("one_that_fails_is_named::dies"), "{dies}");
        }
    });
}

#[test]
fn one_that_crashes_is_an_error_of_build() {
    fn fault() {
        // SAFETY: none; reading there is the point.
        unsafe { std::ptr::read_volatile(0x40 as *const u8) };
    }
    fn leave() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) };
    }
    fn abort() {
        std::process::abort();
    }
    crate::processes(|| {
        for workers in [1, 4] {
            for (initializer, what) in [
                (fault as fn(), "SIGSEGV"),
                (leave, "exit(3)"),
                (abort, "abort"),
            ] {
                let builder = Pool::builder(Kind::Process).workers(workers);
                let error = builder.initializer(initializer).build();
                let error = error.expect_err("it crashes").to_string();
                assert!(error.contains(what), "{error}");
            }
        }
        works(&pool(Kind::Process, 2));
    });
}

#[test]
fn one_that_fails_in_some_workers_only_is_an_error_of_build() {
    static TURN: AtomicU32 = AtomicU32::new(0);
    fn third() {
        assert!(TURN.fetch_add(1, SeqCst) != 2, "the third has no room");
    }
    both(|kind| {
        if kind == Kind::Thread {
            let built = Pool::builder(kind).workers(5).initializer(third).build();
            let error = built.expect_err("one panics").to_string();
            assert!(error.contains("the third has no room"), "{error}");
        }
    });
}

/// Where it says whether to fail. For processes: a file of the name that is in their environment.
static FAIL: AtomicU32 = AtomicU32::new(0);
const VARIABLE: &str = "BRIGADE_TEST_INITIALIZER_FAILS";

fn fails_later() {
    if FAIL.load(SeqCst) == 1 {
        panic!("the door is shut");
    }
    if let Some(path) = std::env::var_os(VARIABLE)
        && let Ok(how) = std::fs::read_to_string(path)
    {
        if how == "abort" {
            std::process::abort();
        }
        panic!("the door is shut");
    }
}

fn shut(kind: Kind, path: &PathBuf, how: &str) {
    match kind {
        Kind::Thread => FAIL.store(1, SeqCst),
        Kind::Process => std::fs::write(path, how).expect("written"),
    }
}

#[test]
fn one_that_fails_for_replacements_only() {
    both(|kind| {
        let ways: &[&str] = match kind {
            Kind::Thread => &["panic"],
            Kind::Process => &["panic", "abort"],
        };
        for &how in ways {
            let name = format!("brigade-initializer-{}-{how}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let pool = Pool::builder(kind)
                .workers(2)
                .initializer(fails_later)
                .recycle_after(5)
                .process(process::Builder::new().env(VARIABLE, &path))
                .build()
                .expect("it does not fail yet");
            shut(kind, &path, how);
            // So many are run, and no more; the others end too, and say why.
            let handles: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
            let (mut done, mut whys) = (0, Vec::new());
            for (n, handle) in (0..).zip(handles) {
                match join(handle) {
                    Ok(doubled) => {
                        assert_eq!(doubled, n * 2);
                        done += 1;
                    }
                    Err(why) => whys.push(why),
                }
            }
            assert!(done <= 10 && whys.len() == 100 - done, "{done}");
            for why in whys {
                let told = why.to_string();
                assert!(told.contains("fails_later"), "{told}");
                match how {
                    "abort" => assert!(told.contains("abort"), "{told}"),
                    _ => assert!(told.contains("the door is shut"), "{told}"),
                }
            }
            // It does not hang for those who come later either, and it can be ended.
            assert!(join(pool.submit(double, 1)).is_err());
            assert!(pool.map(double, 0..10).all(|ended| ended.is_err()));
            let stats = pool.stats();
            assert_eq!(stats.submitted, stats.done + stats.failed(), "{stats:?}");
            pool.shutdown();
            FAIL.store(0, SeqCst);
            let _ = std::fs::remove_file(path);
        }
    });
}

#[test]
fn one_that_works_again_later_is_tried_again() {
    crate::processes(|| {
        let name = format!("brigade-initializer-again-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .initializer(fails_later)
            .process(process::Builder::new().env(VARIABLE, &path))
            .build()
            .expect("it does not fail yet");
        shut(Kind::Process, &path, "panic");
        crate::kill(pool.pids()[0]);
        until("a task fails", || join(pool.submit(double, 1)).is_err());
        std::fs::remove_file(&path).expect("removed");
        until("a task succeeds", || join(pool.submit(double, 1)).is_ok());
    });
}
