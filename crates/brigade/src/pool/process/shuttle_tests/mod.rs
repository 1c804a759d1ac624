//! What must hold of a pool of processes, in whatever order its callers, its workers and the
//! listener take their steps: run by `scripts/shuttle`.
//!
//! The pool is the real one, down to the mailboxes; its workers are threads, which may die at any
//! step ([`fork_server`](crate::worker::process::sim::fork_server)). Whoever waits for what never comes
//! is a deadlock, which shuttle reports.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread;

use crate::sim::shuttle_os::{one_in, pause, thread as parking};
use crate::worker::process::sim::ForkServer;
use crate::worker::process::sim::fork_server::{Deed, Fate, world};
use crate::{JoinError, JoinHandle, Kind, Pool, PoolBuilder};

/// As many worlds are gone through for each model by each scheduler, if nothing is said.
const WORLDS: usize = 300;

/// Does this in many worlds. A failure prints a schedule; with `BRIGADE_SCHEDULE` it happens again.
fn model(fate: Fate, f: impl Fn(&ForkServer) + Send + Sync + 'static) {
    let f = Arc::new(f);
    let one = move || world(fate, |server| f(server));
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    if let Ok(schedule) = std::env::var("BRIGADE_SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), &config, one);
    }
    let worlds = std::env::var("BRIGADE_WORLDS").map_or(WORLDS, |n| n.parse().expect("a number"));
    run(RandomScheduler::new(worlds), &config, one.clone());
    run(PctScheduler::new(3, worlds), &config, one);
}

fn run(
    scheduler: impl Scheduler + 'static,
    config: &shuttle::Config,
    f: impl Fn() + Send + Sync + 'static,
) {
    shuttle::Runner::new(scheduler, config.clone()).run(f);
}

/// What the tasks of the model do, they are seen to do by what they are given.
fn deed(_: Deed) -> u64 {
    unreachable!("the workers of the model know what to do")
}

fn pool(workers: usize) -> PoolBuilder {
    Pool::builder(Kind::Process).workers(workers)
}

/// Whether a task's end is one that it can have, by itself and by what happened.
fn check(server: &ForkServer, deed: Deed, end: &Result<u64, JoinError>, retries: u32) {
    let ran = server.ran(deed.number());
    match end {
        Ok(value) => {
            assert_eq!(*value, 2 * deed.number());
            assert!((1..=1 + retries).contains(&ran), "{deed:?} ran {ran} times");
        }
        Err(JoinError::Crashed(_) | JoinError::TimedOut(_)) => {
            // A worker dies before it does what it has begun, or while it does.
            assert!(ran <= 1 + retries, "{deed:?} ran {ran} times");
        }
        Err(JoinError::Cancelled | JoinError::Undeliverable(_)) => assert!(ran <= 1 + retries),
        Err(other) => panic!("{deed:?} ended with {other}"),
    }
}

/// Ends that come of a worker's death.
fn is_a_death(end: &Result<u64, JoinError>) -> bool {
    matches!(
        end,
        Err(JoinError::Crashed(_) | JoinError::Undeliverable(_))
    )
}

fn joined(
    server: &ForkServer,
    handles: impl IntoIterator<Item = (Deed, JoinHandle<u64>)>,
    expected: impl Fn(Deed, &Result<u64, JoinError>) -> bool,
) {
    for (deed, handle) in handles {
        let end = handle.join();
        check(server, deed, &end, 0);
        assert!(expected(deed, &end), "{deed:?} ended with {end:?}");
    }
}

fn submitted(pool: &Pool, deeds: impl IntoIterator<Item = Deed>) -> Vec<(Deed, JoinHandle<u64>)> {
    deeds
        .into_iter()
        .map(|d| (d, pool.submit(deed, d)))
        .collect()
}

/// Threads of the model that may borrow.
fn together(these: Vec<Box<dyn FnOnce() + Send + '_>>) {
    thread::scope(|scope| {
        for this in these {
            scope.spawn(this);
        }
    });
}

const QUIET: Fate = Fate {
    dies: 0,
    deaths: 0,
    unready: 0,
    unmade: 0,
    slow: false,
};

/// Somebody looks now and then.
const PATROLLED: Fate = Fate {
    slow: true,
    ..QUIET
};

/// Workers die now and then.
const DEADLY: Fate = Fate {
    dies: 20,
    deaths: 3,
    ..QUIET
};

#[test]
fn shuttle_tasks_of_several_threads_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        together(
            (0..2)
                .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                    let pool = &pool;
                    Box::new(move || {
                        let deeds = (3 * n..3 * n + 3).map(Deed::Double);
                        joined(server, submitted(pool, deeds), |_, end| end.is_ok());
                    })
                })
                .collect(),
        );
        let stats = pool.stats();
        assert_eq!((stats.done, stats.queued, stats.running), (6, 0, 0));
        drop(pool);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_others_join_what_one_has_submitted() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let mut first = submitted(&pool, (0..5).map(Deed::Double));
        let second = first.split_off(2);
        together(vec![
            Box::new(|| joined(server, first, |_, end| end.is_ok())),
            Box::new(|| joined(server, second, |_, end| end.is_ok())),
        ]);
    });
}

#[test]
fn shuttle_one_worker_and_many_callers() {
    model(QUIET, |server| {
        let pool = pool(1).build().expect("no reason not to");
        together(
            (0..3)
                .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                    let pool = &pool;
                    Box::new(move || {
                        let deeds = [Deed::Plod(2 * n), Deed::Double(2 * n + 1)];
                        joined(server, submitted(pool, deeds), |_, end| end.is_ok());
                    })
                })
                .collect(),
        );
    });
}

#[test]
fn shuttle_deaths_cost_what_ran() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        together(
            (0..2)
                .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                    let pool = &pool;
                    Box::new(move || {
                        let deeds = (3 * n..3 * n + 3).map(Deed::Double);
                        joined(server, submitted(pool, deeds), |_, end| {
                            end.is_ok() || is_a_death(end)
                        });
                    })
                })
                .collect(),
        );
        drop(pool);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_one_deadly_task_costs_itself() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4].map(|n| match n {
            1 => Deed::Die(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match deed {
            Deed::Die(_) => matches!(end, Err(JoinError::Crashed(_))),
            _ => end.is_ok(),
        });
        assert_eq!(server.ran(1), 1);
    });
}

#[test]
fn shuttle_who_talks_nonsense_is_ended() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4].map(|n| match n {
            1 => Deed::Garble(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match deed {
            Deed::Garble(_) => matches!(end, Err(JoinError::Crashed(_))),
            // Its worker may have gone on to this one.
            _ => end.is_ok() || is_a_death(end),
        });
        assert!(server.ran(1) == 1 && (0..5).all(|n| server.ran(n) <= 1));
    });
}

#[test]
fn shuttle_what_is_retried_ends_well() {
    model(QUIET, |server| {
        let pool = pool(2).retries(1).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3].map(|n| match n {
            1 => Deed::DieOnce(n),
            3 => Deed::Die(n),
            _ => Deed::Double(n),
        });
        for (deed, handle) in submitted(&pool, deeds) {
            let end = handle.join();
            check(server, deed, &end, 1);
            assert_eq!(end.is_ok(), deed != Deed::Die(3));
        }
        assert_eq!(
            [0, 1, 2, 3].map(|n| server.ran(n)),
            [1, 2, 1, 2],
            "each as often as it had to"
        );
        let stats = pool.stats();
        assert_eq!((stats.done, stats.retried), (3, 2));
    });
}

#[test]
fn shuttle_retries_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).retries(2).build() else {
            return;
        };
        for (deed, handle) in submitted(&pool, (0..5).map(Deed::Double)) {
            let end = handle.join();
            check(server, deed, &end, 2);
        }
    });
}

/// As the model's caller is told, or as it was before.
fn cancelled_or(end: &Result<u64, JoinError>) -> bool {
    matches!(end, Ok(_) | Err(JoinError::Cancelled))
}

#[test]
fn shuttle_cancelled_tasks_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4, 5].map(|n| match n {
            1 | 4 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        let handles = submitted(&pool, deeds);
        for (deed, handle) in &handles {
            if !matches!(deed, Deed::Double(0 | 5)) {
                handle.cancel();
            }
        }
        joined(server, handles, |deed, end| match deed {
            Deed::Double(0 | 5) => end.is_ok(),
            Deed::Hang(_) => matches!(end, Err(JoinError::Cancelled)),
            _ => cancelled_or(end),
        });
    });
}

#[test]
fn shuttle_one_joins_what_another_cancels() {
    model(QUIET, |server| {
        let pool = pool(1).build().expect("no reason not to");
        let cancelled = [0, 1].map(|n| Arc::new(pool.submit(deed, Deed::Hang(n))));
        let others = submitted(&pool, (2..5).map(Deed::Double));
        let [first, second] = &cancelled;
        together(vec![
            Box::new(|| {
                first.cancel();
                second.cancel();
            }),
            Box::new(|| {
                while !first.is_finished() || !second.is_finished() {
                    pause();
                }
            }),
            Box::new(|| joined(server, others, |_, end| end.is_ok())),
        ]);
        for handle in cancelled {
            let handle = Arc::try_unwrap(handle).expect("the last");
            assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        }
    });
}

#[test]
fn shuttle_cancels_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        let handles = submitted(&pool, (0..6).map(Deed::Plod));
        for (_, handle) in handles.iter().skip(1).step_by(2) {
            handle.cancel();
        }
        joined(server, handles, |_, end| {
            cancelled_or(end) || is_a_death(end)
        });
    });
}

#[test]
fn shuttle_a_map_gives_each_result_in_order() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let results = pool.map(deed, (0..7).map(Deed::Double));
        let values: Vec<u64> = results.map(|r| r.expect("no reason not to")).collect();
        assert_eq!(values, [0, 2, 4, 6, 8, 10, 12]);
        assert!((0..7).all(|n| server.ran(n) == 1));
    });
}

fn unordered(server: &ForkServer, pool: &Pool, deeds: std::ops::Range<u64>, deaths: bool) {
    let first = deeds.start;
    let mut seen = vec![false; deeds.clone().count()];
    for (index, end) in pool.map_unordered(deed, deeds.map(Deed::Double)) {
        assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
        check(server, Deed::Double(first + index as u64), &end, 0);
        assert!(end.is_ok() || deaths && is_a_death(&end), "{end:?}");
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
}

#[test]
fn shuttle_maps_of_several_threads_give_each_result_once() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        together(vec![
            Box::new(|| unordered(server, &pool, 0..5, false)),
            Box::new(|| unordered(server, &pool, 5..10, false)),
        ]);
    });
}

#[test]
fn shuttle_a_map_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        together(vec![
            Box::new(|| unordered(server, &pool, 0..6, true)),
            Box::new(|| {
                joined(server, submitted(&pool, [Deed::Double(6)]), |_, end| {
                    end.is_ok() || is_a_death(end)
                });
            }),
        ]);
    });
}

#[test]
fn shuttle_a_map_is_dropped() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let mut results = pool.map_unordered(deed, (0..8).map(Deed::Double));
        let (index, end) = results.next().expect("the first");
        check(server, Deed::Double(index as u64), &end, 0);
        together(vec![
            Box::new(move || drop(results)),
            Box::new(|| {
                joined(server, submitted(&pool, [Deed::Double(9)]), |_, e| {
                    e.is_ok()
                })
            }),
        ]);
        drop(pool);
        assert!((0..8).all(|n| server.ran(n) <= 1));
    });
}

#[test]
fn shuttle_a_dropped_pool_finishes_first() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let handles = submitted(&pool, (0..4).map(Deed::Plod));
        together(vec![
            Box::new(move || drop(pool)),
            Box::new(|| joined(server, handles, |_, end| end.is_ok())),
        ]);
        assert_eq!(server.living(), 0);
        assert!((0..4).all(|n| server.ran(n) == 1));
    });
}

#[test]
fn shuttle_a_dropped_pool_finishes_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        let handles = submitted(&pool, (0..4).map(Deed::Plod));
        together(vec![
            Box::new(move || drop(pool)),
            Box::new(|| {
                joined(server, handles, |_, end| end.is_ok() || is_a_death(end));
            }),
        ]);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_an_aborted_pool_ends_all() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(2).build() else { return };
            let deeds = [0, 1, 2, 3, 4].map(|n| match n {
                1 | 2 => Deed::Hang(n),
                _ => Deed::Double(n),
            });
            let handles = submitted(&pool, deeds);
            together(vec![
                Box::new(move || pool.abort()),
                Box::new(|| {
                    joined(server, handles, |_, end| {
                        cancelled_or(end) || fate.deaths > 0 && is_a_death(end)
                    });
                }),
            ]);
            assert_eq!(server.living(), 0);
        });
    }
}

#[test]
fn shuttle_what_takes_too_long_ends() {
    model(PATROLLED, |server| {
        let pool = pool(2).timeout(Duration::from_millis(30)).build();
        let Ok(pool) = pool else { return };
        let deeds = [0, 1, 2, 3].map(|n| match n {
            1 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match end {
            Ok(_) => deed != Deed::Hang(1),
            Err(JoinError::TimedOut(_)) => true,
            _ => false,
        });
    });
}

#[test]
fn shuttle_what_takes_too_long_is_retried() {
    let fate = Fate {
        slow: true,
        ..DEADLY
    };
    model(fate, |server| {
        let pool = pool(2)
            .timeout(Duration::from_millis(30))
            .retries(1)
            .build();
        let Ok(pool) = pool else { return };
        let deeds = [0, 1, 2].map(|n| match n {
            1 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        for (deed, handle) in submitted(&pool, deeds) {
            let end = handle.join();
            check(server, deed, &end, 1);
        }
    });
}

#[test]
fn shuttle_workers_that_leave_are_replaced() {
    for after in [1, 2] {
        model(QUIET, move |server| {
            let pool = pool(2).recycle_after(after).build();
            let pool = pool.expect("no reason not to");
            together(vec![
                Box::new(|| {
                    joined(
                        server,
                        submitted(&pool, (0..5).map(Deed::Double)),
                        |_, e| e.is_ok(),
                    );
                }),
                Box::new(|| unordered(server, &pool, 5..8, false)),
            ]);
            assert!((0..8).all(|n| server.ran(n) == 1));
        });
    }
}

#[test]
fn shuttle_workers_that_leave_amid_deaths_and_cancels() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).recycle_after(2).build() else {
            return;
        };
        let handles = submitted(&pool, (0..6).map(Deed::Double));
        handles[2].1.cancel();
        joined(server, handles, |_, end| {
            cancelled_or(end) || is_a_death(end)
        });
    });
}

#[test]
fn shuttle_a_full_queue_is_waited_for() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(1).queue_limit(1).build() else {
                return;
            };
            together(
                (0..2)
                    .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                        let pool = &pool;
                        Box::new(move || {
                            let deeds = (3 * n..3 * n + 3).map(Deed::Double);
                            joined(server, submitted(pool, deeds), |_, end| {
                                end.is_ok() || fate.deaths > 0 && is_a_death(end)
                            });
                        })
                    })
                    .chain([Box::new(|| {
                        let n = Deed::Double(7);
                        match pool.try_submit(deed, n) {
                            Ok(handle) => check(server, n, &handle.join(), 0),
                            Err(back) => assert_eq!(back, n),
                        }
                    }) as Box<dyn FnOnce() + Send + '_>])
                    .collect(),
            );
        });
    }
}

#[test]
fn shuttle_workers_that_do_not_come() {
    let fate = Fate {
        unready: 4,
        unmade: 4,
        ..DEADLY
    };
    model(fate, |server| {
        let Ok(pool) = pool(2).build() else { return };
        joined(
            server,
            submitted(&pool, (0..5).map(Deed::Double)),
            |_, end| end.is_ok() || is_a_death(end),
        );
    });
}

#[test]
fn shuttle_waits_that_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        together(
            (0..2)
                .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                    let pool = &pool;
                    Box::new(move || {
                        for (deed, mut handle) in
                            submitted(pool, [Deed::Plod(2 * n), Deed::Double(2 * n + 1)])
                        {
                            let end = loop {
                                match handle.join_timeout(Duration::from_millis(100)) {
                                    Ok(end) => break end,
                                    Err(back) => handle = back,
                                }
                            };
                            check(server, deed, &end, 0);
                            assert!(end.is_ok());
                        }
                    })
                })
                .collect(),
        );
    });
}

struct Unpark(parking::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a handle as an executor does.
fn awaited(mut handle: JoinHandle<u64>) -> Result<u64, JoinError> {
    let waker = Waker::from(Arc::new(Unpark(parking::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match Future::poll(std::pin::Pin::new(&mut handle), &mut context) {
            Poll::Ready(end) => return end,
            Poll::Pending => parking::park(),
        }
    }
}

#[test]
fn shuttle_futures_are_woken() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(2).build() else { return };
            together(vec![
                Box::new(|| {
                    for (deed, handle) in submitted(&pool, (0..3).map(Deed::Double)) {
                        check(server, deed, &awaited(handle), 0);
                    }
                }),
                Box::new(|| {
                    joined(
                        server,
                        submitted(&pool, (3..5).map(Deed::Plod)),
                        |_, end| end.is_ok() || fate.deaths > 0 && is_a_death(end),
                    );
                }),
            ]);
        });
    }
}

#[test]
fn shuttle_who_does_not_wait_is_served() {
    // Nobody waits for the first ones, and there are more than their workers are given at first.
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        for n in 0..12 {
            drop(pool.submit(deed, Deed::Double(n)));
        }
        while one_in(2) {
            pause();
        }
        drop(pool);
        assert!((0..12).all(|n| server.ran(n) == 1));
    });
}

#[test]
fn shuttle_who_never_waits_is_served() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        for n in 0..12 {
            drop(pool.submit(deed, Deed::Double(n)));
        }
        while !(0..12).all(|n| server.ran(n) == 1) {
            pause();
        }
    });
}
