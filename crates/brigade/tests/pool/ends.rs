//! It returns, it panics, it is cancelled, its handle is dropped: what that means for the pool, and
//! for tasks that wait. What holds without a pool too is in `tests/contract`.

use std::time::Duration;

use brigade::{JoinError, Kind, Pool};

use crate::{
    Count, both, double, exists, join, occupy, panic_of, pool, quiet_pool, until, wait_at, who,
    works,
};

#[test]
fn they_return_one_after_another() {
    both(|kind| {
        let pool = pool(kind, 2);
        assert_eq!((pool.kind(), pool.workers()), (kind, 2));
        for n in 0..1000 {
            assert_eq!(pool.submit(double, n).join().expect("returns"), n * 2);
        }
        assert!(format!("{pool:?}").contains(&format!("{kind:?}")));
    });
}

#[test]
fn many_at_once_return_each_its_own() {
    both(|kind| {
        let pool = pool(kind, 3);
        let handles: Vec<_> = (0..10_000).map(|n| pool.submit(double, n)).collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(join(handle).expect("returns"), n * 2);
        }
    });
}

fn fail(n: u32) -> String {
    panic!("no {n}")
}

#[test]
fn it_panics_and_the_worker_goes_on() {
    both(|kind| {
        let pool = pool(kind, 1);
        let before = join(pool.submit(who, 0)).expect("returns");
        let pids = pool.pids();
        let panic = panic_of(join(pool.submit(fail, 3)));
        assert_eq!(panic.message(), "no 3");
        assert!(
            panic.location().is_some_and(|l| l.contains("ends.rs:")),
            "{:?}",
            panic.location()
        );
        assert!(
            panic.backtrace().is_some_and(|b| b.contains("ends::fail")),
            "{:?}",
            panic.backtrace()
        );
        assert!(panic.task().contains("ends::fail"), "{}", panic.task());
        let told = JoinError::Panicked(panic).to_string();
        assert!(told.contains("no 3") && told.contains("fail"), "{told}");
        assert_eq!(join(pool.submit(who, 0)).expect("returns"), before);
        assert_eq!(pool.pids(), pids);
    });
}

/// A payload that panics again when it is dropped.
struct Stubborn;

impl Drop for Stubborn {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn panics_of_every_sort() {
    fn badly(n: u32) {
        match n % 4 {
            0 => panic!("{}", "ä".repeat(100_000)),
            1 => std::panic::panic_any(7_u8),
            2 => std::panic::panic_any(Stubborn),
            _ => std::panic::resume_unwind(Box::new("silent")),
        }
    }
    both(|kind| {
        let pool = quiet_pool(kind, 1);
        let before = join(pool.submit(who, 0)).expect("returns");
        for n in 0..40 {
            let panic = panic_of(join(pool.submit(badly, n)));
            let message = panic.message();
            match n % 4 {
                0 => assert!(message.len() > 1000 && message.chars().all(|c| c == 'ä')),
                1 | 2 => assert_eq!(message, "Box<dyn Any>"),
                _ => assert_eq!((message, panic.location()), ("silent", None)),
            }
        }
        assert_eq!(join(pool.submit(who, 0)).expect("returns"), before);
    });
}

#[test]
fn a_panic_that_nobody_hears_of_harms_nobody() {
    both(|kind| {
        let pool = quiet_pool(kind, 1);
        for n in 0..50 {
            drop(pool.submit(fail, n));
        }
        works(&pool);
        assert_eq!(pool.stats().panicked, 50);
    });
}

#[test]
fn errors_name_the_pool() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).name("sous-chef").build();
        let panic = panic_of(join(pool.expect("a pool").submit(fail, 1)));
        assert!(panic.to_string().contains("sous-chef"), "{panic}");
    });
}

#[test]
fn errors_say_where_the_task_was_started() {
    fn at(ended: Result<String, JoinError>) -> u32 {
        let place = panic_of(ended).started_at();
        assert_eq!(place.file(), file!());
        place.line()
    }
    both(|kind| {
        let pool = quiet_pool(kind, 1);
        let (line, ended) = (line!(), join(pool.submit(fail, 1)));
        assert_eq!(at(ended), line);
        let (line, handle) = (line!(), pool.try_submit(fail, 2));
        assert_eq!(at(join(handle.expect("there is room"))), line);
        let (line, ended) = (line!(), pool.map(fail, [3]).next());
        assert_eq!(at(ended.expect("one")), line);
        let (line, ended) = (line!(), pool.map_unordered(fail, [4]).next());
        assert_eq!(at(ended.expect("one").1), line);
    });
}

#[test]
fn cancelled_before_it_starts_it_never_runs() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (first, gate) = occupy(&pool);
        let ran = Count::new();
        let waiting: Vec<_> = (0..3)
            .map(|_| pool.submit(crate::add, ran.clone()))
            .collect();
        let last = pool.submit(double, 4);
        for handle in waiting {
            handle.cancel();
            handle.cancel();
            // It is told at once: the worker is still busy with another.
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        }
        gate.add();
        assert_eq!(join(first).expect("returns"), 7);
        assert_eq!(join(last).expect("it was not meant"), 8);
        assert_eq!((ran.get(), pool.stats().cancelled), (0, 3));
    });
}

#[test]
fn cancelled_while_it_runs() {
    both(|kind| {
        let pool = pool(kind, 1);
        for _ in 0..10 {
            let (handle, gate) = occupy(&pool);
            assert!(!handle.is_finished());
            let pid = handle.pid();
            assert_eq!(pid.is_some(), kind == Kind::Process);
            handle.cancel();
            handle.cancel();
            assert!(matches!(join(handle), Err(JoinError::Cancelled)));
            if let Some(pid) = pid {
                assert!(!exists(pid), "it is gone when the caller hears of it");
            }
            // Before the gate opens: a thread that was let go is nobody's worker any more.
            works(&pool);
            gate.add();
        }
        assert_eq!(pool.stats().cancelled, 10);
    });
}

#[test]
fn cancelled_at_any_moment_it_ends_once() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (mut ended, mut cancelled) = (0, 0);
        for n in 0..400 {
            let handles: Vec<_> = (0..4).map(|m| pool.submit(double, n + m)).collect();
            for _ in 0..n % 40 * 5 {
                std::hint::spin_loop();
            }
            handles[n as usize % 4].cancel();
            for (m, handle) in (0..).zip(handles) {
                match join(handle) {
                    Ok(doubled) => assert_eq!(doubled, (n + m) * 2),
                    Err(JoinError::Cancelled) if m == n % 4 => cancelled += 1,
                    Err(other) => panic!("{other:?}"),
                }
                ended += 1;
            }
        }
        let stats = pool.stats();
        assert_eq!(
            (stats.submitted, stats.done + stats.failed()),
            (ended, ended)
        );
        assert_eq!(stats.cancelled, cancelled);
        works(&pool);
    });
}

#[test]
fn handles_are_dropped_and_tasks_run_on() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (begun, gate, ran) = (Count::new(), Count::new(), Count::new());
        drop(pool.submit(wait_at, (begun.clone(), gate.clone())));
        for _ in 0..10 {
            drop(pool.submit(crate::add, ran.clone()));
        }
        begun.wait_for(1);
        gate.add();
        ran.wait_for(10);
    });
}

#[test]
fn a_handle_tells_who_runs_it() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (running, gate) = occupy(&pool);
        let waiting = pool.submit(double, 1);
        assert_eq!(waiting.pid(), None, "nobody runs it");
        match kind {
            Kind::Thread => assert_eq!((running.pid(), pool.pids()), (None, Vec::new())),
            Kind::Process => assert_eq!(pool.pids(), [running.pid().expect("a process")]),
        }
        assert!(
            format!("{running:?}").contains("finished: false"),
            "{running:?}"
        );
        gate.add();
        join(running).expect("returns");
        join(waiting).expect("returns");
    });
}

#[test]
fn join_timeout_gives_the_handle_of_a_task_in_the_queue_back() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (handle, gate) = occupy(&pool);
        let queued = pool.submit(double, 3);
        let queued = queued
            .join_timeout(Duration::ZERO)
            .expect_err("it is not its turn");
        let queued = queued
            .join_timeout(Duration::from_millis(5))
            .expect_err("it is not its turn");
        gate.add();
        assert_eq!(join(handle).expect("returns"), 7);
        assert_eq!(join(queued).expect("returns"), 6);
    });
}

#[test]
fn who_only_looks_sees_it_end() {
    both(|kind| {
        let pool = pool(kind, 2);
        let handles: Vec<_> = (0..500).map(|n| pool.submit(double, n)).collect();
        // Nobody joins: that they end is not the work of those who wait.
        for handle in &handles {
            until("it ends", || handle.is_finished());
        }
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.join().expect("returns"), n * 2);
        }
    });
}

#[test]
fn handles_outlive_their_pool() {
    both(|kind| {
        let pool = pool(kind, 2);
        let handles: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
        let failed = pool.submit(fail, 1);
        drop(pool);
        for (n, handle) in (0..).zip(handles) {
            assert!(handle.is_finished());
            handle.cancel();
            assert_eq!(handle.join().expect("returns"), n * 2);
        }
        panic_of(failed.join());
    });
}

/// Works for so many microseconds.
fn work(micros: u64) -> u64 {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    micros
}

#[test]
fn what_waits_behind_a_cancelled_task_runs_once() {
    fn count(runs: Count) {
        runs.add();
        work(300);
    }
    both(|kind| {
        let pool = pool(kind, 1);
        for n in 0..200 {
            // Cancelled just as it ends, and the next one begins.
            let first = pool.submit(work, 200);
            let runs = Count::new();
            let second = pool.submit(count, runs.clone());
            work(150 + n);
            first.cancel();
            match join(first) {
                Ok(200) | Err(JoinError::Cancelled) => {}
                other => panic!("{other:?}"),
            }
            join(second).expect("it was not cancelled");
            assert_eq!(runs.get(), 1, "turn {n}");
        }
    });
}
