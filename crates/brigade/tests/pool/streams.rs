//! In async code: maps as streams, and pools that are waited for until they are idle or have ended.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use brigade::{JoinError, Kind, Pool};
use brigade_test_support::block_on;
use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::{
    Count, both, crash_of, double, join, occupy, panic_of, pool, processes, until, wait_at, works,
};

/// Counts how often it is woken.
#[derive(Default)]
struct Tally(AtomicU32);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    block_on(poll_fn(|context| Pin::new(&mut *stream).poll_next(context)))
}

fn poll_stream<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn limited(kind: Kind, limit: usize) -> Pool {
    let pool = Pool::builder(kind).workers(1).queue_limit(limit);
    pool.build().expect("a pool")
}

#[test]
fn results_come_in_the_order_of_their_inputs() {
    both(|kind| {
        for pool in [pool(kind, 3), limited(kind, 2)] {
            let mut results = pool.map_stream(double, 0..5_000);
            for n in 0..5_000 {
                let left = 5_000 - n as usize;
                assert_eq!(results.size_hint(), (left, Some(left)));
                assert!(!results.is_terminated());
                assert_eq!(next(&mut results).expect("one").expect("returns"), n * 2);
            }
            for _ in 0..2 {
                assert!(next(&mut results).is_none());
            }
            assert!(results.is_terminated());
            assert_eq!(pool.stats().submitted, 5_000);
            let mut none = pool.map_stream(double, Vec::new());
            assert!(next(&mut none).is_none());
            works(&pool);
        }
    });
}

/// A task that waits where it is told to.
fn wait_if((waits, begun, gate): (bool, Count, Count)) -> bool {
    begun.add();
    if waits {
        gate.wait_for(1);
    }
    waits
}

#[test]
fn others_go_on_while_the_first_is_waited_for() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (begun, gate) = (Count::new(), Count::new());
        let inputs = (0..2_000).map(|n| (n == 0, begun.clone(), gate.clone()));
        let mut results = pool.map_stream(wait_if, inputs);
        let tally = Arc::new(Tally::default());
        let waker = Arc::clone(&tally).into();
        // Each end wakes whoever polls, though it is not that of the first.
        until("all have begun", || {
            let before = tally.0.load(SeqCst);
            let polled = Pin::new(&mut results).poll_next(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            until("it is woken", || {
                tally.0.load(SeqCst) > before || begun.get() == 2_000
            });
            begun.get() == 2_000
        });
        gate.add();
        for n in 0..2_000 {
            assert_eq!(next(&mut results).expect("one").expect("returns"), n == 0);
        }
        assert!(next(&mut results).is_none());
    });
}

/// An input that holds up its task, or one that cannot be carried.
#[derive(Debug, serde::Deserialize)]
struct Holds(Option<Count>);

impl serde::Serialize for Holds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_none() {
            return Err(serde::ser::Error::custom("refused"));
        }
        serializer.serialize_newtype_struct("Holds", &self.0)
    }
}

fn hold(Holds(gate): Holds) {
    if let Some(gate) = gate {
        gate.wait_for(1);
    }
}

#[test]
fn tasks_that_end_when_they_are_submitted_hold_nothing_up() {
    // In a pool of threads no input is refused.
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let gate = Count::new();
        let pulled = AtomicUsize::new(0);
        let inputs = (0..500).map(|n| {
            pulled.fetch_add(1, SeqCst);
            Holds((n == 0).then(|| gate.clone()))
        });
        let mut results = pool.map_stream(hold, inputs);
        let tally = Arc::new(Tally::default());
        let waker = Arc::clone(&tally).into();
        until("all were pulled", || {
            let before = tally.0.load(SeqCst);
            let polled = Pin::new(&mut results).poll_next(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "the first is held up");
            until("it is woken", || {
                tally.0.load(SeqCst) > before || pulled.load(SeqCst) == 500
            });
            pulled.load(SeqCst) == 500
        });
        gate.add();
        assert!(next(&mut results).expect("one").is_ok());
        for _ in 1..500 {
            let refused = next(&mut results).expect("one").expect_err("it is refused");
            assert!(refused.is_undeliverable(), "{refused}");
        }
        assert!(next(&mut results).is_none());
    });
}

#[test]
fn inputs_are_pulled_as_there_is_room() {
    both(|kind| {
        for limit in [Some(3), None] {
            let pool = match limit {
                Some(limit) => limited(kind, limit),
                None => pool(kind, 1),
            };
            let (first, gate) = occupy(&pool);
            let pulled = AtomicUsize::new(0);
            let inputs = (0..1_000).inspect(|_| {
                pulled.fetch_add(1, SeqCst);
            });
            let mut results = pool.map_stream(double, inputs);
            assert_eq!(pulled.load(SeqCst), 0, "nothing before it is polled");
            for _ in 0..3 {
                assert!(poll_stream(&mut results).is_pending());
            }
            // With a limit, one more waits for room.
            assert_eq!(pulled.load(SeqCst), limit.map_or(32, |limit| limit + 1));
            gate.add();
            for n in 0..1_000 {
                assert_eq!(next(&mut results).expect("one").expect("returns"), n * 2);
            }
            assert!(next(&mut results).is_none());
            join(first).expect("returns");
        }
    });
}

#[test]
fn dropped_what_was_not_begun_never_is() {
    both(|kind| {
        for turn in 0..20 {
            let pool = if turn % 2 == 0 {
                pool(kind, 1)
            } else {
                limited(kind, 5)
            };
            let (begun, gate) = (Count::new(), Count::new());
            let inputs = (0..1_000).map(|_| (begun.clone(), gate.clone()));
            let mut results = pool.map_stream(wait_at, inputs);
            assert!(poll_stream(&mut results).is_pending());
            begun.wait_for(1);
            // In the middle of others' tasks, which stay.
            let other = pool.try_submit(double, 4).ok();
            let others = u64::from(other.is_some());
            drop(results);
            assert_eq!(begun.get(), 1);
            gate.add();
            if let Some(other) = other {
                assert_eq!(join(other).expect("returns"), 8);
            }
            pool.wait_idle();
            assert_eq!(begun.get(), 1, "in turn {turn}");
            let stats = pool.stats();
            // What ran has run on.
            assert_eq!((stats.restarts, stats.interrupted), (0, 0), "{stats:?}");
            assert_eq!(stats.done + stats.cancelled, stats.submitted, "{stats:?}");
            assert_eq!(stats.done, 1 + others, "{stats:?}");
            works(&pool);
        }
    });
}

#[test]
fn dropped_while_all_is_in_motion() {
    both(|kind| {
        let pool = pool(kind, 3);
        for turn in 0..100 {
            let mut results = pool.map_stream(double, 0..);
            for n in 0..turn {
                assert_eq!(next(&mut results).expect("one").expect("returns"), n * 2);
            }
            drop(results);
        }
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!(stats.done + stats.cancelled, stats.submitted, "{stats:?}");
        assert_eq!((stats.restarts, stats.interrupted), (0, 0), "{stats:?}");
        works(&pool);
    });
}

#[test]
fn an_error_is_in_its_place() {
    both(|kind| {
        let pool = crate::quiet_pool(kind, 2);
        let panics: fn(u32) -> u32 = |n| match n % 10 {
            7 => panic!("as it should"),
            _ => n,
        };
        let mut results = pool.map_stream(panics, 0..100);
        for n in 0..100 {
            let result = next(&mut results).expect("one");
            if n % 10 == 7 {
                let panic = panic_of(result);
                assert!(panic.task().contains("streams"), "{}", panic.task());
            } else {
                assert_eq!(result.expect("returns"), n);
            }
        }
        assert!(next(&mut results).is_none());
    });
}

#[test]
fn workers_die_meanwhile() {
    fn aborts(n: u32) -> u32 {
        if n % 20 == 3 {
            std::process::abort();
        }
        n
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        let mut results = pool.map_stream(aborts, 0..200);
        for n in 0..200 {
            let result = next(&mut results).expect("one");
            if n % 20 == 3 {
                crash_of(result);
            } else {
                assert_eq!(result.expect("returns"), n);
            }
        }
        works(&pool);
    });
}

#[test]
fn in_a_pool_that_was_closed_each_input_ends() {
    both(|kind| {
        let pool = limited(kind, 2);
        let (first, gate) = occupy(&pool);
        let pulled = AtomicUsize::new(0);
        let inputs = (0..).inspect(|_| {
            pulled.fetch_add(1, SeqCst);
        });
        let mut results = pool.map_stream(double, inputs);
        assert!(poll_stream(&mut results).is_pending());
        pool.close();
        gate.add();
        for n in 0..2 {
            assert_eq!(next(&mut results).expect("one").expect("taken"), n * 2);
        }
        for n in 2..100 {
            let closed = next(&mut results).expect("one");
            assert!(matches!(closed, Err(JoinError::Closed)), "{closed:?}");
            assert!(pulled.load(SeqCst) <= n + 1, "they are pulled one by one");
        }
        join(first).expect("returns");
    });
}

#[test]
fn inputs_that_panic_cost_nothing_that_was_submitted() {
    both(|kind| {
        let pool = pool(kind, 2);
        let inputs = (0..10).inspect(|&n| assert!(n != 5, "as it should"));
        let mut results = pool.map_stream(double, inputs);
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll_stream(&mut results).is_ready()
        }));
        assert!(polled.is_err());
        for n in [0, 1, 2, 3, 4, 6, 7, 8, 9] {
            assert_eq!(next(&mut results).expect("one").expect("returns"), n * 2);
        }
        assert!(next(&mut results).is_none());
    });
}

#[test]
fn whoever_waits_is_woken_when_the_pool_is_idle() {
    both(|kind| {
        let pool = pool(kind, 2);
        block_on(pool.wait_idle_async());
        for turn in 0..50 {
            let (running, gate) = occupy(&pool);
            let queued: Vec<_> = (0..turn % 5).map(|n| pool.submit(double, n)).collect();
            let mut waits: Vec<_> = (0..3)
                .map(|_| {
                    let tally = Arc::new(Tally::default());
                    let mut waits = pool.wait_idle_async();
                    assert!(poll(&mut waits, &Arc::clone(&tally).into()).is_pending());
                    (waits, tally)
                })
                .collect();
            drop(waits.remove(1));
            if turn % 2 == 0 {
                queued.iter().for_each(brigade::JoinHandle::cancel);
            }
            gate.add();
            for (mut waits, tally) in waits {
                until("it is woken", || {
                    tally.0.load(SeqCst) > 0
                        && poll(&mut waits, &Arc::clone(&tally).into()).is_ready()
                });
            }
            assert!(running.is_finished());
            assert!(queued.iter().all(brigade::JoinHandle::is_finished));
        }
        // One that has crashed, too.
        if kind == Kind::Process {
            drop(pool.submit(|()| -> () { std::process::abort() }, ()));
            block_on(pool.wait_idle_async());
            let stats = pool.stats();
            assert_eq!(stats.failed() - stats.cancelled, 1, "{stats:?}");
        }
        works(&pool);
    });
}

#[test]
fn idle_again_and_again_while_others_submit() {
    both(|kind| {
        let pool = pool(kind, 2);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0..200 {
                        drop(pool.submit(double, n));
                        block_on(pool.wait_idle_async());
                    }
                });
            }
        });
        assert_eq!(pool.stats().done, 600);
    });
}

#[test]
fn shut_down_it_finishes_what_it_has() {
    both(|kind| {
        for turn in 0..10 {
            let pool = pool(kind, 2);
            let (running, gate) = occupy(&pool);
            let queued: Vec<_> = (0..10).map(|n| pool.submit(double, n)).collect();
            let mut ends: Vec<_> = (0..3).map(|_| pool.shutdown_async()).collect();
            assert!(!pool.is_closed(), "nothing before it is polled");
            for end in &mut ends {
                assert!(poll(end, Waker::noop()).is_pending());
            }
            assert!(pool.is_closed());
            // One may be dropped in the middle of it.
            drop(ends.pop());
            gate.add();
            if turn % 2 == 0 {
                drop(pool);
            }
            for end in ends {
                block_on(end);
            }
            assert_eq!(join(running).expect("returns"), 7);
            for (n, handle) in (0..).zip(queued) {
                assert_eq!(join(handle).expect("returns"), n * 2);
            }
        }
        // One that has ended ends at once; and one that was aborted.
        let pool = pool(kind, 1);
        let (running, gate) = occupy(&pool);
        let mut end = pool.shutdown_async();
        assert!(poll(&mut end, Waker::noop()).is_pending());
        pool.abort();
        block_on(end);
        block_on(pool.shutdown_async());
        assert!(matches!(join(running), Err(JoinError::Cancelled)));
        assert!(pool.pids().is_empty());
        gate.add();
    });
}

/// A task of a pool of threads does not wait for itself, nor for those that wait as it does.
#[test]
fn a_task_ends_its_own_pool() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    brigade::init();
    let pool = POOL.get_or_init(|| pool(Kind::Thread, 2));
    let task: fn(u32) -> bool = |_| {
        let pool = POOL.get().expect("there");
        block_on(pool.wait_idle_async());
        block_on(pool.shutdown_async());
        pool.is_closed()
    };
    assert!(join(pool.submit(task, 1)).expect("it returns"));
}
