//! Tasks of one key go to one worker, in order, as long as it lives.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use brigade::pool::WorkerLost;
use brigade::{Cause, JoinError, JoinHandle, Kind, Pool};
use brigade_test_support::doorbell::Doorbell;

use crate::count::Count;
use crate::{
    both, crash_of, double, for_ever, join, kill, pool, processes, rings_for_ever, wait_at, who,
    works,
};

thread_local! {
    static STEPS: RefCell<HashMap<u32, u32>> = RefCell::default();
}

/// How many tasks of its key have run in this worker before, and which one that is.
fn step(key: u32) -> (u32, String) {
    let before = STEPS.with_borrow_mut(|steps| {
        let of_key = steps.entry(key).or_default();
        *of_key += 1;
        *of_key - 1
    });
    (before, who(0))
}

fn step_of(pool: &Pool, key: u32) -> JoinHandle<(u32, String)> {
    let handle = pool.worker_for(key).submit(step, key);
    handle.expect("its worker lives")
}

/// Has the worker of a key run a task that never ends. When this returns, it does.
fn occupy_for_ever(pool: &Pool, key: u32) -> JoinHandle<u32> {
    let worker = pool.worker_for(key);
    match pool.kind() {
        Kind::Thread => {
            let begun = Count::new();
            let handle = worker.submit(for_ever, begun.clone());
            let handle = handle.expect("its worker lives");
            begun.wait_for(1);
            handle
        }
        Kind::Process => {
            let bell = Doorbell::new().expect("a bell");
            let handle = worker.submit(rings_for_ever, bell.name());
            let handle = handle.expect("its worker lives");
            bell.await_ring().expect("it runs");
            handle
        }
    }
}

/// Has all workers wait at a gate. When this returns, they do.
fn occupy_all(pool: &Pool) -> (Vec<JoinHandle<u32>>, Count) {
    let (begun, gate) = (Count::new(), Count::new());
    let handles = (0..pool.workers())
        .map(|_| pool.submit(wait_at, (begun.clone(), gate.clone())))
        .collect();
    begun.wait_for(pool.workers() as u32);
    (handles, gate)
}

#[test]
fn tasks_of_a_key_run_in_one_worker_in_order() {
    both(|kind| {
        let pool = pool(kind, 3);
        let mut handles = Vec::new();
        let mut others = Vec::new();
        for n in 0..50 {
            for key in 0..20 {
                handles.push((n, key, step_of(&pool, key)));
            }
            // Tasks that any worker may run, between them.
            others.extend((0..5).map(|n| pool.submit(double, n)));
        }
        let mapped = pool.map(double, 0..500).map(|it| it.expect("returns"));
        assert!(mapped.eq((0..500).map(|n| n * 2)));
        let mut workers = HashMap::new();
        for (n, key, handle) in handles {
            let (before, worker) = join(handle).expect("returns");
            assert_eq!(before, n, "of key {key}");
            let of_key = workers.entry(key).or_insert_with(|| worker.clone());
            assert_eq!(*of_key, worker, "of key {key}");
        }
        for handle in others {
            join(handle).expect("returns");
        }
        // Each worker has its share of the keys.
        let mut shares = HashMap::new();
        for worker in workers.values() {
            *shares.entry(worker).or_insert(0) += 1;
        }
        assert_eq!(shares.len(), 3, "{shares:?}");
        assert!(shares.values().all(|&keys| keys >= 6), "{shares:?}");
        works(&pool);
    });
}

#[test]
fn keys_are_equal_by_value() {
    both(|kind| {
        let pool = pool(kind, 2);
        let first = pool.worker_for("ann").submit(step, 0).expect("taken");
        let second = pool.worker_for(String::from("ann")).submit(step, 0);
        let second = second.expect("its worker lives");
        let (first, second) = (join(first), join(second));
        let (first, second) = (first.expect("returns"), second.expect("returns"));
        assert_eq!((first.0, second.0), (0, 1));
        assert_eq!(first.1, second.1);
    });
}

/// That the next call for a key says that its worker is gone, once, and gives the input back.
fn is_told_once(pool: &Pool, key: u32) {
    let lost: WorkerLost<u32> = pool.worker_for(key).submit(step, key).expect_err("lost");
    assert!(lost.to_string().contains("gone"), "{lost}");
    assert!(lost.source().is_none());
    assert_eq!(*lost.input(), key);
    assert_eq!(lost.into_input(), key);
    let (before, _) = join(step_of(pool, key)).expect("returns");
    assert_eq!(before, 0, "another worker");
}

#[test]
fn a_worker_that_dies_is_told_by_the_next_call_and_what_waits_runs_elsewhere() {
    processes(|| {
        for workers in [1, 3] {
            let pool = pool(Kind::Process, workers);
            assert_eq!(join(step_of(&pool, 1)).expect("returns").0, 0);
            let endless = occupy_for_ever(&pool, 1);
            let waiting: Vec<_> = (0..10).map(|_| step_of(&pool, 1)).collect();
            kill(endless.pid().expect("it runs"));
            let crash = crash_of(join(endless));
            assert_eq!(*crash.cause(), Cause::Killed(libc::SIGKILL));
            for (n, handle) in (0..).zip(waiting) {
                let (before, worker) = join(handle).expect("it had not begun");
                assert_eq!(before, n, "in their order");
                assert!(!worker.starts_with(&format!("{} ", crash.pid())));
            }
            let lost = pool.worker_for(1).submit(step, 1);
            assert_eq!(lost.expect_err("lost").into_input(), 1);
            join(step_of(&pool, 1)).expect("returns");
            // One of another key has lost nothing.
            join(step_of(&pool, 2)).expect("returns");
            works(&pool);
        }
    });
}

#[test]
fn a_worker_that_was_idle_when_it_died_is_told() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for _ in 0..5 {
            let (_, worker) = join(step_of(&pool, 7)).expect("returns");
            let pid = worker.split(' ').next().expect("a pid").parse();
            let pid = pid.expect("a number");
            kill(pid);
            while pool.pids().contains(&pid) {
                std::thread::yield_now();
            }
            is_told_once(&pool, 7);
        }
        works(&pool);
    });
}

#[test]
fn a_worker_whose_task_ran_over_its_time_is_told() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(2);
        let pool = builder.timeout(Duration::from_secs(2)).build();
        let pool = pool.expect("a pool");
        assert_eq!(join(step_of(&pool, 1)).expect("returns").0, 0);
        let endless = occupy_for_ever(&pool, 1);
        let waiting: Vec<_> = (0..5).map(|_| step_of(&pool, 1)).collect();
        let ended = join(endless);
        assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
        for (n, handle) in (0..).zip(waiting) {
            assert_eq!(join(handle).expect("it had not begun").0, n);
        }
        let lost = pool.worker_for(1).submit(step, 1);
        assert_eq!(lost.expect_err("lost").into_input(), 1);
        join(step_of(&pool, 1)).expect("returns");
        works(&pool);
    });
}

#[test]
fn a_worker_whose_task_was_cancelled_is_told() {
    both(|kind| {
        let pool = pool(kind, 2);
        let endless = occupy_for_ever(&pool, 1);
        // One that waits is only taken out.
        let unbegun = step_of(&pool, 1);
        unbegun.cancel();
        let ended = join(unbegun);
        assert!(matches!(ended, Err(JoinError::Cancelled)), "{ended:?}");
        let next = step_of(&pool, 1);
        endless.cancel();
        let ended = join(endless);
        assert!(matches!(ended, Err(JoinError::Cancelled)), "{ended:?}");
        assert_eq!(join(next).expect("it had not begun").0, 0);
        let lost = pool.worker_for(1).submit(step, 1);
        assert_eq!(lost.expect_err("lost").into_input(), 1);
        works(&pool);
    });
}

#[test]
fn a_worker_that_was_recycled_is_told() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(2).recycle_after(3).build();
        let pool = pool.expect("a pool");
        let mut told = 0;
        let mut tasks = 0;
        while told < 20 {
            // A worker may leave a moment after its last task has ended.
            match pool.worker_for(1).submit(step, 1) {
                Ok(handle) => {
                    let (before, _) = join(handle).expect("returns");
                    assert!(before < 3, "no worker has more");
                    tasks += 1;
                }
                Err(lost) => {
                    assert_eq!(lost.into_input(), 1);
                    told += 1;
                }
            }
        }
        assert!(tasks >= 20, "{tasks}");
    });
}

#[test]
fn a_panic_is_no_loss_but_of_a_state_that_it_could_change() {
    both(|kind| {
        fn add(sum: &mut u32, n: u32) -> u32 {
            assert!(n != 13, "not thirteen");
            *sum += n;
            *sum
        }
        let pool = Pool::builder(kind).workers(2).state(|from: u32| from, 100);
        let pool = pool.build().expect("a pool");
        let sum = |n: u32| pool.worker_for("a").submit_mut(add, n).map(join);
        assert_eq!(sum(5).expect("taken").expect("returns"), 105);
        assert_eq!(sum(6).expect("its worker lives").expect("returns"), 111);
        let look = |sum: &u32, ()| {
            assert!(*sum != 111, "no luck");
            *sum
        };
        let ended = pool.worker_for("a").submit(look, ()).map(join);
        let ended = ended.expect("its worker lives");
        assert_eq!(crate::panic_of(ended).message(), "no luck");
        assert_eq!(sum(1).expect("its worker lives").expect("returns"), 112);
        let look = pool.worker_for("a").submit(look, ()).map(join);
        assert_eq!(look.expect("its worker lives").expect("returns"), 112);
        crate::panic_of(sum(13).expect("its worker lives"));
        // The worker leaves a moment after that: what it is given until then runs elsewhere.
        let mut elsewhere = 0;
        let lost = loop {
            match sum(elsewhere) {
                Ok(_) => elsewhere += 1,
                Err(lost) => break lost,
            }
        };
        assert_eq!(lost.into_input(), elsewhere);
        assert!(sum(1).expect("chosen anew").is_ok());
    });
}

#[test]
fn workers_that_leave_are_told_and_no_task_is_lost() {
    both(|kind| {
        let pool = pool(kind, 4);
        // All are busy, and each has tasks of its keys to come.
        let (busy, gate) = occupy_all(&pool);
        let waiting: Vec<_> = (0..40).map(|key| step_of(&pool, key)).collect();
        pool.resize(1).expect("resized");
        gate.add();
        for handle in busy {
            join(handle).expect("returns");
        }
        for handle in waiting {
            join(handle).expect("it had not begun");
        }
        // In the end one worker has all keys.
        let mut workers = BTreeSet::new();
        while workers.len() != 1 {
            workers.clear();
            for key in 0..40 {
                let handle = loop {
                    if let Ok(handle) = pool.worker_for(key).submit(step, key) {
                        break handle;
                    }
                };
                workers.insert(join(handle).expect("returns").1);
            }
        }
        pool.resize(3).expect("resized");
        for key in 0..40 {
            join(step_of(&pool, key)).expect("its worker lives");
        }
        works(&pool);
    });
}

#[test]
fn what_waits_ends_with_the_pool() {
    both(|kind| {
        for aborts in [false, true] {
            let pool = pool(kind, 2);
            let (busy, gate) = occupy_all(&pool);
            let waiting: Vec<_> = (0..20).map(|n| step_of(&pool, n % 2)).collect();
            assert_eq!(pool.stats().queued, 20);
            if aborts {
                pool.abort();
            } else {
                pool.close();
                let closed = pool.worker_for(0).submit(step, 0).expect("a handle");
                assert!(matches!(join(closed), Err(JoinError::Closed)));
                gate.add();
                pool.shutdown();
            }
            for handle in busy.into_iter().map(join) {
                assert_eq!(handle.is_ok(), !aborts, "{handle:?}");
            }
            for handle in waiting {
                assert!(handle.is_finished());
                match join(handle) {
                    Ok(_) => assert!(!aborts),
                    Err(JoinError::Cancelled) => assert!(aborts),
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn the_pool_is_not_idle_while_one_waits() {
    both(|kind| {
        let pool = pool(kind, 2);
        for _ in 0..50 {
            let handles: Vec<_> = (0..10).map(|n| step_of(&pool, n % 3)).collect();
            pool.wait_idle();
            assert!(handles.iter().all(JoinHandle::is_finished));
        }
    });
}

#[test]
fn they_take_room_in_the_queue() {
    both(|kind| {
        let pool = Pool::builder(kind).workers(1).queue_limit(3).build();
        let pool = pool.expect("a pool");
        let (busy, gate) = occupy_all(&pool);
        let waiting: Vec<_> = (0..3).map(|_| step_of(&pool, 0)).collect();
        assert_eq!(pool.try_submit(double, 4).expect_err("full"), 4);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| join(step_of(&pool, 0)).expect("returns").0);
            gate.add();
            assert_eq!(waits.join().expect("returns"), 3);
        });
        for handle in busy {
            join(handle).expect("returns");
        }
        for (n, handle) in (0..).zip(waiting) {
            assert_eq!(join(handle).expect("returns").0, n);
        }
    });
}

#[test]
fn a_thread_that_waits_within_its_task_keeps_its_keys() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    fn nests(key: u32) -> (u32, String) {
        let pool = POOL.get().expect("there");
        let doubled = pool.map(double, 0..20).map(|it| it.expect("returns"));
        assert_eq!(doubled.sum::<u32>(), 380);
        assert_eq!(join(pool.submit(double, key)).expect("returns"), key * 2);
        step(key)
    }
    if std::env::var("BRIGADE_TEST_KIND").is_ok_and(|only| only != "thread") {
        return; // A worker process has no handle of its pool.
    }
    brigade::init();
    let pool = POOL.get_or_init(|| pool(Kind::Thread, 2));
    let mut workers = HashMap::new();
    for n in 0..100 {
        let nesting: Vec<_> = (0..6)
            .map(|key| pool.worker_for(key).submit(nests, key))
            .collect();
        for (key, handle) in nesting.into_iter().enumerate() {
            let handle = handle.expect("its worker lives");
            let (before, worker) = join(handle).expect("returns");
            assert_eq!(before, n);
            let of_key = workers.entry(key).or_insert_with(|| worker.clone());
            assert_eq!(*of_key, worker);
        }
    }
    pool.shutdown();
}

#[test]
fn each_task_ends_while_workers_are_killed() {
    processes(|| {
        let pool = pool(Kind::Process, 3);
        let (done, crashed, lost) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let submitters: Vec<_> = (0..3_u32)
                .map(|submitter| {
                    let (pool, done, crashed, lost) = (&pool, &done, &crashed, &lost);
                    scope.spawn(move || {
                        for round in 0..60 {
                            let mut handles = Vec::new();
                            for n in 0..30 {
                                let key = submitter * 100 + n % 5;
                                match pool.worker_for(key).submit(step, key) {
                                    Ok(handle) => handles.push((key, handle)),
                                    Err(_) => {
                                        lost.fetch_add(1, SeqCst);
                                    }
                                }
                            }
                            let mut last = HashMap::new();
                            for (key, handle) in handles {
                                match join(handle) {
                                    Ok((before, worker)) => {
                                        // Later ones come later, as long as the worker lives.
                                        let next = last.insert((key, worker), before);
                                        assert!(next.is_none_or(|next| before > next), "{round}");
                                        done.fetch_add(1, SeqCst)
                                    }
                                    Err(JoinError::Crashed(_)) => crashed.fetch_add(1, SeqCst),
                                    Err(other) => panic!("{other:?}"),
                                };
                            }
                        }
                    })
                })
                .collect();
            let (pool, ends, done) = (&pool, &ends, &done);
            let killer = scope.spawn(move || {
                let mut killed = 0;
                while !ends.load(SeqCst) && killed < 40 {
                    // When something was done again.
                    let before = done.load(SeqCst);
                    while done.load(SeqCst) < before + 20 && !ends.load(SeqCst) {
                        std::thread::yield_now();
                    }
                    let pids = pool.pids();
                    if let Some(&pid) = pids.get(killed % pids.len().max(1)) {
                        kill(pid);
                        killed += 1;
                    }
                }
                killed
            });
            for submitter in submitters {
                submitter.join().expect("nothing is wrong");
            }
            ends.store(true, SeqCst);
            assert!(killer.join().expect("returns") > 0);
        });
        let told = lost.load(SeqCst);
        assert_eq!(done.load(SeqCst) + crashed.load(SeqCst) + told, 3 * 60 * 30);
        assert!(told > 0, "some keys have lost their worker");
        works(&pool);
    });
}
