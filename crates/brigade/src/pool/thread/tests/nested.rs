use std::sync::{Arc, OnceLock, RwLock};

use super::*;
use crate::pool::Backend;

/// Pools that tasks can reach.
static POOLS: RwLock<Vec<Arc<Pool>>> = RwLock::new(Vec::new());

fn reachable(pool: Pool) -> (usize, Arc<Pool>) {
    let pool = Arc::new(pool);
    let mut pools = POOLS.write().unwrap();
    pools.push(Arc::clone(&pool));
    (pools.len() - 1, pool)
}

fn pool_at(at: usize) -> Arc<Pool> {
    Arc::clone(&POOLS.read().unwrap()[at])
}

fn deeper((at, depth): (usize, u64)) -> u64 {
    match depth {
        0 => 0,
        _ => 1 + pool_at(at).submit(deeper, (at, depth - 1)).join().unwrap(),
    }
}

#[test]
fn a_task_may_wait_for_a_task_of_its_own_pool() {
    for workers in [1, 2] {
        let (at, pool) = reachable(threads(workers));
        for depth in [1, 2, 50, 3] {
            assert_eq!(ended(pool.submit(deeper, (at, depth))).unwrap(), depth);
        }
        until("the surplus to end", || own_threads_of(&pool) <= workers);
    }
}

fn own_threads_of(pool: &Pool) -> usize {
    match &pool.backend {
        Backend::Thread(threads) => threads.live_workers().len(),
        Backend::Process(_) => 0,
    }
}

fn fibonacci((at, n): (usize, u64)) -> u64 {
    if n < 2 {
        return n;
    }
    let pool = pool_at(at);
    let one = pool.submit(fibonacci, (at, n - 1));
    let two = fibonacci((at, n - 2));
    one.join().unwrap() + two
}

#[test]
fn many_tasks_wait_for_tasks() {
    for workers in [1, 2, 4] {
        let (at, pool) = reachable(threads(workers));
        assert_eq!(ended(pool.submit(fibonacci, (at, 12))).unwrap(), 144);
        assert!(consistent(&pool.stats()));
    }
}

#[test]
fn a_task_may_map_over_its_own_pool() {
    fn sum((at, n): (usize, u64)) -> u64 {
        let inner = |n| n * 2;
        pool_at(at).map(inner, 0..n).map(Result::unwrap).sum()
    }
    let (at, pool) = reachable(threads(1));
    let sums: Vec<u64> = pool
        .map(sum, (0..30).map(|n| (at, n)))
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        sums,
        (0..30)
            .map(|n: u64| n * n.saturating_sub(1))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_task_may_wait_for_room_in_its_own_pool() {
    fn fill((at, n): (usize, u64)) -> u64 {
        let pool = pool_at(at);
        let handles: Vec<_> = (0..n).map(|n| pool.submit(double, n)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .sum()
    }
    let (at, pool) = reachable(builder(1).queue_limit(1).build().unwrap());
    let handles: Vec<_> = (0..10).map(|_| pool.submit(fill, (at, 20))).collect();
    for handle in handles {
        assert_eq!(ended(handle).unwrap(), 380);
    }
}

#[test]
fn no_task_runs_on_the_stack_of_one_that_waits() {
    // It holds a lock that the other needs as soon as it may run at the same time.
    static LOCK: Mutex<()> = Mutex::new(());
    fn outer(at: usize) -> bool {
        let _held = LOCK.lock().unwrap();
        let inner = pool_at(at).submit(|()| LOCK.try_lock().is_err(), ());
        inner.join().unwrap()
    }
    let (at, pool) = reachable(threads(1));
    for _ in 0..OFTEN {
        assert!(ended(pool.submit(outer, at)).unwrap());
    }
}

#[test]
fn one_that_waits_may_be_let_go() {
    fn waits((at, door): (usize, u64)) -> u64 {
        pool_at(at).submit(pass, door).join().unwrap()
    }
    let (at, pool) = reachable(threads(1));
    for n in 0..50 {
        let door = DOORS.make();
        let handle = pool.submit(waits, (at, door));
        until("both at work", || pool.stats().running == 2);
        handle.cancel();
        assert!(ended(handle).is_err());
        DOORS.open(door);
        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
    }
    until("all at rest", || pool.stats().running == 0);
    assert!(own_threads_of(&pool) >= 1);
}

#[test]
fn the_last_owner_may_be_a_task() {
    for workers in [1, 2] {
        for _ in 0..20 {
            static LAST: Mutex<Option<Arc<Pool>>> = Mutex::new(None);
            static OTHERS: AtomicU64 = AtomicU64::new(0);
            static ONE: OnceLock<()> = OnceLock::new();
            ONE.get_or_init(|| ());
            OTHERS.store(0, Ordering::SeqCst);
            let pool = Arc::new(threads(workers));
            let door = DOORS.make();
            let last = pool.submit(
                |door| {
                    pass(door);
                    let pool = LAST.lock().unwrap().take();
                    drop(pool);
                },
                door,
            );
            let others: Vec<_> = (0..10)
                .map(|_| pool.submit(|()| OTHERS.fetch_add(1, Ordering::SeqCst), ()))
                .collect();
            *LAST.lock().unwrap() = Some(pool);
            DOORS.open(door);
            ended(last).unwrap();
            assert_eq!(OTHERS.load(Ordering::SeqCst), 10);
            others
                .into_iter()
                .for_each(|other| assert!(ended(other).is_ok()));
        }
    }
}
