//! `Pool::scope`: tasks that borrow, in the threads of a pool.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use brigade::{JoinError, Kind, Pool};
use brigade_test_support::wait::{LIMIT, until};

use crate::{alone, double, occupy, works};

fn threads(workers: usize, row: impl Fn(Pool)) {
    alone(Kind::Thread, |kind| {
        row(Pool::new(kind, workers).expect("a pool"));
    });
}

#[test]
fn tasks_borrow_and_write_in_the_pools_own_threads() {
    threads(3, |pool| {
        let mut dishes: Vec<u64> = (0..1000).collect();
        let factor = 10;
        let names = Mutex::new(BTreeSet::new());
        let own = std::thread::current().id();
        let sum = pool.scope(|scope| {
            let parts: Vec<_> = dishes
                .chunks_mut(10)
                .map(|part| {
                    let names = &names;
                    scope.spawn(move || {
                        let thread = std::thread::current();
                        assert_ne!(thread.id(), own);
                        let name = thread.name().map(str::to_owned);
                        names.lock().expect("not poisoned").insert(name);
                        part.iter_mut().for_each(|dish| *dish *= factor);
                        // What is given back may be borrowed too.
                        &part[..]
                    })
                })
                .collect();
            let parts = parts.into_iter().map(|part| part.join().expect("returns"));
            parts.map(|part| part.iter().sum::<u64>()).sum::<u64>()
        });
        assert_eq!(sum.expect("threads"), 10 * 999 * 500);
        assert!(dishes.iter().copied().eq((0..1000).map(|n| n * 10)));
        let names = names.into_inner().expect("not poisoned");
        assert!(names.into_iter().eq([Some("brigade-pool".to_owned())]));
        assert_eq!(pool.stats().done, 100);
        works(&pool);
    });
}

#[test]
fn handles_that_are_dropped_are_waited_for() {
    threads(2, |pool| {
        let ran = AtomicU32::new(0);
        let result = pool.scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| ran.fetch_add(1, SeqCst));
            }
            "all"
        });
        assert_eq!((result.expect("threads"), ran.load(SeqCst)), ("all", 200));
    });
}

/// Each of which waits in a task for others of the same pool.
fn deep(pool: &Pool, depth: u32) -> u32 {
    if depth == 0 {
        return 1;
    }
    let (left, right) = pool
        .scope(|scope| {
            let left = scope.spawn(|| deep(pool, depth - 1));
            let right = scope.spawn(|| deep(pool, depth - 1));
            (
                left.join().expect("returns"),
                right.join().expect("returns"),
            )
        })
        .expect("threads");
    left + right
}

#[test]
fn scopes_within_scopes_and_in_tasks_do_not_deadlock() {
    for workers in [1, 3] {
        threads(workers, |pool| {
            assert_eq!(deep(&pool, 5), 32);
            // Without a join: the scope itself waits.
            let ran = AtomicU32::new(0);
            pool.scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let inner = pool.scope(|inner| {
                            for _ in 0..4 {
                                inner.spawn(|| ran.fetch_add(1, SeqCst));
                            }
                        });
                        inner.expect("threads");
                    });
                }
            })
            .expect("threads");
            assert_eq!(ran.load(SeqCst), 16);
            // In a task that was submitted.
            let within = pool.submit(
                |()| {
                    let own = Pool::threads(1).expect("a pool");
                    let mut numbers = [1, 2, 3];
                    own.scope(|scope| {
                        for number in &mut numbers {
                            scope.spawn(|| *number *= 2);
                        }
                    })
                    .expect("threads");
                    numbers.iter().sum::<i32>()
                },
                (),
            );
            assert_eq!(within.join().expect("returns"), 12);
        });
    }
}

#[test]
fn a_task_starts_others_of_its_scope() {
    threads(1, |pool| {
        let ran = AtomicU32::new(0);
        pool.scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        let last = scope.spawn(|| ran.fetch_add(1, SeqCst));
                        last.join().expect("returns");
                    });
                }
            });
        })
        .expect("threads");
        assert_eq!(ran.load(SeqCst), 10);
    });
}

#[test]
fn a_full_queue_is_waited_for() {
    alone(Kind::Thread, |kind| {
        let pool = Pool::builder(kind).workers(1).queue_limit(2).build();
        let pool = pool.expect("a pool");
        let ran = AtomicU32::new(0);
        pool.scope(|scope| {
            // Also by a task, which has the only worker.
            scope.spawn(|| (0..50).for_each(|_| drop(scope.spawn(|| ran.fetch_add(1, SeqCst)))));
            (0..50).for_each(|_| drop(scope.spawn(|| ran.fetch_add(1, SeqCst))));
        })
        .expect("threads");
        assert_eq!(ran.load(SeqCst), 100);
    });
}

fn overcooked() -> u32 {
    panic!("overcooked at {}", 200 + 30)
}

#[test]
fn a_panic_is_an_error_of_its_handle_and_the_others_go_on() {
    threads(2, |pool| {
        let served = AtomicU32::new(0);
        let (error, name) = pool
            .scope(|scope| {
                let burnt = scope.spawn(overcooked);
                (0..20).for_each(|_| drop(scope.spawn(|| served.fetch_add(1, SeqCst))));
                let closure = scope.spawn(|| -> u32 { panic!("burnt") });
                let name = closure.join().expect_err("it panics").to_string();
                (burnt.join().expect_err("it panics"), name)
            })
            .expect("threads");
        let JoinError::Panicked(panic) = &error else {
            panic!("expected a panic, got {error:?}");
        };
        assert_eq!(panic.message(), "overcooked at 230");
        assert_eq!(panic.task(), "pool::scope::overcooked");
        assert!(panic.location().is_some_and(|at| at.contains("scope.rs:")));
        assert!(
            name.contains("closure at crates/brigade/tests/pool/scope.rs:"),
            "{name}"
        );
        assert_eq!(served.load(SeqCst), 20);
        let stats = pool.stats();
        assert_eq!((stats.done, stats.panicked, stats.submitted), (20, 2, 22));
        works(&pool);
    });
}

#[test]
fn a_panic_that_no_handle_is_asked_for_is_one_of_the_scope() {
    threads(2, |pool| {
        let served = AtomicU32::new(0);
        let scoped = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|scope| {
                scope.spawn(overcooked);
                (0..20).for_each(|_| drop(scope.spawn(|| served.fetch_add(1, SeqCst))));
            })
        }));
        let why = scoped.expect_err("it panics");
        let why = why.downcast_ref::<&str>().expect("a sentence");
        assert_eq!(*why, "a task of the scope panicked, and was not joined");
        assert_eq!(served.load(SeqCst), 20);
    });
}

#[test]
fn what_panics_in_the_scope_itself_waits_for_its_tasks() {
    threads(1, |pool| {
        let (first, gate) = occupy(&pool);
        let mut borrowed = vec![1, 2, 3];
        let scoped = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|scope| {
                scope.spawn(|| borrowed.push(4));
                gate.add();
                panic!("out of the scope");
            })
        }));
        let why = scoped.map(|_: io::Result<()>| ()).expect_err("it panics");
        assert_eq!(why.downcast_ref(), Some(&"out of the scope"));
        assert_eq!(borrowed, [1, 2, 3, 4]);
        assert_eq!(first.join().expect("returns"), 7);
    });
}

/// Says when it is dropped, and panics then.
struct Spilt<'s>(&'s AtomicU32);

impl Drop for Spilt<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("spilt");
    }
}

#[test]
fn destructors_that_panic_are_contained_and_run_within_the_scope() {
    threads(2, |pool| {
        let spilt = AtomicU32::new(0);
        pool.scope(|scope| {
            for _ in 0..10 {
                // A result that nothing takes.
                scope.spawn(|| Spilt(&spilt));
            }
        })
        .expect("threads");
        assert_eq!(spilt.load(SeqCst), 10);
        // What a task has that never runs.
        pool.close();
        let scoped = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|scope| {
                let held = Spilt(&spilt);
                let held = scope.spawn(move || drop(held));
                assert!(matches!(held.join(), Err(JoinError::Closed)));
            })
        }));
        // It is dropped in the call itself, like any value of the caller's.
        scoped.map(drop).expect_err("its destructor panics");
        assert_eq!(spilt.load(SeqCst), 11);
    });
}

/// Says when it is dropped.
struct Dropped<'s>(&'s AtomicU32);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_pool_that_ends_leaves_nothing_borrowed() {
    threads(1, |pool| {
        let (go, wait) = mpsc::channel();
        let (begun, dropped) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut ran = Vec::new();
        let queued = pool
            .scope(|scope| {
                let (begun, ran) = (&begun, &mut ran);
                let runs = scope.spawn(move || {
                    begun.store(1, SeqCst);
                    wait.recv().expect("told to end");
                    ran.push(1);
                });
                until("it runs", || begun.load(SeqCst) == 1);
                let held = Dropped(&dropped);
                let queued = scope.spawn(move || drop(held));
                let aborts = std::thread::spawn({
                    let pool = pool.clone();
                    move || pool.abort()
                });
                // What has not begun ends at once; what runs is waited for.
                let ended = queued.join();
                assert!(!runs.is_finished() && !aborts.is_finished());
                go.send(()).expect("heard");
                runs.join().expect("returns");
                aborts.join().expect("aborted");
                let late = scope.spawn(|| 1);
                assert!(matches!(late.join(), Err(JoinError::Closed)));
                ended
            })
            .expect("threads");
        assert!(matches!(queued, Err(JoinError::Cancelled)), "{queued:?}");
        assert_eq!((ran, dropped.into_inner()), (vec![1], 1));
    });
}

#[test]
fn a_timeout_of_the_pool_is_none_of_a_scopes() {
    alone(Kind::Thread, |kind| {
        let time = Duration::from_millis(20);
        let pool = Pool::builder(kind).workers(2).timeout(time).build();
        let pool = pool.expect("a pool");
        let (go, wait) = mpsc::channel::<()>();
        let mut ended = false;
        pool.scope(|scope| {
            let ended = &mut ended;
            let long = scope.spawn(move || {
                wait.recv().expect("told to end");
                *ended = true;
            });
            // Another that began later has run over its time.
            let over = pool.submit(
                |()| -> () {
                    loop {
                        std::thread::park()
                    }
                },
                (),
            );
            assert!(matches!(over.join(), Err(JoinError::TimedOut(_))));
            let long = long.join_timeout(time).expect_err("it runs on");
            go.send(()).expect("heard");
            long.join_timeout(LIMIT).expect("in time").expect("returns");
        })
        .expect("threads");
        assert!(ended);
    });
}

#[test]
fn what_is_no_message_is_borrowed_and_given_back() {
    threads(2, |pool| {
        let file = std::fs::File::open("/dev/null").expect("opens");
        let (told, hear) = mpsc::channel();
        let closure = |n: u32| move |m: u32| n + m;
        let made = pool
            .scope(|scope| {
                let reading = scope.spawn(|| io::read_to_string(&file).map(|text| text.len()));
                scope.spawn(move || told.send(Cell::new(5)).expect("heard"));
                let made = scope.spawn(|| closure(1)).join().expect("returns");
                assert_eq!(reading.join().expect("returns").expect("reads"), 0);
                made
            })
            .expect("threads");
        assert_eq!((made(2), hear.recv().expect("told").get()), (3, 5));
    });
}

#[test]
fn a_pool_of_processes_says_what_to_do_instead() {
    brigade::init();
    let Ok(pool) = Pool::processes(1) else {
        eprintln!("skipped, because there are no processes");
        return;
    };
    let refused = pool.scope(|_| -> () { unreachable!("it is not run") });
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    for word in ["Pool::threads", "task!", "Context", "Shared"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(pool.submit(double, 2).join().expect("returns"), 4);
}
