//! `thread::scope`: threads that borrow.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use brigade::{JoinError, thread};

#[test]
fn threads_borrow_and_write() {
    let mut dishes = vec![1_u64, 2, 3, 4];
    let factor = 10;
    let sum = thread::scope(|scope| {
        let (left, right) = dishes.split_at_mut(2);
        scope
            .spawn(|| left.iter_mut().for_each(|dish| *dish *= factor))
            .expect("starts");
        let right = scope.spawn(move || {
            right.iter_mut().for_each(|dish| *dish *= factor);
            &right[..]
        });
        // What is given back may be borrowed too.
        right
            .expect("starts")
            .join()
            .expect("returns")
            .iter()
            .sum::<u64>()
    });
    assert_eq!((sum, dishes), (70, vec![10, 20, 30, 40]));
}

#[test]
fn a_panic_is_an_error_and_the_others_go_on() {
    let (told, hear) = mpsc::channel();
    let error = thread::scope(|scope| {
        let burnt = scope
            .spawn(|| -> u32 { panic!("burnt at {}", 200 + 30) })
            .expect("starts");
        let told = &told;
        scope
            .spawn(move || told.send("served").expect("heard"))
            .expect("starts");
        burnt.join().expect_err("it panics")
    });
    assert_eq!(hear.recv(), Ok("served"));
    let JoinError::Panicked(panic) = &error else {
        panic!("expected a panic, got {error:?}");
    };
    assert_eq!(panic.message(), "burnt at 230");
    assert!(
        panic.location().is_some_and(|at| at.contains("scopes.rs:")),
        "{panic:?}"
    );
    assert!(
        panic
            .task()
            .contains("closure at crates/brigade/tests/contract/scopes.rs:"),
        "{error}"
    );
    let backtrace = panic.backtrace().expect("a backtrace");
    // In optimized programs a task that is inlined has its place only.
    assert!(
        backtrace.contains("a_panic_is_an_error") || backtrace.contains("contract/scopes.rs"),
        "{backtrace}"
    );
    assert!(!backtrace.contains("unwind.rs"), "{backtrace}");
    assert!(
        !backtrace.contains("brigade::worker::thread"),
        "{backtrace}"
    );
}

fn overcooked() {
    panic!("overcooked")
}

#[test]
fn a_panic_that_no_handle_is_asked_for_is_one_of_the_scope() {
    let served = AtomicU32::new(0);
    let scoped = std::panic::catch_unwind(|| {
        thread::scope(|scope| {
            scope.spawn(overcooked).expect("starts");
            scope
                .spawn(|| served.fetch_add(1, Ordering::Relaxed))
                .expect("starts");
        });
    });
    scoped.expect_err("it panics");
    assert_eq!(served.into_inner(), 1);
}

#[test]
fn a_destructor_that_panics_in_a_thread_is_contained() {
    struct Spilt;
    impl Drop for Spilt {
        fn drop(&mut self) {
            panic!("spilt");
        }
    }
    let ended = thread::scope(|scope| {
        let (go, wait) = mpsc::channel::<()>();
        let spilt = scope.spawn(move || {
            wait.recv().expect_err("the handle is gone");
            Spilt
        });
        drop(spilt.expect("starts"));
        drop(go);
        let named = thread::Builder::new()
            .name("oven")
            .spawn_scoped(scope, overcooked);
        named
            .expect("starts")
            .join()
            .expect_err("it panics")
            .to_string()
    });
    assert!(
        ended.contains("task `contract::scopes::overcooked (oven)` panicked at"),
        "{ended}"
    );
}

#[test]
fn a_thread_starts_another() {
    let pots = [1, 2, 3];
    let total = thread::scope(|scope| {
        let outer = scope.spawn(|| {
            let inner = scope.spawn(|| pots.iter().sum::<i32>()).expect("starts");
            inner.join().expect("returns") * 2
        });
        outer.expect("starts").join().expect("returns")
    });
    assert_eq!(total, 12);
}

#[test]
fn join_timeout_gives_the_handle_back() {
    let (go, wait) = mpsc::channel::<u32>();
    thread::scope(|scope| {
        let handle = scope
            .spawn(move || wait.recv().expect("the test sends"))
            .expect("starts");
        let handle = handle
            .join_timeout(Duration::from_millis(10))
            .expect_err("it waits");
        assert!(!handle.is_finished());
        go.send(7).expect("it waits");
        let ended = handle.join_timeout(Duration::MAX).expect("it ends");
        assert_eq!(ended.expect("returns"), 7);
    });
}

#[test]
fn the_scope_waits_for_all() {
    let mut ended = Vec::new();
    let (go, wait) = mpsc::channel::<u32>();
    thread::scope(|scope| {
        scope.spawn(|| ended.extend(wait)).expect("starts");
        scope
            .spawn(move || (0..100).for_each(|n| go.send(n).expect("heard")))
            .expect("starts")
            .join()
            .expect("returns");
    });
    assert_eq!(ended.len(), 100);
}
