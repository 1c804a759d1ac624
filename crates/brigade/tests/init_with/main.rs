//! What the program runs first in itself and in each of its workers.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::process::Builder;
use brigade::{Cause, JoinError, Kind, Pool};

/// How often it ran in this process.
static RUNS: AtomicU32 = AtomicU32::new(0);
/// How often it had run when the pool's initializer did.
static RUNS_BEFORE: AtomicU32 = AtomicU32::new(0);

/// What it does in a worker, in a start of this program for one test.
const ROLE: &str = "BRIGADE_TEST_INIT_WITH";

fn first() {
    RUNS.fetch_add(1, Ordering::Relaxed);
    let name = std::fs::read_to_string("/proc/self/comm").expect("proc(5)");
    if !name.starts_with("brigade-worker") {
        return;
    }
    match std::env::var(ROLE).as_deref() {
        Ok("panic") => panic!("no log to be had"),
        Ok("abort") => std::process::abort(),
        _ => {}
    }
}

fn runs(_: ()) -> (u32, u32) {
    let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
    (load(&RUNS), load(&RUNS_BEFORE))
}

/// As the program, with what happens in its workers.
fn in_role(test: &str, role: &str, check: impl FnOnce()) {
    if std::env::var(ROLE).as_deref() == Ok(role) {
        brigade::init_with(first);
        return check();
    }
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test])
        .env(ROLE, role)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{ran:?}");
}

#[brigade::test(init_with = first)]
fn it_runs_once_in_each_process() {
    brigade::init();
    brigade::init_with(|| panic!("the first one counts"));
    assert_eq!(runs(()), (1, 0));
    for _ in 0..3 {
        let worker = brigade::process::spawn(runs, ()).expect("a worker");
        assert_eq!(worker.join().expect("it returns"), (1, 0));
    }
    let pool = Pool::processes(2).expect("a pool");
    for result in pool.map(runs, [(); 100]) {
        assert_eq!(result.expect("it returns"), (1, 0));
    }
    // Those that take a dead worker's place too.
    for _ in 0..4 {
        let crashed = pool.submit(|()| -> () { std::process::abort() }, ()).join();
        assert!(crashed.expect_err("it aborts").is_crash());
        assert_eq!(pool.submit(runs, ()).join().expect("it returns"), (1, 0));
    }
    let threads = Pool::threads(2).expect("a pool");
    for result in threads.map(runs, [(); 100]) {
        assert_eq!(result.expect("it returns"), (1, 0));
    }
}

#[test]
fn it_comes_before_an_initializer_and_after_the_builder() {
    fn initializer() {
        RUNS_BEFORE.store(RUNS.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    brigade::init_with(first);
    let builder = Builder::new().env("PURPOSE", "test").memory_limit(1 << 30);
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .initializer(initializer)
        .process(builder)
        .build()
        .expect("a pool");
    for result in pool.map(runs, [(); 20]) {
        assert_eq!(result.expect("it returns"), (1, 1));
    }
}

#[test]
fn a_workers_own_workers_do_it_too() {
    fn inner(_: ()) -> (u32, u32) {
        brigade::init_with(first);
        let worker = brigade::process::spawn(runs, ()).expect("a worker");
        let theirs = worker.join().expect("it returns");
        assert_eq!(runs(()), (1, 0));
        theirs
    }
    brigade::init_with(first);
    let worker = brigade::process::spawn(inner, ()).expect("a worker");
    assert_eq!(worker.join().expect("it returns"), (1, 0));
}

#[cfg(feature = "sandbox")]
#[test]
fn a_worker_in_a_sandbox_does_it_before_it_is_shut_in() {
    brigade::init_with(first);
    let builder = Builder::new().sandbox(brigade::Sandbox::deny_all());
    let worker = builder.spawn(runs, ()).expect("a worker");
    assert_eq!(worker.join().expect("it returns"), (1, 0));
}

#[test]
fn a_panic_in_a_worker_is_an_error_of_who_starts_it() {
    let test = "a_panic_in_a_worker_is_an_error_of_who_starts_it";
    in_role(test, "panic", || {
        assert_eq!(runs(()), (1, 0), "the program is well");
        let error = brigade::process::spawn(runs, ()).expect_err("it panics");
        let text = error.to_string();
        assert!(
            text.contains("what the program runs first panicked: no log to be had"),
            "{text}"
        );
        let error = Pool::processes(2).expect_err("it panics");
        let text = error.to_string();
        assert!(text.contains("init_with::first"), "{text}");
        assert!(text.contains("no log to be had"), "{text}");
        // An initializer is not to blame.
        let error = Pool::builder(Kind::Process)
            .workers(1)
            .initializer(|| {})
            .build()
            .expect_err("it panics");
        assert!(error.to_string().contains("init_with::first"), "{error}");
        // Its threads need nothing of it.
        let threads = Pool::threads(1).expect("a pool");
        assert_eq!(threads.submit(runs, ()).join().expect("ok"), (1, 0));
    });
}

#[test]
fn a_crash_in_a_worker_is_an_error_of_who_starts_it() {
    let test = "a_crash_in_a_worker_is_an_error_of_who_starts_it";
    in_role(test, "abort", || {
        let error = brigade::process::spawn(runs, ()).expect_err("it aborts");
        let text = error.to_string();
        assert!(
            text.contains("the worker ended before it was ready"),
            "{text}"
        );
        let error = Pool::processes(2).expect_err("it aborts");
        let inner = error.get_ref().and_then(|e| e.source());
        let inner = inner.and_then(|e| e.downcast_ref::<JoinError>());
        let Some(JoinError::Crashed(crash)) = inner else {
            panic!("{error:?}");
        };
        assert_eq!(*crash.cause(), Cause::Abort);
        assert_eq!(crash.task(), "init_with::first");
    });
}
