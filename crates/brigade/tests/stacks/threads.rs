//! Threads are asked where they are, if the program allows that.

use std::sync::atomic::Ordering::SeqCst;

use brigade::{Kind, Pool, PoolBuilder, Timeout};
use brigade_test_support::wait::until;

use crate::on_demand::{is_in, running, told};
use crate::{SHORT, has_begun, join, number, tasks, timeout_of};

fn asked() -> PoolBuilder {
    brigade::init();
    Pool::builder(Kind::Thread).workers(1).thread_stacks(true)
}

/// Runs a task that is let go, and gives what is told of that.
#[track_caller]
fn timeout_in<R: brigade::Message + std::fmt::Debug>(task: fn(()) -> R) -> Timeout {
    let pool = asked().timeout(SHORT).build().expect("a pool");
    let timeout = timeout_of(join(pool.submit(task, ())));
    assert_eq!((timeout.pid(), timeout.phase()), (None, None));
    timeout
}

#[test]
fn one_that_waits_for_itself() {
    let mut timeout = timeout_in(tasks::deadlocks);
    while timeout.backtrace().is_none() {
        // There was no processor for it in time.
        timeout = timeout_in(tasks::deadlocks);
    }
    let backtrace = timeout.backtrace().expect("it has answered");
    assert!(
        backtrace.contains("stacks::tasks::lock_twice"),
        "{backtrace}"
    );
    assert!(!backtrace.contains("brigade::task::entry"), "{backtrace}");
    let blocked = timeout.blocked().expect("it waits");
    assert!(blocked.starts_with("in futex(2)"), "{blocked}");
    let text = timeout.to_string();
    assert!(
        text.contains(", in stacks::tasks::lock_twice at "),
        "{text}"
    );
}

#[test]
fn one_that_blocks_signals_is_let_go_all_the_same() {
    let timeout = timeout_in(tasks::blocks_signals_until_told);
    assert_eq!(timeout.backtrace(), None);
    tasks::LET_GO.store(1, SeqCst);
}

#[test]
fn a_task_that_is_asked_goes_on() {
    let pool = asked().build().expect("a pool");
    for (task, result, name) in [
        (tasks::spins_until as fn(_) -> u32, 7, "tasks::spin_until"),
        (tasks::waits_until, 8, "tasks::waits_until"),
    ] {
        let gate = (number(), number());
        let lets_go = tasks::LetsGo(gate.1.clone());
        let handle = pool.submit(task, gate.clone());
        has_begun(&gate.0);
        for _ in 0..100 {
            told(&pool, |stack| is_in(stack, name));
        }
        drop(lets_go);
        assert_eq!(join(handle).expect("it was not disturbed"), result);
    }
}

#[test]
fn threads_that_come_and_go_are_asked_without_harm() {
    fn panics_now_and_then(n: u32) -> u32 {
        assert!(n % 50 != 7, "one of those");
        (0..n % 20 * 200).fold(n, |sum, n| std::hint::black_box(sum ^ n) ^ n)
    }
    brigade::init();
    let pool = asked()
        .workers(3)
        .recycle_after(20)
        .build()
        .expect("a pool");
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            for _ in 0..200 {
                drop(pool.stacks().to_string());
            }
        });
        while !asker.is_finished() {
            let failed = pool.map(panics_now_and_then, 0..500).filter(Result::is_err);
            assert_eq!(failed.count(), 10);
        }
    });
}

#[test]
fn one_on_a_small_stack() {
    fn on_a_small_stack(gate: tasks::Gate) -> u32 {
        // A pool of its own, whose thread has the least that there is.
        let small = std::thread::Builder::new().stack_size(64 << 10);
        let thread = small
            .spawn(move || tasks::spins_until(gate))
            .expect("a thread");
        thread.join().expect("it ends")
    }
    let pool = asked().build().expect("a pool");
    let gate = (number(), number());
    let handle = pool.submit(on_a_small_stack, gate.clone());
    has_begun(&gate.0);
    until("it waits for its thread", || {
        let stack = running(&pool);
        stack
            .blocked()
            .is_some_and(|text| text.starts_with("in futex(2)"))
            && stack
                .backtrace()
                .is_some_and(|text| text.contains("on_a_small_stack"))
    });
    gate.1.store(1, SeqCst);
    assert_eq!(join(handle).expect("it ends"), 7);
}
