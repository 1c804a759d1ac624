//! State that each worker loads and keeps, and actors.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use crate::{LIMIT, both, crash_of, panic_of, processes};
use brigade::pool::StatePool;
use brigade::{Actor, Cause, Descriptor, JoinError, Kind, Pool, Shared};

/// Neither `Send` nor a message.
struct Counter {
    from: u64,
    calls: Rc<Cell<u64>>,
}

fn load(from: u64) -> Counter {
    Counter {
        from,
        calls: Rc::new(Cell::new(0)),
    }
}

fn look(counter: &Counter, n: u64) -> u64 {
    counter.calls.set(counter.calls.get() + 1);
    counter.from + n
}

fn add(counter: &mut Counter, n: u64) -> u64 {
    assert!(n != 13, "not thirteen");
    if n == 66 {
        std::process::abort();
    }
    counter.from += n;
    counter.from
}

fn counters(kind: Kind, workers: usize) -> StatePool<Counter> {
    let pool = Pool::builder(kind).workers(workers).state(load, 100);
    pool.build().expect("a pool")
}

#[test]
fn tasks_borrow_it_and_change_it() {
    both(|kind| {
        let pool = counters(kind, 1);
        assert_eq!(pool.submit(look, 5).join().expect("returns"), 105);
        assert_eq!(pool.submit_mut(add, 7).join().expect("returns"), 107);
        let looked: Result<Vec<_>, _> = pool.map(look, 0..500).collect();
        assert_eq!(looked.expect("all return"), (107..607).collect::<Vec<_>>());
        let added: Result<Vec<_>, _> = pool.map_mut(add, (0..500).map(|_| 1)).collect();
        assert_eq!(added.expect("all return"), (108..608).collect::<Vec<_>>());
        let calls = pool.submit(|counter: &Counter, ()| counter.calls.get(), ());
        assert_eq!(calls.join().expect("returns"), 501);
        // Other tasks in between.
        assert_eq!(
            pool.pool().submit(|n: u64| n, 3).join().expect("returns"),
            3
        );
        let with = pool.pool().submit_with(4_u64, |a: &u64, b: u64| a + b, 5);
        assert_eq!(with.join().expect("returns"), 9);
        assert_eq!(pool.submit_mut(add, 1).join().expect("returns"), 608);
    });
}

#[test]
fn each_worker_loads_it_once() {
    both(|kind| {
        let loads = Pool::builder(kind)
            .workers(3)
            .state(|from: u64| (from, std::process::id()), 7)
            .build()
            .expect("a pool");
        let pids: Result<Vec<_>, _> = loads.map(|s: &(u64, u32), ()| s.1, [(); 300]).collect();
        let mut pids = pids.expect("all return");
        pids.sort_unstable();
        pids.dedup();
        match kind {
            Kind::Thread => assert_eq!(pids, [std::process::id()]),
            Kind::Process => {
                let all = loads.pool().pids();
                assert!(
                    pids.iter().all(|pid| all.contains(pid)),
                    "{pids:?}, {all:?}"
                );
            }
        }
    });
}

#[test]
fn a_panic_that_could_have_changed_it_has_it_loaded_again() {
    both(|kind| {
        let pool = counters(kind, 1);
        for _ in 0..5 {
            assert_eq!(pool.submit_mut(add, 1).join().expect("returns"), 101);
            let ended = pool.submit_mut(add, 13).join();
            assert_eq!(panic_of(ended).message(), "not thirteen");
            assert_eq!(pool.submit_mut(add, 2).join().expect("returns"), 102);
            // One that can only look leaves it.
            let panics = |counter: &Counter, _: u64| -> u64 { panic!("{}", counter.from) };
            let ended = pool.submit(panics, 0).join();
            assert_eq!(panic_of(ended).message(), "102");
            assert_eq!(pool.submit(look, 0).join().expect("returns"), 102);
            let ended = pool.submit_mut(add, 13).join();
            panic_of(ended);
        }
    });
}

#[test]
fn a_load_that_fails_is_an_error_of_build() {
    fn panics(n: u64) -> Counter {
        panic!("cannot load {n}");
    }
    both(|kind| {
        let built = Pool::builder(kind).workers(2).state(panics, 9).build();
        let why = built.expect_err("no pool").to_string();
        assert!(
            why.contains("the pool's state could not be loaded"),
            "{why}"
        );
        assert!(why.contains("cannot load 9"), "{why}");
        assert!(why.contains("panics"), "{why}");
        let large = Pool::builder(kind).state(|_: (u64, Vec<u8>)| panics(1), (7, vec![0; 100_000]));
        let why = large.build().expect_err("no pool").to_string();
        assert!(why.contains("cannot load 1"), "{why}");
        let (file, _) = rustix::pipe::pipe().expect("a pipe");
        let with_descriptors = Pool::builder(kind).state(|_: Descriptor| (), Descriptor(file));
        let why = with_descriptors.build().expect_err("no pool").to_string();
        assert!(why.contains("descriptors"), "{why}");
    });
    processes(|| {
        let load = |_: u64| -> u64 { std::process::abort() };
        let built = Pool::builder(Kind::Process)
            .workers(2)
            .state(load, 9)
            .build();
        let why = built.expect_err("no pool").to_string();
        assert!(
            why.contains("the pool's state could not be loaded"),
            "{why}"
        );
        assert!(why.contains("SIGABRT") || why.contains("abort"), "{why}");
    });
}

#[test]
fn the_worker_that_replaces_a_dead_one_loads_its_own() {
    processes(|| {
        let pool = counters(Kind::Process, 2);
        let inputs = (0..400).map(|n| if n % 50 == 25 { 66 } else { 0 });
        let results: Vec<_> = pool.map_mut(add, inputs).collect();
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert_eq!(value, 100),
                Err(JoinError::Crashed(crash)) => {
                    assert_eq!((n % 50, crash.cause()), (25, &Cause::Abort));
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
        assert_eq!(pool.pool().stats().restarts, 8);
    });
}

#[test]
fn a_thread_that_is_let_go_takes_its_state_along() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1);
        let pool = pool.timeout(Duration::from_millis(200)).state(load, 100);
        let pool = pool.build().expect("a pool");
        assert_eq!(pool.submit_mut(add, 1).join().expect("returns"), 101);
        let for_ever = |counter: &mut Counter, _: u64| -> u64 {
            loop {
                counter.from = 0;
                std::thread::park();
            }
        };
        let ended = pool.submit_mut(for_ever, 0).join();
        assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
        assert_eq!(pool.submit_mut(add, 1).join().expect("returns"), 101);
    });
}

#[test]
fn a_recycled_worker_loads_another() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).recycle_after(3);
        let pool = pool.state(load, 100).build().expect("a pool");
        let added: Result<Vec<_>, _> = pool.map_mut(add, [1; 9]).collect();
        let expected = [101, 102, 103, 101, 102, 103, 101, 102, 103];
        assert_eq!(added.expect("all return"), expected);
    });
}

#[test]
fn a_task_that_waits_for_another_of_its_pool_never_shares_it() {
    // In a thread another stands in, with a state of its own. A process has no pool of its host's.
    static POOL: std::sync::OnceLock<StatePool<Counter>> = std::sync::OnceLock::new();
    let pool = POOL.get_or_init(|| counters(Kind::Thread, 1));
    let outer = |counter: &mut Counter, _: u64| {
        counter.from = 5;
        let pool = POOL.get().expect("is there");
        let inner = pool.submit_mut(add, 1).join().expect("returns");
        (counter.from, inner)
    };
    let ended = pool.submit_mut(outer, 0).join().expect("returns");
    assert_eq!(ended, (5, 101));
}

#[test]
fn a_crash_file_of_such_a_task_names_its_state() {
    processes(|| {
        let dir = std::env::temp_dir().join(format!("brigade-state-{}", std::process::id()));
        let pool = Pool::builder(Kind::Process).workers(1).keep_crashes(&dir);
        let pool = pool.state(load, 100).build().expect("a pool");
        let crash = crash_of(pool.submit_mut(add, 66).join());
        let text = std::fs::read_to_string(crash.file().expect("a file")).expect("is text");
        assert!(text.contains("\nstate: context-"), "{text}");
        drop(pool);
        std::fs::remove_dir_all(dir).expect("removed");
    });
}

#[test]
fn an_actor_answers_in_order_and_comes_back() {
    both(|kind| {
        let actor = Actor::new(kind, load, 100).expect("an actor");
        assert_eq!(actor.call(add, 1).expect("returns"), 101);
        let handles: Vec<_> = (0..1000)
            .map(|_| actor.call_async(add, 1).expect("is open"))
            .collect();
        for (n, handle) in (102..).zip(handles) {
            assert_eq!(handle.join().expect("returns"), n);
        }
        panic_of(actor.call(add, 13));
        assert_eq!(actor.call(add, 2).expect("returns"), 102);
        if kind == Kind::Process {
            assert_eq!(*crash_of(actor.call(add, 66)).cause(), Cause::Abort);
            assert_eq!(actor.call(add, 3).expect("returns"), 103);
            // What was called behind a call that kills it is run, by the next state.
            let calls = [1, 66, 2, 3].map(|n| actor.call_async(add, n).expect("is open"));
            let [a, b, c, d] = calls.map(|call| call.join());
            assert_eq!(a.expect("returns"), 104);
            crash_of(b);
            assert_eq!((c.expect("returns"), d.expect("returns")), (102, 105));
        }
    });
}

#[test]
fn an_actor_that_loses_its_state_too_often_is_closed() {
    both(|kind| {
        let state = Pool::builder(kind).workers(1).state(load, 100);
        let actor = Actor::builder(state).restarts(2, Duration::from_secs(1000));
        let actor = actor.build().expect("an actor");
        for _ in 0..3 {
            assert_eq!(actor.call(add, 1).expect("returns"), 101);
            panic_of(actor.call(add, 13));
        }
        for _ in 0..3 {
            let ended = actor.call(add, 1);
            assert!(matches!(ended, Err(JoinError::Closed)), "{ended:?}");
        }
    });
}

#[test]
fn an_actor_has_one_worker() {
    let built = Actor::builder(Pool::builder(Kind::Thread).workers(2).state(load, 1)).build();
    let why = built.expect_err("no actor").to_string();
    assert_eq!(why, "an actor has one worker, not 2");
}

#[test]
fn an_actor_keeps_its_one_worker() {
    both(|kind| {
        let actor = Actor::new(kind, load, 100).expect("an actor");
        let refused = actor.pool().resize(2).expect_err("it has one state");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        actor.pool().resize(1).expect("as it is");
        assert_eq!(actor.pool().workers(), 1);
        let calls: Vec<_> = (0..20).map(|_| actor.call_async(add, 1)).collect();
        for (n, call) in (1..).zip(calls) {
            let ended = call.expect("it is there").join();
            assert_eq!(ended.expect("returns"), 100 + n);
        }
    });
}

#[test]
fn no_other_thread_stands_in_for_an_actor_that_waits() {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    let load = |from: u64| {
        LOADS.fetch_add(1, SeqCst);
        from
    };
    let actor = Actor::new(Kind::Thread, load, 0).expect("an actor");
    let others = Shared::new(AtomicU32::new(0)).expect("a region");
    let waits = |state: &mut u64, others: Shared<AtomicU32>| {
        let pool = Pool::threads(1).expect("a pool");
        for _ in 0..50 {
            let add = |others: Shared<AtomicU32>| others.fetch_add(1, SeqCst);
            pool.submit(add, others.clone()).join().expect("returns");
            *state += 1;
        }
        *state
    };
    let calls = [(); 8].map(|()| actor.call_async(waits, others.clone()).expect("is open"));
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.join().expect("returns"), 50 * n);
    }
    assert_eq!(LOADS.load(SeqCst), 1);
}

#[test]
fn a_pool_that_was_closed_takes_no_more() {
    fn closed<R: std::fmt::Debug>(handle: brigade::JoinHandle<R>) {
        let ended = handle.join_timeout(LIMIT).expect("it ends");
        assert!(matches!(ended, Err(JoinError::Closed)), "{ended:?}");
    }
    both(|kind| {
        let pool = counters(kind, 1);
        pool.pool().shutdown();
        closed(pool.submit(look, 1));
        closed(pool.submit_mut(add, 1));
        closed(
            pool.pool()
                .submit_with(5_u64, |five: &u64, n: u64| five + n, 1),
        );
        let ended: Vec<_> = pool.map_mut(add, 0..3).collect();
        assert!(
            matches!(
                ended[..],
                [
                    Err(JoinError::Closed),
                    Err(JoinError::Closed),
                    Err(JoinError::Closed)
                ]
            ),
            "{ended:?}"
        );
        let actor = Actor::new(kind, load, 100).expect("an actor");
        actor.pool().close();
        actor.call_async(add, 1).map_or_else(|_| (), closed);
    });
}
