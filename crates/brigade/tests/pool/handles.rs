//! A pool has many handles: what ends it for all of them, and when the last one does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake};
use std::time::{Duration, Instant};

use brigade::{JoinError, Kind, Pool};

use crate::{
    Count, LIMIT, both, double, exists, for_ever, join, occupy, pool, until, wait_at, works,
};

/// A pool that has ended takes nothing, and says so in each way.
fn takes_nothing(pool: &Pool) {
    assert!(pool.is_closed());
    assert!(matches!(
        join(pool.submit(double, 1)),
        Err(JoinError::Closed)
    ));
    assert_eq!(pool.try_submit(double, 7).err(), Some(7));
    let own = || pool.task(double).deadline(Instant::now() + LIMIT);
    assert!(matches!(join(own().submit(1)), Err(JoinError::Closed)));
    assert_eq!(own().try_submit(7).err(), Some(7));
    let ordered: Vec<_> = pool.map(double, 0..200).collect();
    assert_eq!(ordered.len(), 200);
    assert!(ordered.iter().all(is_closed));
    let unordered: BTreeMap<_, _> = pool.map_unordered(double, 0..200).collect();
    assert!(unordered.keys().copied().eq(0..200));
    assert!(unordered.values().all(is_closed));
}

fn is_closed(ended: &Result<u32, JoinError>) -> bool {
    matches!(ended, Err(JoinError::Closed))
}

#[test]
fn the_last_handle_ends_the_pool() {
    both(|kind| {
        let pool = pool(kind, 2);
        let pids = pool.pids();
        let clones: Vec<Pool> = (0..4).map(|_| pool.clone()).collect();
        let counted: Vec<_> = (clones.iter().zip(0..))
            .map(|(pool, n)| pool.submit(double, n))
            .collect();
        drop(pool);
        for (n, handle) in (0..).zip(counted) {
            assert_eq!(join(handle).expect("returns"), n * 2);
        }
        let mut clones = clones.into_iter();
        let last = clones.next().expect("one");
        clones.for_each(|clone| std::thread::spawn(|| drop(clone)).join().expect("returns"));
        works(&last);
        assert_eq!(last.stats().submitted, 4 + 2);
        let ran = Count::new();
        (0..50).for_each(|_| drop(last.submit(crate::add, ran.clone())));
        drop(last);
        assert_eq!(ran.get(), 50, "all before it returned");
        assert!(!pids.into_iter().any(exists));
    });
}

#[test]
fn a_map_keeps_its_pool() {
    fn results(kind: Kind) -> impl Iterator<Item = Result<u32, JoinError>> + 'static {
        pool(kind, 2).map(double, 0..1000)
    }
    both(|kind| {
        let all: Vec<u32> = results(kind).map(|r| r.expect("returns")).collect();
        assert!(all.into_iter().eq((0..1000).map(|n| n * 2)));
        let pool = pool(kind, 2);
        let pids = pool.pids();
        let unordered = pool.map_unordered(double, 0..300);
        drop(pool);
        assert_eq!(unordered.take(7).filter(|(_, r)| r.is_ok()).count(), 7);
        assert!(!pids.into_iter().any(exists), "it had the last handle");
    });
}

#[test]
fn closed_it_takes_nothing_and_finishes_what_it_has() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (first, gate) = occupy(&pool);
        let ran = Count::new();
        let queued: Vec<_> = (0..50)
            .map(|_| pool.submit(crate::add, ran.clone()))
            .collect();
        assert!(!pool.is_closed());
        pool.clone().close();
        takes_nothing(&pool);
        let submitted = pool.stats().submitted;
        assert_eq!(submitted, 51, "what was not taken is not counted");
        gate.add();
        assert_eq!(join(first).expect("returns"), 7);
        queued
            .into_iter()
            .for_each(|handle| join(handle).expect("it was taken before"));
        assert_eq!(ran.get(), 50);
        pool.close();
        takes_nothing(&pool);
        pool.shutdown();
        pool.shutdown();
        takes_nothing(&pool);
        pool.abort();
        takes_nothing(&pool);
        assert!(pool.pids().is_empty());
        assert_eq!(pool.stats().done, 51);
        assert_eq!(pool.stacks().into_iter().count(), 0);
    });
}

#[test]
fn a_submit_that_waits_for_room_ends_when_the_pool_does() {
    let ends: [fn(&Pool); 3] = [
        Pool::close,
        |pool| assert!(!pool.drain(Duration::from_millis(1))),
        Pool::abort,
    ];
    both(|kind| {
        for end in ends {
            let pool = Pool::builder(kind).workers(1).queue_limit(1).build();
            let pool = pool.expect("a pool");
            let (first, gate) = occupy(&pool);
            let queued = pool.submit(double, 1);
            let waiting: Vec<_> = (0..3)
                .map(|n| {
                    let pool = pool.clone();
                    std::thread::spawn(move || match n {
                        0 => pool.map(double, [n]).all(|r| is_closed(&r)),
                        1 => is_closed(&join(pool.submit(double, n))),
                        _ => is_closed(&join(pool.task(double).timeout(LIMIT).submit(n))),
                    })
                })
                .collect();
            // They may wait by now, or will find it closed.
            std::thread::yield_now();
            end(&pool);
            for thread in waiting {
                assert!(thread.join().expect("returns"));
            }
            gate.add();
            let (first, queued) = (join(first), join(queued));
            match first {
                Ok(7) => assert_eq!(queued.expect("it was taken"), 2),
                Err(JoinError::Cancelled) => assert!(matches!(queued, Err(JoinError::Cancelled))),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn drained_in_time_it_has_ended() {
    both(|kind| {
        let pool = pool(kind, 2);
        let pids = pool.pids();
        let ran = Count::new();
        (0..100).for_each(|_| drop(pool.submit(crate::add, ran.clone())));
        assert!(pool.drain(LIMIT));
        assert_eq!(ran.get(), 100);
        assert!(!pids.into_iter().any(exists));
        takes_nothing(&pool);
        assert!(pool.drain(Duration::ZERO), "there is nothing left to do");
        assert!(
            self::pool(kind, 1).drain(Duration::MAX),
            "the clock has no such time"
        );
    });
}

#[test]
fn not_drained_in_time_it_goes_on_until_it_is_aborted() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (first, gate) = occupy(&pool);
        let queued = pool.submit(double, 4);
        for time in [Duration::ZERO, Duration::from_millis(5)] {
            assert!(!pool.drain(time));
            takes_nothing(&pool);
        }
        gate.add();
        assert_eq!(join(first).expect("it goes on"), 7);
        assert_eq!(join(queued).expect("it goes on"), 8);
        assert!(pool.drain(LIMIT));

        let pool = self::pool(kind, 1);
        let pids = pool.pids();
        let begun = Count::new();
        let endless = pool.submit(for_ever, begun.clone());
        let queued = pool.submit(double, 4);
        begun.wait_for(1);
        assert!(!pool.drain(Duration::from_millis(5)));
        pool.abort();
        assert!(!pids.into_iter().any(exists));
        assert!(matches!(join(endless), Err(JoinError::Cancelled)));
        assert!(matches!(join(queued), Err(JoinError::Cancelled)));
        assert!(pool.drain(Duration::ZERO));
    });
}

#[test]
fn aborted_while_others_wait_for_its_end() {
    both(|kind| {
        for _ in 0..10 {
            let pool = pool(kind, 2);
            let begun = Count::new();
            let mut tasks: Vec<_> = (0..2)
                .map(|_| pool.submit(for_ever, begun.clone()))
                .collect();
            tasks.extend((0..3).map(|_| pool.submit(for_ever, begun.clone())));
            begun.wait_for(2);
            let waits: [fn(&Pool); 4] = [
                |pool| assert!(pool.drain(LIMIT)),
                Pool::shutdown,
                Pool::wait_idle,
                Pool::abort,
            ];
            let waiting = waits.map(|wait| {
                let pool = pool.clone();
                std::thread::spawn(move || wait(&pool))
            });
            pool.abort();
            for thread in waiting {
                thread.join().expect("returns");
            }
            for task in tasks {
                assert!(matches!(
                    join(task),
                    Err(JoinError::Cancelled | JoinError::Closed)
                ));
            }
        }
    });
}

#[test]
fn shut_down_by_several_each_waits_until_all_is_done() {
    both(|kind| {
        for turn in 0..20 {
            let pool = pool(kind, 1 + turn % 3);
            let (ran, pids) = (Count::new(), pool.pids());
            let (first, gate) = occupy(&pool);
            (0..20).for_each(|_| drop(pool.submit(crate::add, ran.clone())));
            let enders: Vec<_> = (0..4)
                .map(|_| {
                    let (pool, pids, ran) = (pool.clone(), pids.clone(), ran.clone());
                    std::thread::spawn(move || {
                        pool.shutdown();
                        (pids.into_iter().any(exists), ran.get())
                    })
                })
                .collect();
            gate.add();
            for ender in enders {
                assert_eq!(ender.join().expect("returns"), (false, 20));
            }
            assert_eq!(join(first).expect("returns"), 7);
        }
    });
}

#[test]
fn what_is_submitted_while_it_ends_is_run_before_the_end_or_closed() {
    both(|kind| {
        for turn in 0..60 {
            let pool = Pool::builder(kind).workers(1 + turn % 3);
            let pool = if turn % 2 == 0 {
                pool
            } else {
                pool.queue_limit(2).timeout(LIMIT)
            };
            let pool = pool.build().expect("a pool");
            let (ran, over, began) = (Count::new(), Arc::new(AtomicBool::new(false)), Count::new());
            let callers: Vec<_> = (0..4)
                .map(|n| {
                    let (pool, ran, over) = (pool.clone(), ran.clone(), Arc::clone(&over));
                    let began = began.clone();
                    std::thread::spawn(move || {
                        let mut done = 0;
                        began.add();
                        loop {
                            let last = over.load(SeqCst);
                            let ended = match n {
                                0 => pool.map(crate::add, [ran.clone()]).next().expect("one"),
                                1 => match pool.try_submit(crate::add, ran.clone()) {
                                    Ok(handle) => join(handle),
                                    Err(_) => Err(JoinError::Closed),
                                },
                                2 => join(pool.submit(crate::add, ran.clone())),
                                _ => join(pool.task(crate::add).timeout(LIMIT).submit(ran.clone())),
                            };
                            match ended {
                                Ok(()) => done += 1,
                                Err(JoinError::Closed) if last => return done,
                                Err(JoinError::Closed) => {}
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                    })
                })
                .collect();
            began.wait_for(4);
            if turn % 4 == 0 {
                pool.close();
            }
            pool.shutdown();
            let at_end = ran.get();
            over.store(true, SeqCst);
            let done: u32 = (callers.into_iter())
                .map(|caller| caller.join().expect("returns"))
                .sum();
            assert_eq!((done, ran.get()), (at_end, at_end));
        }
    });
}

/// How a pool is ended, and whether that cancels what it has.
type End = (fn(&Pool), bool);

#[test]
fn a_map_that_is_under_way_when_the_pool_is_closed() {
    let ends: [End; 4] = [
        (Pool::close, false),
        (Pool::shutdown, false),
        (|pool| assert!(pool.drain(LIMIT)), false),
        (Pool::abort, true),
    ];
    both(|kind| {
        for (end, cancels) in ends {
            for turn in 0..6 {
                let pool = pool(kind, 2);
                let mut map = pool.map(double, 0..3000);
                let before: Vec<_> = map.by_ref().take(turn * 100).collect();
                let mut unordered = pool.map_unordered(double, 0..3000);
                let mut seen: BTreeMap<_, _> = unordered.by_ref().take(turn * 10).collect();
                let ender = {
                    let pool = pool.clone();
                    std::thread::spawn(move || end(&pool))
                };
                let rest: Vec<_> = map.collect();
                seen.extend(unordered);
                ender.join().expect("returns");
                assert_eq!(before.len() + rest.len(), 3000);
                assert!(seen.keys().copied().eq(0..3000));
                let ordered = before.into_iter().chain(rest).enumerate();
                for (n, ended) in ordered.chain(seen) {
                    match ended {
                        Ok(doubled) => assert_eq!(doubled as usize, n * 2),
                        Err(JoinError::Closed) => {}
                        Err(JoinError::Cancelled) if cancels => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        }
    });
}

#[test]
fn it_is_idle_when_all_has_ended() {
    both(|kind| {
        let pool = pool(kind, 2);
        pool.wait_idle();
        for turn in 0..50 {
            let ran = Count::new();
            (0..turn).for_each(|_| drop(pool.submit(crate::add, ran.clone())));
            pool.wait_idle();
            assert_eq!(ran.get(), turn);
        }
        // With one that runs, two in the queue, and one that is cancelled there.
        let (first, gate) = occupy(&pool);
        let (second, other_gate) = occupy(&pool);
        let queued = [1, 2].map(|n| pool.submit(double, n));
        pool.submit(double, 3).cancel();
        let waiting = {
            let pool = pool.clone();
            std::thread::spawn(move || {
                pool.wait_idle();
                pool.stats()
            })
        };
        gate.add();
        assert_eq!(join(first).expect("returns"), 7);
        for handle in queued {
            join(handle).expect("returns");
        }
        assert!(!waiting.is_finished(), "one runs");
        other_gate.add();
        let stats = waiting.join().expect("returns");
        assert_eq!((stats.queued, stats.running), (0, 0));
        assert_eq!(join(second).expect("returns"), 7);
        works(&pool);
    });
}

/// The pools that tasks in threads find.
static SHARED: Mutex<Vec<Option<Pool>>> = Mutex::new(Vec::new());

fn share(pool: Pool) -> usize {
    let mut shared = SHARED.lock().expect("not poisoned");
    shared.push(Some(pool));
    shared.len() - 1
}

fn shared(at: usize) -> Pool {
    let shared = SHARED.lock().expect("not poisoned");
    shared[at].clone().expect("it is there")
}

fn take_shared(at: usize) -> Pool {
    let mut shared = SHARED.lock().expect("not poisoned");
    shared[at].take().expect("it is there")
}

#[test]
fn ended_by_its_own_tasks() {
    /// How a task in a thread ends the pool that it is in.
    const ENDS: [fn(Pool); 6] = [
        drop,
        |pool| pool.shutdown(),
        |pool| assert!(pool.drain(LIMIT)),
        |pool| {
            pool.wait_idle();
            pool.close();
        },
        |pool| {
            pool.close();
            let late = pool.submit(double, 1);
            assert!(is_closed(&join(late)));
        },
        |pool| pool.abort(),
    ];
    fn end((at, how, begun, gate): (usize, usize, Count, Count)) -> u32 {
        wait_at((begun, gate));
        let own = if how == 0 {
            take_shared(at)
        } else {
            shared(at)
        };
        ENDS[how](own);
        9
    }
    both(|kind| {
        if kind == Kind::Process {
            return; // A worker process has no handle of the pool that it is in.
        }
        for how in 0..ENDS.len() {
            for workers in 1..4 {
                let pool = pool(kind, workers);
                let at = share(pool.clone());
                let (begun, gate) = (Count::new(), Count::new());
                let count = if how == 0 { 1 } else { workers };
                let enders: Vec<_> = (0..count)
                    .map(|_| pool.submit(end, (at, how, begun.clone(), gate.clone())))
                    .collect();
                begun.wait_for(count as u32);
                let queued: Vec<_> = (0..50).map(|n| pool.submit(double, n)).collect();
                let other = (how == 1).then(|| {
                    let pool = pool.clone();
                    std::thread::spawn(move || pool.shutdown())
                });
                if how == 0 {
                    drop(pool);
                }
                gate.add();
                let aborts = how + 1 == ENDS.len();
                for ender in enders {
                    match join(ender) {
                        Ok(9) => {}
                        Err(JoinError::Cancelled) if aborts => {}
                        other => panic!("{how}: {other:?}"),
                    }
                }
                for (n, handle) in (0..).zip(queued) {
                    match join(handle) {
                        Ok(doubled) => assert_eq!(doubled, n * 2),
                        Err(JoinError::Cancelled) if aborts => {}
                        other => panic!("{how}: {other:?}"),
                    }
                }
                if let Some(other) = other {
                    other.join().expect("returns");
                }
            }
        }
    });
}

#[test]
fn the_last_handle_is_dropped_by_a_waker() {
    /// Has the last handle, and drops it where it is woken.
    struct Last(Mutex<Option<Pool>>, Mutex<mpsc::Sender<()>>);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().expect("not poisoned").take());
            let _ = self.1.lock().expect("not poisoned").send(());
        }
    }
    both(|kind| {
        for times_out in [false, true] {
            let pool = Pool::builder(kind).workers(1);
            let pool = pool.timeout(Duration::from_millis(100)).build();
            let pool = pool.expect("a pool");
            let pids = pool.pids();
            let (begun, gate, ran) = (Count::new(), Count::new(), Count::new());
            let mut first = match times_out {
                true => pool.submit(for_ever, begun.clone()),
                false => pool.submit(wait_at, (begun.clone(), gate.clone())),
            };
            // It waits for the time of this one too, which nothing else ends.
            let endless = pool.submit(for_ever, begun.clone());
            let after = pool.submit(crate::add, ran.clone());
            let (sender, dropped) = mpsc::channel();
            let last = Arc::new(Last(Mutex::new(Some(pool)), Mutex::new(sender)));
            let waker = Arc::clone(&last).into();
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut first).poll(&mut context).is_pending());
            gate.add();
            dropped.recv_timeout(LIMIT).expect("it is woken");
            assert!(matches!(join(endless), Err(JoinError::TimedOut(_))));
            join(after).expect("it was accepted");
            assert_eq!(ran.get(), 1);
            until("its workers are gone", || {
                !pids.iter().any(|pid| exists(*pid))
            });
        }
    });
}
