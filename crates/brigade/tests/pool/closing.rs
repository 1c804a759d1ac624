//! How a pool ends: it finishes what it has, or it is told not to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use brigade::{JoinError, JoinHandle, Kind, Pool};

use crate::{Count, both, double, exists, for_ever, join, occupy, pool, until, works};

fn finishes_what_it_has(end: fn(Pool)) {
    both(|kind| {
        for workers in [1, 3] {
            let pool = pool(kind, workers);
            let (first, gate) = occupy(&pool);
            let ran = Count::new();
            let pids = pool.pids();
            for _ in 0..50 {
                drop(pool.submit(crate::add, ran.clone()));
            }
            let kept: Vec<_> = (0..500).map(|n| pool.submit(double, n)).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| end(pool));
                gate.add();
            });
            assert_eq!(ran.get(), 50, "all before it returned");
            assert_eq!(first.join().expect("returns"), 7);
            for (n, handle) in (0..).zip(kept) {
                assert!(handle.is_finished());
                assert_eq!(handle.join().expect("returns"), n * 2);
            }
            for pid in pids {
                until("it is gone", || !exists(pid));
            }
        }
    });
}

#[test]
fn dropped_it_finishes_what_it_has() {
    finishes_what_it_has(drop);
}

#[test]
fn shut_down_it_finishes_what_it_has() {
    finishes_what_it_has(|pool| pool.shutdown());
}

#[test]
fn without_anything_to_do_it_ends_at_once() {
    both(|kind| {
        let ends: [fn(Pool); 3] = [drop, |pool| pool.shutdown(), |pool| pool.abort()];
        for end in ends {
            for workers in [1, 4] {
                let idle = pool(kind, workers);
                let mut pids = idle.pids();
                end(idle);
                let used = pool(kind, workers);
                works(&used);
                pids.extend(used.pids());
                end(used);
                for pid in pids {
                    until("it is gone", || !exists(pid));
                }
            }
        }
    });
}

#[test]
fn aborted_it_cancels_all() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (begun, gate, ran) = (Count::new(), Count::new(), Count::new());
        let finished = pool.submit(double, 3);
        until("one has ended", || finished.is_finished());
        let running: Vec<JoinHandle<u32>> = (0..2)
            .map(|_| pool.submit(crate::wait_at, (begun.clone(), gate.clone())))
            .collect();
        begun.wait_for(2);
        let queued: Vec<JoinHandle<()>> = (0..100)
            .map(|_| pool.submit(crate::add, ran.clone()))
            .collect();
        let pids = pool.pids();
        assert_eq!(pids.len(), if kind == Kind::Process { 2 } else { 0 });
        pool.abort();
        for pid in pids {
            assert!(!exists(pid), "it is gone when this returns");
        }
        assert_eq!(finished.join().expect("it had ended"), 6);
        for handle in running {
            assert!(handle.is_finished());
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        }
        for handle in queued {
            assert!(handle.is_finished());
            assert!(matches!(
                join(handle),
                Err(JoinError::Cancelled | JoinError::Closed)
            ));
        }
        gate.add();
        assert_eq!(ran.get(), 0, "what was not started never starts");
    });
}

#[test]
fn aborted_while_all_is_in_motion() {
    both(|kind| {
        for n in 0..30 {
            let pool = pool(kind, 3);
            let ran = Count::new();
            let handles: Vec<_> = (0..n * 20).map(|n| pool.submit(double, n)).collect();
            for _ in 0..n {
                drop(pool.submit(crate::add, ran.clone()));
            }
            let pids = pool.pids();
            pool.abort();
            assert!(!pids.into_iter().any(exists));
            for (n, handle) in (0..).zip(handles) {
                assert!(handle.is_finished());
                match join(handle) {
                    Ok(doubled) => assert_eq!(doubled, n * 2),
                    Err(JoinError::Cancelled | JoinError::Closed) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn cancelled_and_then_shut_down() {
    both(|kind| {
        for _ in 0..20 {
            let pool = pool(kind, 2);
            let begun = Count::new();
            let running: Vec<_> = (0..2)
                .map(|_| pool.submit(wait_or_park, (kind as u8, begun.clone())))
                .collect();
            let queued: Vec<_> = (0..20).map(|n| pool.submit(double, n)).collect();
            begun.wait_for(2);
            for handle in running.iter() {
                handle.cancel();
            }
            queued.iter().step_by(2).for_each(JoinHandle::cancel);
            pool.shutdown();
            for handle in running {
                assert!(matches!(join(handle), Err(JoinError::Cancelled)));
            }
            for (n, handle) in (0..).zip(queued) {
                match join(handle) {
                    Ok(doubled) => assert_eq!(doubled, n * 2),
                    Err(JoinError::Cancelled) => assert!(n % 2 == 0),
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    });
}

/// Never ends. A thread is parked; a process makes it harder.
fn wait_or_park((kind, begun): (u8, Count)) -> u32 {
    match Kind::ALL[usize::from(kind)] {
        Kind::Thread => for_ever(begun),
        Kind::Process => {
            // SAFETY: ignores a signal.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            for_ever(begun)
        }
    }
}

#[test]
fn dropped_by_a_panic() {
    both(|kind| {
        let ran = Count::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let pool = pool(kind, 2);
            for _ in 0..100 {
                drop(pool.submit(crate::add, ran.clone()));
            }
            let _results = pool.map(double, 0..100).next();
            panic!("with a pool");
        }));
        assert!(panicked.is_err());
        assert_eq!(ran.get(), 100);
    });
}

#[test]
fn dropped_by_its_own_task() {
    /// What a task in a thread may do, and one in a process cannot.
    static LAST: Mutex<Option<Arc<Pool>>> = Mutex::new(None);
    fn end_it((begun, gate): (Count, Count)) -> u32 {
        crate::wait_at((begun, gate));
        drop(LAST.lock().expect("nobody panics").take());
        8
    }
    both(|kind| {
        if kind == Kind::Process {
            return;
        }
        let pool = Arc::new(pool(kind, 2));
        let (begun, gate) = (Count::new(), Count::new());
        let ender = pool.submit(end_it, (begun.clone(), gate.clone()));
        begun.wait_for(1);
        *LAST.lock().expect("nobody panics") = Some(Arc::clone(&pool));
        let queued: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
        drop(pool);
        gate.add();
        assert_eq!(join(ender).expect("returns"), 8);
        for (n, handle) in (0..).zip(queued) {
            assert_eq!(join(handle).expect("it was accepted"), n * 2);
        }
    });
}

#[test]
fn made_and_ended_again_and_again() {
    both(|kind| {
        for n in 0..60_usize {
            let pool = pool(kind, 1 + n % 4);
            let handle = pool.submit(double, 1);
            match n % 3 {
                0 => drop(pool),
                1 => pool.shutdown(),
                _ => pool.abort(),
            }
            match join(handle) {
                Ok(2) => {}
                Err(JoinError::Cancelled | JoinError::Closed) if n % 3 == 2 => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn ended_while_workers_are_replaced() {
    both(|kind| {
        for turn in 0..120 {
            let builder = Pool::builder(kind).workers(3);
            let pool = builder.recycle_after(1 + turn % 40).build();
            let pool = pool.expect("a pool");
            let doubled = pool.map(double, 0..100).filter(|ended| ended.is_ok());
            assert_eq!(doubled.count(), 100);
            let kept = pool.submit(double, 4);
            let taken = pool.map(double, 0..10_000).take(turn as usize).count();
            assert_eq!(taken as u64, turn);
            match turn % 3 {
                0 => drop(pool),
                1 => pool.shutdown(),
                _ => pool.abort(),
            }
            match join(kept) {
                Ok(8) => {}
                Err(JoinError::Cancelled | JoinError::Closed) if turn % 3 == 2 => {}
                other => panic!("{other:?}"),
            }
        }
    });
}
