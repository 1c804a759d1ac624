//! What waits for a worker: how much may, and in which ways it comes.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, LazyLock, OnceLock};

use brigade::channel::{self, RecvTimeoutError, Sender, Transport};
use brigade::{JoinError, JoinHandle, Kind, Pool};

use crate::{Count, LIMIT, both, double, join, occupy, pool, until, works};

fn limited(kind: Kind, workers: usize, limit: usize) -> Pool {
    Pool::builder(kind)
        .workers(workers)
        .queue_limit(limit)
        .build()
        .expect("a pool")
}

#[test]
fn a_full_queue_gives_the_input_back() {
    both(|kind| {
        for limit in [1, 2, 10] {
            let pool = limited(kind, 1, limit);
            let (first, gate) = occupy(&pool);
            let handles: Vec<_> = (0..limit)
                .map(|n| {
                    pool.try_submit(str_len, "x".repeat(n))
                        .expect("there is room")
                })
                .collect();
            for _ in 0..3 {
                let back = pool.try_submit(str_len, "mine".to_owned());
                assert_eq!(back.expect_err("there is no room"), "mine");
            }
            assert_eq!(pool.stats().queued, limit as u64);
            gate.add();
            join(first).expect("returns");
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(join(handle).expect("returns"), n);
            }
            // There is room again.
            let again = pool.try_submit(str_len, "mine".to_owned());
            assert_eq!(join(again.expect("there is room")).expect("returns"), 4);
        }
    });
}

fn str_len(text: String) -> usize {
    text.len()
}

#[test]
fn submit_waits_while_the_queue_is_full() {
    both(|kind| {
        let pool = limited(kind, 1, 2);
        let (first, gate) = occupy(&pool);
        std::thread::scope(|scope| {
            let submitting = scope.spawn(|| {
                let handles: Vec<_> = (0..20).map(|n| pool.submit(double, n)).collect();
                for (n, handle) in (0..).zip(handles) {
                    assert_eq!(join(handle).expect("returns"), n * 2);
                }
            });
            until("the queue is full", || pool.stats().queued == 2);
            for _ in 0..1000 {
                // The third waits outside.
                assert_eq!(pool.stats().submitted, 3);
                std::thread::yield_now();
            }
            gate.add();
            submitting.join().expect("all are accepted in the end");
        });
        join(first).expect("returns");
    });
}

#[test]
fn many_who_wait_to_submit_all_get_in() {
    both(|kind| {
        let pool = limited(kind, 2, 1);
        std::thread::scope(|scope| {
            for t in 0..8 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..200 {
                        let handle = pool.submit(double, t * n);
                        if n % 3 == 0 {
                            assert_eq!(join(handle).expect("returns"), t * n * 2);
                        }
                    }
                });
            }
        });
        works(&pool);
    });
}

#[test]
fn the_queue_is_never_longer_than_its_limit() {
    both(|kind| {
        const LIMIT: u64 = 5;
        let pool = limited(kind, 2, LIMIT as usize);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let stats = pool.stats();
                    assert!(stats.queued <= LIMIT, "{stats:?}");
                }
            });
            let submitting: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for n in 0..2000 {
                            match pool.try_submit(double, n) {
                                Ok(handle) if n % 2 == 0 => drop(handle),
                                Ok(handle) => assert_eq!(join(handle).expect("returns"), n * 2),
                                Err(back) => assert_eq!(back, n),
                            }
                        }
                    })
                })
                .collect();
            for thread in submitting {
                thread.join().expect("no panic");
            }
            over.store(true, SeqCst);
        });
    });
}

#[test]
fn who_is_cancelled_in_the_queue_makes_room() {
    both(|kind| {
        let pool = limited(kind, 1, 1);
        let (first, gate) = occupy(&pool);
        for n in 0..10 {
            let waiting = pool.try_submit(double, n).expect("there is room");
            assert!(pool.try_submit(double, n).is_err());
            waiting.cancel();
            assert!(matches!(join(waiting), Err(JoinError::Cancelled)));
        }
        // Also for one who waits for it.
        let waiting = pool.try_submit(double, 1).expect("there is room");
        std::thread::scope(|scope| {
            let submitting = scope.spawn(|| pool.submit(double, 2));
            waiting.cancel();
            let handle = submitting.join().expect("no panic");
            gate.add();
            assert_eq!(join(handle).expect("returns"), 4);
        });
        join(first).expect("returns");
    });
}

fn send_one(sender: Sender<u32>) {
    sender.send(1).expect("a receiver");
}

/// The only sender is in the input of a task. Gives what the receiver hears.
fn with_sender(pool: &Pool) -> (JoinHandle<()>, impl Fn() -> Result<u32, RecvTimeoutError>) {
    let (sender, receiver) = channel::channel::<u32>(Transport::Pipe, 1).expect("a channel");
    let task = pool.submit(send_one, sender);
    (task, move || receiver.recv_timeout(LIMIT))
}

#[test]
fn the_input_of_a_cancelled_task_is_dropped_at_once() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (first, gate) = occupy(&pool);
        let (cancelled, hears) = with_sender(&pool);
        let (other, hears_of_other) = with_sender(&pool);
        cancelled.cancel();
        // The worker is busy: it is not the task's turn.
        assert_eq!(hears(), Err(RecvTimeoutError::Disconnected));
        assert!(matches!(join(cancelled), Err(JoinError::Cancelled)));
        assert_eq!((pool.stats().queued, pool.stats().cancelled), (1, 1));
        gate.add();
        join(first).expect("returns");
        assert_eq!(hears_of_other(), Ok(1));
        join(other).expect("returns");
    });
}

#[test]
fn inputs_of_many_cancelled_tasks_are_dropped_before_their_turn() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (first, gate) = occupy(&pool);
        let (cancelled, hears) = with_sender(&pool);
        let mut others: Vec<_> = (0..3000).map(|n| pool.submit(double, n)).collect();
        cancelled.cancel();
        others[..2000].iter().for_each(JoinHandle::cancel);
        assert_eq!(hears(), Err(RecvTimeoutError::Disconnected));
        assert!(matches!(join(cancelled), Err(JoinError::Cancelled)));
        assert_eq!((pool.stats().queued, pool.stats().cancelled), (1000, 2001));
        for n in (2000..3000).rev() {
            others[n].cancel();
            assert_eq!(pool.stats().queued, n as u64 - 2000);
            if n == 2500 {
                break;
            }
        }
        gate.add();
        join(first).expect("returns");
        let kept = others.drain(2000..2500).zip(2000..);
        for (handle, n) in kept {
            assert_eq!(join(handle).expect("returns"), 2 * n);
        }
        for handle in others {
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        }
        assert_eq!((pool.stats().queued, pool.stats().done), (0, 501));
    });
}

#[test]
fn a_map_keeps_to_the_limit_too() {
    both(|kind| {
        let pool = limited(kind, 2, 1);
        let doubled: Vec<_> = pool
            .map(double, 0..2000)
            .map(|n| n.expect("returns"))
            .collect();
        assert!(doubled.into_iter().eq((0..2000).map(double)));
        assert_eq!(pool.map_unordered(double, 0..2000).count(), 2000);
    });
}

#[test]
fn a_map_and_a_full_queue_get_along() {
    both(|kind| {
        let pool = limited(kind, 1, 1);
        let mut results = pool.map(double, 0..500);
        for n in 0..250 {
            assert_eq!(results.next().expect("one more").expect("returns"), n * 2);
            // The same thread waits for room, with the map half way.
            assert_eq!(join(pool.submit(double, n)).expect("returns"), n * 2);
        }
    });
}

#[test]
fn many_threads_submit_at_once() {
    both(|kind| {
        let pool = pool(kind, 2);
        std::thread::scope(|scope| {
            for t in 0..8 {
                let pool = &pool;
                scope.spawn(move || {
                    let handles: Vec<_> = (0..2000).map(|n| pool.submit(double, t + n)).collect();
                    for (n, handle) in (0..).zip(handles) {
                        assert_eq!(join(handle).expect("returns"), (t + n) * 2);
                    }
                });
            }
        });
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.done), (16_000, 16_000));
    });
}

#[test]
fn a_pool_may_be_shared() {
    both(|kind| {
        let pool = Arc::new(pool(kind, 2));
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || pool.submit(double, t).join().expect("returns"))
            })
            .collect();
        drop(pool);
        for (t, thread) in (0..).zip(threads) {
            assert_eq!(thread.join().expect("no panic"), t * 2);
        }
    });
}

#[test]
fn a_pool_may_be_in_a_static() {
    static POOLS: [LazyLock<Pool>; 2] = [
        LazyLock::new(|| pool(Kind::Thread, 2)),
        LazyLock::new(|| pool(Kind::Process, 2)),
    ];
    both(|kind| {
        let pool = &POOLS[kind as usize];
        assert_eq!(join(pool.submit(double, 4)).expect("returns"), 8);
        assert_eq!(pool.map(double, 0..100).count(), 100);
    });
}

/// A pool of threads that tasks find; in a process, its own.
static INSIDE: OnceLock<Pool> = OnceLock::new();

#[test]
fn a_task_may_give_the_pool_another() {
    fn outer((kind, ran): (u8, Count)) -> u32 {
        let kind = Kind::ALL[usize::from(kind)];
        // A worker process has a pool of its own, if it makes one.
        let inside = INSIDE.get_or_init(|| pool(kind, 2));
        drop(inside.submit(crate::add, ran));
        join(inside.submit(double, 21)).expect("returns")
    }
    both(|kind| {
        let own;
        let pool = match kind {
            Kind::Thread => INSIDE.get_or_init(|| pool(kind, 2)),
            Kind::Process => {
                own = pool(kind, 2);
                &own
            }
        };
        let ran = Count::new();
        for n in 1..20 {
            let outer = pool.submit(outer, (kind as u8, ran.clone()));
            assert_eq!(join(outer).expect("returns"), 42);
            ran.wait_for(n);
        }
    });
}

#[test]
fn tasks_may_give_it_tasks_without_end() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    /// A chain: each gives the next.
    fn next((n, done): (u32, Count)) {
        match n {
            0 => drop(done.add()),
            n => drop(POOL.get().expect("made").submit(next, (n - 1, done))),
        }
    }
    if std::env::var("BRIGADE_TEST_KIND").is_ok_and(|only| only != "thread") {
        return;
    }
    // Threads: the pool of a process is not seen by its tasks. One worker will do: nobody waits.
    let pool = POOL.get_or_init(|| pool(Kind::Thread, 1));
    let done = Count::new();
    drop(pool.submit(next, (2000, done.clone())));
    done.wait_for(1);
}

#[test]
fn a_pool_in_a_task_of_a_pool() {
    fn inner(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let pool = pool(Kind::Process, 1);
        join(pool.submit(inner, depth - 1)).expect("returns") + 1
    }
    crate::processes(|| {
        let outer = pool(Kind::Process, 2);
        for _ in 0..3 {
            assert_eq!(join(outer.submit(inner, 2)).expect("returns"), 3);
        }
    });
}

#[test]
fn pools_of_both_kinds_and_single_workers_side_by_side() {
    crate::processes(|| {
        let pools = [
            pool(Kind::Thread, 2),
            pool(Kind::Process, 2),
            pool(Kind::Process, 1),
        ];
        let mut maps: Vec<_> = pools.iter().map(|p| p.map(double, 0..300)).collect();
        for n in 0..300 {
            for results in &mut maps {
                assert_eq!(results.next().expect("one more").expect("returns"), n * 2);
            }
            if n % 10 == 0 {
                for kind in Kind::ALL {
                    let single = kind.spawn(double, n).expect("starts");
                    assert_eq!(join(single).expect("returns"), n * 2);
                }
            }
        }
    });
}
