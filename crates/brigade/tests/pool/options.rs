//! How a pool is to be: what it refuses, when it replaces its workers, what its processes are like.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use brigade::{JoinError, Kind, Pool, process};

use crate::{Count, both, double, exists, join, pool, processes, until, who, works};

#[test]
fn what_makes_no_sense_is_refused() {
    both(|kind| {
        let refused = [
            Pool::builder(kind).workers(0),
            Pool::builder(kind).workers(1_000_000),
            Pool::builder(kind).queue_limit(0),
            Pool::builder(kind).recycle_after(0),
            Pool::builder(kind).timeout(Duration::ZERO),
            Pool::builder(kind).name("a\0b"),
        ];
        for builder in refused {
            let told = format!("{builder:?}");
            let error = builder.build().expect_err("it makes no sense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{told}: {error}");
        }
        assert!(Pool::new(kind, 0).is_err());
        assert!(
            Pool::builder(kind)
                .build()
                .expect("as many as processors")
                .workers()
                > 0
        );
    });
}

#[test]
fn workers_are_replaced_after_so_many_tasks() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(1).recycle_after(3);
        let pool = builder.build().expect("a pool");
        let seen: Vec<String> = (0..30)
            .map(|n| join(pool.submit(who, n)).expect("returns"))
            .collect();
        let workers: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(workers.len(), 10, "{seen:?}");
        assert!(
            seen.chunks(3)
                .all(|three| three.iter().all(|one| *one == three[0]))
        );
        until("the last is replaced", || pool.stats().recycled >= 9);
        let stats = pool.stats();
        assert_eq!((stats.restarts, stats.done), (0, 30), "{stats:?}");
    });
}

#[test]
fn replacing_workers_loses_nothing() {
    both(|kind| {
        for (workers, after) in [(1, 1), (2, 1), (3, 7), (2, 1000)] {
            let builder = Pool::builder(kind).workers(workers).recycle_after(after);
            let pool = builder.build().expect("a pool");
            let mut by_worker = BTreeMap::<String, u64>::new();
            for ended in pool.map(who, 0..500) {
                *by_worker.entry(ended.expect("returns")).or_default() += 1;
            }
            assert!(
                by_worker.values().all(|&tasks| tasks <= after),
                "{by_worker:?}"
            );
            let handles: Vec<_> = (0..500).map(|n| pool.submit(double, n)).collect();
            for (n, handle) in (0..).zip(handles) {
                assert_eq!(join(handle).expect("returns"), n * 2);
            }
            assert_eq!(pool.map_unordered(double, 0..500).count(), 500);
        }
    });
}

const MIB: usize = 1 << 20;

fn leak(bytes: usize) -> u32 {
    std::hint::black_box(vec![1_u8; bytes].leak());
    std::process::id()
}

/// Runs a task a hundred times that leaves 4 MiB each time, in a pool of one worker that may have
/// 64. Gives the pool, and how many workers there were.
fn grown(task: fn(usize) -> u32) -> (Pool, usize) {
    let builder = Pool::builder(Kind::Process).workers(1);
    let pool = builder.recycle_above(64 * MIB as u64).build();
    let pool = pool.expect("a pool");
    let ended = pool.map(task, std::iter::repeat_n(4 * MIB, 100));
    let workers: BTreeSet<u32> = ended.map(|pid| pid.expect("returns")).collect();
    // 16 of them are over the bound; it is not looked at after each.
    assert!(workers.len() > 2, "{workers:?}");
    (pool, workers.len())
}

#[test]
fn a_worker_that_grows_is_replaced() {
    processes(|| {
        let (pool, workers) = grown(leak);
        until("they are replaced", || {
            pool.stats().recycled as usize >= workers - 1
        });
        assert_eq!(pool.stats().done, 100);
        works(&pool);
    });
}

/// It is looked at another way where no descriptor is left to look.
#[test]
fn also_one_that_has_no_descriptor_left() {
    fn leak_without_descriptors(bytes: usize) -> u32 {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Nofile, none).expect("lowered");
        leak(bytes)
    }
    processes(|| drop(grown(leak_without_descriptors)));
}

#[test]
fn a_bound_of_memory_does_nothing_to_threads() {
    let pool = Pool::builder(Kind::Thread).workers(1).recycle_above(1);
    let pool = pool.build().expect("a pool");
    let first = join(pool.submit(who, 0)).expect("returns");
    assert!(
        pool.map(who, 0..100)
            .all(|ended| ended.is_ok_and(|one| one == first))
    );
}

#[test]
fn a_process_is_as_its_builder_says() {
    fn look(_: u32) -> (Option<String>, bool, String, String) {
        (
            std::env::var("BRIGADE_TEST_POOL").ok(),
            std::env::var_os("PATH").is_some(),
            std::env::current_dir()
                .expect("a directory")
                .display()
                .to_string(),
            std::fs::read_to_string("/proc/self/comm").expect("a name"),
        )
    }
    processes(|| {
        let of = |builder: process::Builder| {
            let pool = Pool::builder(Kind::Process).workers(2).process(builder);
            // Replacements are as the first ones were.
            pool.recycle_after(2).build().expect("a pool")
        };
        let pool = of(process::Builder::new()
            .env("BRIGADE_TEST_POOL", "green")
            .current_dir("/")
            .name("sous-chef"));
        for ended in pool.map(look, 0..20) {
            let (variable, path, dir, name) = ended.expect("returns");
            assert_eq!(variable.as_deref(), Some("green"));
            assert!(path, "the rest is the program's");
            assert_eq!((dir.as_str(), name.as_str()), ("/", "sous-chef\n"));
        }
        let pool = of(process::Builder::new().env_clear());
        assert!(
            pool.map(look, 0..4)
                .all(|ended| ended.is_ok_and(|seen| !seen.1))
        );
        assert!(std::env::var_os("BRIGADE_TEST_POOL").is_none());
    });
}

/// However short it is, and however much else the machine has to do.
#[test]
fn a_time_for_tasks_is_none_for_the_start_of_workers() {
    both(|kind| {
        for _ in 0..5 {
            let brief = Pool::builder(kind).workers(2);
            let brief = brief.timeout(Duration::from_nanos(1)).build();
            assert_eq!(brief.expect("a pool").stats().workers, 2);
        }
    });
}

#[test]
fn workers_have_the_pools_name() {
    fn name(_: u32) -> String {
        std::fs::read_to_string("/proc/thread-self/comm").expect("a name")
    }
    both(|kind| {
        let pool = Pool::builder(kind).workers(2).name("sous-chef").build();
        let pool = pool.expect("a pool");
        for ended in pool.map(name, 0..20) {
            assert_eq!(ended.expect("returns"), "sous-chef\n");
        }
    });
}

#[test]
fn what_a_process_cannot_be_is_an_error_of_build() {
    processes(|| {
        let of = |builder| Pool::builder(Kind::Process).process(builder).build();
        let missing = of(process::Builder::new().current_dir("/no/such/directory"));
        let missing = missing.expect_err("no such directory");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(
            missing.to_string().contains("/no/such/directory"),
            "{missing}"
        );
        for builder in [
            process::Builder::new().env("A=B", "c"),
            process::Builder::new().env("A", "b\0c"),
            process::Builder::new().name("a\0b"),
        ] {
            let error = of(builder).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

/// Ends well when it is told to.
fn ends_well((begun, done): (Count, Count)) {
    static TOLD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn note(_: i32) {
        TOLD.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    // SAFETY: the handler stores a flag.
    unsafe { libc::signal(libc::SIGTERM, note as extern "C" fn(i32) as usize) };
    begun.add();
    while !TOLD.load(std::sync::atomic::Ordering::SeqCst) {
        std::hint::spin_loop();
    }
    done.add();
}

fn gracious(grace: Duration) -> brigade::PoolBuilder {
    Pool::builder(Kind::Process)
        .workers(1)
        .process(process::Builder::new().grace(grace))
}

#[test]
fn grace_lets_a_task_end_well() {
    processes(|| {
        // Cancelled.
        let pool = gracious(crate::LIMIT).build().expect("a pool");
        let (begun, done) = (Count::new(), Count::new());
        let handle = pool.submit(ends_well, (begun.clone(), done.clone()));
        begun.wait_for(1);
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert_eq!(done.get(), 1, "it had the time");
        works(&pool);
        // Over its time.
        let builder = gracious(crate::LIMIT).timeout(Duration::from_millis(300));
        let pool = builder.build().expect("a pool");
        let done = Count::new();
        let handle = pool.submit(ends_well, (Count::new(), done.clone()));
        assert!(matches!(join(handle), Err(JoinError::TimedOut(_))));
        assert_eq!(done.get(), 1, "it had the time");
        works(&pool);
        // Aborted.
        let pool = gracious(crate::LIMIT).build().expect("a pool");
        let (begun, done) = (Count::new(), Count::new());
        let handle = pool.submit(ends_well, (begun.clone(), done.clone()));
        begun.wait_for(1);
        pool.abort();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert_eq!(done.get(), 1, "it had the time");
    });
}

#[test]
fn grace_ends() {
    fn deaf(begun: Count) {
        // SAFETY: ignores a signal.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        begun.add();
        loop {
            std::hint::spin_loop();
        }
    }
    processes(|| {
        let pool = gracious(Duration::from_millis(30)).build().expect("a pool");
        let begun = Count::new();
        let handle = pool.submit(deaf, begun.clone());
        begun.wait_for(1);
        let pid = handle.pid().expect("a process");
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert!(!exists(pid));
        works(&pool);
    });
}

#[test]
fn pids_are_those_of_the_workers() {
    both(|kind| {
        let pool = pool(kind, 4);
        let pids: BTreeSet<u32> = pool.pids().into_iter().collect();
        if kind == Kind::Thread {
            assert!(pids.is_empty());
            return;
        }
        assert_eq!(pids.len(), 4);
        assert!(pids.iter().all(|&pid| exists(pid)));
        for ended in pool.map(|_: u32| std::process::id(), 0..1000) {
            assert!(pids.contains(&ended.expect("returns")));
        }
    });
}
