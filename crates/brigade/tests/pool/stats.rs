//! What a pool says it has done, and has to do.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::{Cause, JoinError, Kind, Pool, PoolStats};

use crate::{Count, both, double, for_ever, join, occupy, pool, until};

/// What holds at every moment.
fn adds_up(stats: &PoolStats) {
    let crashed: u64 = stats.crashed.iter().map(|(_, n)| n).sum();
    let told = crashed + stats.timed_out + stats.retried + stats.interrupted + stats.died_idle;
    // A worker is gone a moment before the end of its task is told.
    assert!(
        told <= stats.restarts && stats.restarts <= told + stats.running + stats.queued,
        "{stats:?}"
    );
    assert!(stats.running <= stats.workers as u64, "{stats:?}");
    assert_eq!(
        stats.submitted,
        stats.queued + stats.running + stats.done + stats.failed(),
        "{stats:?}"
    );
}

/// Nothing that counts goes down.
fn grew(before: &PoolStats, now: &PoolStats) {
    let counters = |s: &PoolStats| {
        [
            s.submitted,
            s.done,
            s.failed(),
            s.panicked,
            s.timed_out,
            s.cancelled,
            s.undeliverable,
            s.closed,
            s.retried,
            s.restarts,
            s.interrupted,
            s.died_idle,
            s.not_ready,
            s.recycled,
            s.bytes_in,
            s.bytes_out,
            s.latencies.count(),
        ]
    };
    let pairs = counters(before).into_iter().zip(counters(now));
    assert!(
        pairs.into_iter().all(|(b, n)| b <= n),
        "{before:?}, then {now:?}"
    );
    assert!(before.busy <= now.busy, "{before:?}, then {now:?}");
}

#[test]
fn each_end_is_counted_where_it_belongs() {
    both(|kind| {
        const TIME: Duration = Duration::from_secs(1);
        let builder = Pool::builder(kind).workers(1);
        let pool = builder.timeout(TIME).build();
        let pool = pool.expect("a pool");
        let fresh = pool.stats();
        adds_up(&fresh);
        assert_eq!((fresh.workers, fresh.submitted), (1, 0));

        join(pool.submit(double, 1)).expect("returns");
        // In silence: to write where it was can take longer than the time that it has.
        fn panics((): ()) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        crate::panic_of(join(pool.submit(panics, ())));
        let over = join(pool.submit(for_ever, Count::new()));
        assert!(matches!(over, Err(JoinError::TimedOut(_))));
        let (running, _gate) = occupy(&pool);
        let queued = pool.submit(double, 1);
        let stats = pool.stats();
        adds_up(&stats);
        assert_eq!((stats.running, stats.queued), (1, 1), "{stats:?}");
        queued.cancel();
        running.cancel();
        assert!(matches!(join(queued), Err(JoinError::Cancelled)));
        assert!(matches!(join(running), Err(JoinError::Cancelled)));
        let mut expected_restarts = 2;
        if kind == Kind::Process {
            for _ in 0..2 {
                crate::crash_of(join(pool.submit(|()| -> () { std::process::abort() }, ())));
            }
            expected_restarts += 2;
        }

        until("the last worker is replaced", || {
            pool.stats().restarts == expected_restarts
        });
        let stats = pool.stats();
        adds_up(&stats);
        assert_eq!((stats.running, stats.queued), (0, 0), "{stats:?}");
        assert_eq!(
            (stats.done, stats.panicked, stats.timed_out, stats.cancelled),
            (1, 1, 1, 2),
            "{stats:?}"
        );
        let crashed = match kind {
            Kind::Thread => Vec::new(),
            Kind::Process => vec![(Cause::Abort, 2)],
        };
        assert_eq!(stats.crashed, crashed);
        assert!(stats.busy >= TIME, "{stats:?}");
        assert!(stats.latencies.longest() >= TIME);
        let times = stats.latencies.count();
        // Of what nobody has begun there may be none.
        assert!(times >= stats.done + stats.panicked && times <= stats.done + stats.failed());
        assert_eq!(stats.bytes_in > 0, kind == Kind::Process);
        assert_eq!(stats.bytes_out > 0, kind == Kind::Process);
    });
}

#[test]
fn they_add_up_at_every_moment() {
    fn mixed(n: u32) -> u32 {
        if n % 13 == 0 {
            // As a panic, but in silence: there are hundreds.
            std::panic::resume_unwind(Box::new("thirteen"));
        }
        if n % 101 == 0 && std::env::var_os("BRIGADE_TEST_CRASH").is_some() {
            std::process::abort();
        }
        n
    }
    both(|kind| {
        // Deaths too, where they are only one worker's.
        let process = brigade::process::Builder::new().env("BRIGADE_TEST_CRASH", "1");
        let builder = Pool::builder(kind).workers(3).process(process);
        let pool = builder.recycle_after(50).build().expect("a pool");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = pool.stats();
                while !over.load(SeqCst) {
                    let now = pool.stats();
                    adds_up(&now);
                    grew(&last, &now);
                    last = now;
                }
            });
            let working: Vec<_> = (0..3)
                .map(|t| {
                    let pool = &pool;
                    scope.spawn(move || {
                        for n in 0..500 {
                            let handle = pool.submit(mixed, n);
                            match (n + t) % 5 {
                                0 => handle.cancel(),
                                1 => drop(handle),
                                2 => drop(join(handle)),
                                _ => drop(pool.map(mixed, 0..n % 17).take(9).count()),
                            }
                        }
                    })
                })
                .collect();
            for thread in working {
                thread.join().expect("no panic");
            }
            over.store(true, SeqCst);
        });
        until("all has ended", || {
            let stats = pool.stats();
            stats.queued + stats.running == 0
        });
        adds_up(&pool.stats());
    });
}

#[test]
fn each_worker_that_is_gone_is_accounted_for() {
    both(|kind| {
        const TIME: Duration = Duration::from_secs(1);
        let builder = Pool::builder(kind).workers(2).timeout(TIME).retries(1);
        let pool = builder.build().expect("a pool");
        let over = join(pool.submit(for_ever, Count::new()));
        // Its descriptors are there only once: a thread does not run it again.
        assert!(matches!(over, Err(JoinError::TimedOut(_))));
        let (running, _gate) = occupy(&pool);
        running.cancel();
        assert!(matches!(join(running), Err(JoinError::Cancelled)));
        if kind == Kind::Process {
            crate::crash_of(join(pool.submit(|()| -> () { std::process::abort() }, ())));
            // All are ready: those that are not yet are counted elsewhere.
            crate::works(&pool);
            let pids = pool.pids();
            pids.iter().copied().for_each(crate::kill);
            until("they are gone", || {
                pool.pids().iter().all(|pid| !pids.contains(pid)) && pool.pids().len() == 2
            });
        }
        crate::works(&pool);
        let stats = pool.stats();
        adds_up(&stats);
        let crashed: u64 = stats.crashed.iter().map(|(_, n)| n).sum();
        let expected = match kind {
            Kind::Thread => (1, 1, stats.retried, 0),
            // On a busy machine one more may have been too slow to begin anything.
            Kind::Process => (1, 1, stats.retried, stats.died_idle.max(2)),
        };
        let counts = (
            stats.timed_out,
            stats.interrupted,
            stats.retried,
            stats.died_idle,
        );
        assert_eq!(counts, expected, "{stats:?}");
        assert_eq!(
            stats.restarts,
            crashed + stats.timed_out + stats.retried + stats.interrupted + stats.died_idle,
            "{stats:?}"
        );
        assert_eq!(crashed, u64::from(kind == Kind::Process), "{stats:?}");
        assert_eq!(stats.retried > 0, kind == Kind::Process, "{stats:?}");
        assert_eq!((stats.not_ready, stats.recycled), (0, 0), "{stats:?}");
    });
}

/// What is said to run has a worker, and what has a worker is said to run.
#[test]
fn what_runs_has_a_number() {
    crate::processes(|| {
        let pool = pool(Kind::Process, 1);
        for _ in 0..300 {
            let handle = pool.submit(wait_at_gate, Count::new());
            let (runs, pid) = loop {
                let before = pool.stats().running;
                let pid = handle.pid();
                if before == 1 || pid.is_some() {
                    break (pool.stats().running, pid);
                }
            };
            assert_eq!((runs, pid.is_some()), (1, true));
            assert_eq!(pid, pool.pids().first().copied());
            handle.cancel();
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        }
    });
}

fn wait_at_gate(gate: Count) {
    gate.wait_for(1);
}

#[test]
fn a_map_is_counted_like_any_other_task() {
    both(|kind| {
        let pool = pool(kind, 2);
        assert_eq!(pool.map(double, 0..1000).count(), 1000);
        assert_eq!(pool.map_unordered(double, 0..1000).count(), 1000);
        let stats = pool.stats();
        adds_up(&stats);
        assert_eq!((stats.submitted, stats.done), (2000, 2000));
        assert_eq!(stats.latencies.count(), 2000);
    });
}

#[test]
fn an_end_that_was_told_is_counted() {
    both(|kind| {
        let pool = pool(kind, 2);
        for n in 1..2000 {
            pool.submit(double, 1).join().expect("returns");
            let stats = pool.stats();
            assert_eq!(
                (stats.done, stats.running, stats.queued),
                (n, 0, 0),
                "{stats:?}"
            );
        }
    });
}
