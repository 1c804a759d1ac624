//! Pools that are limited as wholes.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use brigade::process::{Builder, Limit, limited_by};
use brigade::{Cause, Kind, Pool, PoolBuilder, Shared};
use libtest_mimic::Trial;

use crate::groups::{names, place};
use crate::{LIMIT, MIB, cause, take};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_pool_over_its_memory_loses_a_worker_and_goes_on,
        workers_have_the_memory_together,
        a_workers_own_limit_holds_within_the_pools,
        workers_have_the_processes_together,
        the_group_of_a_pool_ends_with_it,
        what_cannot_be_had_is_refused,
    ]
}

fn limited(limit: Limit, workers: usize) -> Option<PoolBuilder> {
    let has = limited_by(limit).is_enforced();
    has.then(|| Pool::builder(Kind::Process).workers(workers))
}

fn a_pool_over_its_memory_loses_a_worker_and_goes_on() {
    let Some(builder) = limited(Limit::Memory, 2) else {
        return;
    };
    let pool = builder.memory_limit(128 * MIB).build().expect("a pool");
    for _ in 0..3 {
        assert_eq!(cause(pool.submit(take, 500).join()), Cause::OutOfMemory);
        assert_eq!(pool.submit(take, 20).join().expect("enough"), 20);
    }
    assert_eq!(pool.stats().restarts, 3);
}

/// Takes so many MiB, says so, and has them until it is told to end.
fn hold((mib, held, may_end): (usize, Shared<AtomicU32>, Shared<AtomicU32>)) -> usize {
    let taken: Vec<_> = (0..mib).map(|_| vec![1_u8; MIB as usize]).collect();
    held.fetch_add(1, Ordering::SeqCst);
    while may_end.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    taken.len()
}

fn workers_have_the_memory_together() {
    let Some(builder) = limited(Limit::Memory, 2) else {
        return;
    };
    let pool = builder.memory_limit(128 * MIB).build().expect("a pool");
    let [held, may_end] = [(); 2].map(|()| Shared::new(AtomicU32::new(0)).expect("a region"));
    // Each by itself has room; the second has not beside the first.
    let first = pool.submit(hold, (80, held.clone(), may_end.clone()));
    let begun = Instant::now();
    while held.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < LIMIT, "it does not run");
        std::thread::yield_now();
    }
    let second = pool.submit(hold, (80, held, may_end.clone()));
    while !first.is_finished() && !second.is_finished() {
        assert!(begun.elapsed() < LIMIT, "both have it");
        std::thread::yield_now();
    }
    may_end.store(1, Ordering::SeqCst);
    let ends = [first.join(), second.join()];
    let (fine, killed): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert_eq!(fine.len(), 1, "{killed:?}");
    for end in killed {
        assert_eq!(cause(end), Cause::OutOfMemory);
    }
    assert_eq!(pool.submit(take, 80).join().expect("enough again"), 80);
}

fn a_workers_own_limit_holds_within_the_pools() {
    let Some(builder) = limited(Limit::Memory, 1) else {
        return;
    };
    let pool = builder
        .memory_limit(512 * MIB)
        .process(Builder::new().memory_limit(64 * MIB).processes_limit(16))
        .build()
        .expect("a pool");
    assert_eq!(cause(pool.submit(take, 200).join()), Cause::OutOfMemory);
    assert_eq!(pool.submit(take, 20).join().expect("enough"), 20);
}

/// Starts so many threads, says so, and has them until it is told to end.
fn start((count, held, may_end): (usize, Shared<AtomicU32>, Shared<AtomicU32>)) -> Option<i32> {
    let mut threads = Vec::new();
    let mut ends = Vec::new();
    let mut failed = None;
    for _ in 0..count {
        let (end, ended) = mpsc::channel::<()>();
        match std::thread::Builder::new().spawn(move || ended.recv()) {
            Ok(thread) => threads.push(thread),
            Err(e) => failed = e.raw_os_error(),
        }
        ends.push(end);
    }
    held.fetch_add(1, Ordering::SeqCst);
    while may_end.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    drop(ends);
    for thread in threads {
        let _ = thread.join();
    }
    failed
}

fn workers_have_the_processes_together() {
    let Some(builder) = limited(Limit::Processes, 2) else {
        return;
    };
    let pool = builder.processes_limit(24).build().expect("a pool");
    let [held, first_ends, now] =
        [0, 0, 1].map(|value| Shared::new(AtomicU32::new(value)).expect("a region"));
    let first = pool.submit(start, (15, held.clone(), first_ends.clone()));
    let begun = Instant::now();
    while held.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < LIMIT, "it does not run");
        std::thread::yield_now();
    }
    let second = pool.submit(start, (15, held.clone(), now.clone()));
    assert_eq!(second.join().expect("an error"), Some(libc::EAGAIN));
    first_ends.store(1, Ordering::SeqCst);
    assert_eq!(first.join().expect("all of them"), None);
    let third = pool.submit(start, (15, held, now));
    assert_eq!(third.join().expect("all of them"), None);
}

fn the_group_of_a_pool_ends_with_it() {
    let (Some(builder), Some(place)) = (limited(Limit::Memory, 3), place()) else {
        return;
    };
    let before = names(&place);
    let pool = builder.memory_limit(256 * MIB).build().expect("a pool");
    let is_of_a_pool = |name: &String| name.starts_with("pool-");
    // Another test may have one too: ours is that in which our workers are.
    let pids: Vec<String> = pool.pids().iter().map(u32::to_string).collect();
    let all = names(&place);
    let of_pools = all.iter().filter(|name| is_of_a_pool(name));
    let ours = of_pools.map(|name| place.join(name)).find(|group| {
        let workers = names(group);
        pids.iter().all(|pid| workers.contains(pid))
    });
    let ours = ours.unwrap_or_else(|| panic!("{all:?}, {before:?} before, for {pids:?}"));
    assert_eq!(pool.submit(take, 1).join().expect("enough"), 1);
    drop(pool);
    let begun = Instant::now();
    while ours.exists() {
        assert!(begun.elapsed() < LIMIT, "{} is left", ours.display());
        std::thread::yield_now();
    }
}

fn what_cannot_be_had_is_refused() {
    let refused = |builder: PoolBuilder| builder.build().map(drop).expect_err("refused");
    let processes = || Pool::builder(Kind::Process).workers(1);
    for nothing in [processes().memory_limit(0), processes().processes_limit(0)] {
        assert_eq!(refused(nothing).kind(), ErrorKind::InvalidInput);
    }
    let threads = || Pool::builder(Kind::Thread).workers(1);
    for shared in [threads().memory_limit(MIB), threads().processes_limit(9)] {
        let why = refused(shared);
        assert_eq!(why.kind(), ErrorKind::Unsupported);
        assert!(why.to_string().contains("threads"), "{why}");
    }
    for (limit, builder) in [
        (Limit::Memory, processes().memory_limit(64 * MIB)),
        (Limit::Processes, processes().processes_limit(9)),
    ] {
        if !limited_by(limit).is_enforced() {
            let why = refused(builder);
            assert_eq!(why.kind(), ErrorKind::Unsupported);
            assert!(why.to_string().contains("control group"), "{why}");
        }
    }
}
