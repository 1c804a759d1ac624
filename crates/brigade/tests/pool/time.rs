//! A task's time, and being run again.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use brigade::{JoinError, Kind, Pool, PoolBuilder};
use serde::{Deserialize, Serialize};

use crate::{Count, both, double, for_ever, join, pool, until, who, works};

/// Short, for what never ends; innocent tasks must not need it.
const SHORT: Duration = Duration::from_millis(500);

fn timed(kind: Kind, workers: usize) -> PoolBuilder {
    Pool::builder(kind).workers(workers).timeout(SHORT)
}

fn timed_out<R: std::fmt::Debug>(ended: Result<R, JoinError>) {
    assert!(
        matches!(&ended, Err(JoinError::TimedOut(over))
                if over.after() == SHORT && over.task().starts_with("pool::")),
        "{ended:?}"
    );
}

#[test]
fn its_time_is_over() {
    both(|kind| {
        let pool = timed(kind, 1).build().expect("a pool");
        let begun = Count::new();
        let before = pool.pids();
        timed_out(join(pool.submit(for_ever, begun.clone())));
        assert!(
            !before.into_iter().any(crate::exists),
            "it is gone when the caller hears of it"
        );
        assert_eq!(begun.get(), 1);
        works(&pool);
        let stats = pool.stats();
        assert_eq!((stats.timed_out, stats.restarts), (1, 1), "{stats:?}");
    });
}

#[test]
fn time_in_the_queue_does_not_count() {
    both(|kind| {
        let pool = timed(kind, 1).build().expect("a pool");
        // Those behind it have waited for all of its time when theirs begins.
        let never = pool.submit(for_ever, Count::new());
        let behind: Vec<_> = (0..1000).map(|n| pool.submit(double, n)).collect();
        timed_out(join(never));
        for (n, handle) in (0..).zip(behind) {
            assert_eq!(join(handle).expect("it had its own time"), n * 2);
        }
    });
}

/// Takes a part of the time that it has.
#[expect(clippy::disallowed_methods, reason = "a task that takes its time")]
fn linger(_: u32) {
    std::thread::sleep(SHORT / 5);
}

#[test]
fn each_has_its_own_time() {
    both(|kind| {
        let pool = timed(kind, 1).build().expect("a pool");
        // Together they need more than one has; given together, and so that they may lie at one
        // worker together.
        let handles: Vec<_> = (0..8).map(|n| pool.submit(linger, n)).collect();
        for handle in handles {
            join(handle).expect("it had time enough");
        }
        assert!(pool.map(linger, 0..4).all(|ended| ended.is_ok()));
    });
}

#[derive(Serialize, Deserialize)]
enum Step {
    Double(u32),
    Never,
}

fn step(step: Step) -> u32 {
    match step {
        Step::Double(n) => n * 2,
        Step::Never => loop {
            std::thread::park();
        },
    }
}

#[test]
fn it_takes_none_of_the_others_along() {
    both(|kind| {
        let pool = timed(kind, 2).build().expect("a pool");
        let inputs = || {
            (0..4000).map(|n| match n {
                0 | 100 | 3999 => Step::Never,
                n => Step::Double(n),
            })
        };
        let judge = |n: u32, ended: Result<u32, JoinError>| match n {
            0 | 100 | 3999 => timed_out(ended),
            n => assert_eq!(ended.expect("an innocent task succeeds"), n * 2),
        };
        (0..)
            .zip(pool.map(step, inputs()))
            .for_each(|(n, ended)| judge(n, ended));
        for (n, ended) in pool.map_unordered(step, inputs()) {
            judge(n as u32, ended);
        }
        let handles: Vec<_> = inputs().map(|input| pool.submit(step, input)).collect();
        (0..)
            .zip(handles)
            .for_each(|(n, handle)| judge(n, join(handle)));
        works(&pool);
    });
}

#[test]
fn detached_it_has_its_time_too() {
    both(|kind| {
        let pool = timed(kind, 1).build().expect("a pool");
        drop(pool.submit(for_ever, Count::new()));
        drop(pool.submit(for_ever, Count::new()));
        assert_eq!(join(pool.submit(double, 2)).expect("its turn comes"), 4);
        drop(pool.submit(for_ever, Count::new()));
        // Who ends the pool does not wait longer for it either.
        drop(pool);
    });
}

#[test]
fn without_a_timeout_there_is_none() {
    both(|kind| {
        let pool = pool(kind, 1);
        assert_eq!(pool.stats().timed_out, 0);
        let huge = Pool::builder(kind).workers(1).timeout(Duration::MAX);
        let huge = huge.build().expect("a time so long is for ever");
        assert_eq!(join(huge.submit(double, 1)).expect("returns"), 2);
        works(&pool);
    });
}

/// How often a task was run. In this program a number in a table: a plain input, as threads need it
/// to be run on it again.
#[derive(Clone, Serialize, Deserialize)]
enum Runs {
    Here(usize),
    There(Count),
}

impl Runs {
    fn of(kind: Kind) -> Runs {
        match kind {
            Kind::Thread => Runs::Here(NEXT.fetch_add(1, SeqCst)),
            Kind::Process => Runs::There(Count::new()),
        }
    }

    fn add(&self) -> u32 {
        match self {
            Runs::Here(at) => TABLE[*at].fetch_add(1, SeqCst),
            Runs::There(count) => count.add(),
        }
    }

    fn get(&self) -> u32 {
        match self {
            Runs::Here(at) => TABLE[*at].load(SeqCst),
            Runs::There(count) => count.get(),
        }
    }
}

static TABLE: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Ends at its `last` run, and not before.
fn at_last((runs, last): (Runs, u32)) -> u32 {
    if runs.add() + 1 < last {
        for_ever(Count::new());
    }
    last
}

#[test]
fn it_is_run_again_when_its_time_was_over() {
    both(|kind| {
        let pool = timed(kind, 2).retries(2).build().expect("a pool");
        for last in [1, 2, 3, 100] {
            let runs = Runs::of(kind);
            let ended = join(pool.submit(at_last, (runs.clone(), last)));
            match ended {
                Ok(returned) => assert!(returned == last && last <= 3),
                ended => {
                    assert!(last > 3, "it had another try: {ended:?}");
                    timed_out(ended);
                }
            }
            assert_eq!(runs.get(), last.min(3));
        }
        let stats = pool.stats();
        assert_eq!(
            (stats.retried, stats.timed_out, stats.done),
            (5, 1, 3),
            "{stats:?}"
        );
    });
}

#[test]
fn with_descriptors_it_is_run_again_in_a_process_only() {
    both(|kind| {
        let pool = timed(kind, 1).retries(1).build().expect("a pool");
        let runs = Count::new();
        timed_out(join(pool.submit(for_ever, runs.clone())));
        // A thread was given the value itself, and its descriptors with it.
        let expected = match kind {
            Kind::Thread => 1,
            Kind::Process => 2,
        };
        assert_eq!(runs.get(), expected);
    });
}

#[test]
fn what_panics_is_not_run_again() {
    fn fail(runs: Count) {
        runs.add();
        panic!("for a reason");
    }
    both(|kind| {
        // To print where it panicked may take longer than a short time.
        let pool = Pool::builder(kind).workers(1).timeout(crate::LIMIT);
        let pool = pool.retries(5).build().expect("a pool");
        let runs = Count::new();
        crate::panic_of(join(pool.submit(fail, runs.clone())));
        assert_eq!((runs.get(), pool.stats().retried), (1, 0));
    });
}

#[test]
fn cancelled_it_is_not_run_again() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).retries(5).build();
        let pool = pool.expect("a pool");
        let runs = Count::new();
        let handle = pool.submit(for_ever, runs.clone());
        runs.wait_for(1);
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        works(&pool);
        assert_eq!((runs.get(), pool.stats().retried), (1, 0));
    });
}

#[test]
fn retries_in_a_map() {
    both(|kind| {
        let pool = timed(kind, 2).retries(1).build().expect("a pool");
        let runs: Vec<Runs> = (0..20).map(|_| Runs::of(kind)).collect();
        let lasts = |n: usize| if n % 10 == 4 { 2 } else { 1 };
        let inputs = (0..20).map(|n| (runs[n].clone(), lasts(n)));
        for (n, ended) in pool.map(at_last, inputs).enumerate() {
            assert_eq!(ended.expect("it had another try"), lasts(n));
            assert_eq!(runs[n].get(), lasts(n), "input {n}");
        }
    });
}

#[test]
fn a_thread_that_is_let_go_does_no_more_for_the_pool() {
    both(|kind| {
        if kind == Kind::Process {
            return;
        }
        let pool = timed(kind, 1).build().expect("a pool");
        let (begun, gate) = (Count::new(), Count::new());
        let before = join(pool.submit(who, 0)).expect("returns");
        timed_out(join(
            pool.submit(crate::wait_at, (begun.clone(), gate.clone())),
        ));
        let others: Vec<String> = (0..10)
            .map(|n| join(pool.submit(who, n)).expect("returns"))
            .collect();
        // Its late return is nobody's result.
        gate.add();
        for _ in 0..10 {
            let other = join(pool.submit(who, 0)).expect("returns");
            assert!(other != before && others.iter().all(|o| *o == other));
        }
        until("all is accounted for", || {
            let stats = pool.stats();
            (stats.done, stats.timed_out, stats.running) == (21, 1, 0)
        });
    });
}
