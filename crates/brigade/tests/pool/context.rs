//! Contexts: values that many tasks borrow.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use brigade::pool::Context;
use brigade::{Cause, JoinError, Kind, Pool, Shared};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{both, pool, processes};

#[derive(Debug, Serialize, Deserialize)]
struct Table(Vec<u64>);

fn pick(table: &Table, at: usize) -> u64 {
    table.0[at]
}

fn squares(count: u64) -> Table {
    Table((0..count).map(|n| n * n).collect())
}

#[test]
fn tasks_of_a_map_borrow_it() {
    both(|kind| {
        let pool = pool(kind, 2);
        // A few bytes, some that go through a file, and many.
        for count in [3, 1_000, 100_000] {
            let table = squares(count);
            let inputs = (0..5_000).map(|n| n % count as usize);
            let expected: Vec<_> = inputs.clone().map(|n| table.0[n]).collect();
            let results: Result<Vec<_>, _> = pool.map_with(table, pick, inputs).collect();
            assert_eq!(results.expect("all return"), expected, "{kind}, {count}");
        }
    });
}

#[test]
fn a_large_one_is_carried_once_to_each_worker() {
    const BYTES: usize = 8 << 20;
    both(|kind| {
        let pool = pool(kind, 2);
        let table = Context::new(squares(BYTES as u64 / 8));
        for _ in 0..3 {
            let results = pool.map_with(&table, pick, (0..3_000).map(|n| n * 7));
            for (n, result) in results.enumerate() {
                let n = n as u64 * 7;
                assert_eq!(result.expect("returns"), n * n);
            }
            assert_eq!(
                pool.submit_with(&table, pick, 5).join().expect("returns"),
                25
            );
            // A task of another kind in between.
            assert_eq!(
                pool.submit(|n: u64| n.count_ones(), 7)
                    .join()
                    .expect("returns"),
                3
            );
        }
        let stats = pool.stats();
        let carried = stats.context_bytes as usize;
        match kind {
            Kind::Thread => assert_eq!(carried, 0),
            Kind::Process => {
                let copies = carried.div_ceil(BYTES + 1024);
                assert!((1..=2).contains(&copies), "{carried} bytes");
                assert!(carried >= BYTES, "{carried} bytes");
            }
        }
        assert!(stats.bytes_in < 200_000, "{stats:?}");
    });
}

#[test]
fn more_than_a_worker_keeps_are_all_right() {
    both(|kind| {
        let pool = pool(kind, 1);
        let tables: Vec<_> = (0..20_u64)
            .map(|n| Context::new(Table(vec![n; 1000])))
            .collect();
        for round in 0..3 {
            let handles: Vec<_> = tables
                .iter()
                .map(|table| pool.submit_with(table, pick, round))
                .collect();
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().expect("returns"), n as u64);
            }
        }
        // Those that are used in turn stay.
        let before = pool.stats().context_bytes;
        for table in tables.iter().skip(17).cycle().take(30) {
            pool.submit_with(table, pick, 0).join().expect("returns");
        }
        assert_eq!(pool.stats().context_bytes, before);
    });
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    pages * 4096
}

#[test]
fn one_that_is_dropped_leaves_its_workers() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let memory = || {
            pool.submit(|()| resident_bytes(), ())
                .join()
                .expect("returns")
        };
        let before = memory();
        for n in 0..20 {
            let table = Table(vec![n; 2 << 20]);
            assert_eq!(
                pool.submit_with(table, pick, 77).join().expect("returns"),
                n
            );
            // The allocator keeps some of what was freed.
            let now = memory();
            assert!(now < before + (50 << 20), "{n}: {before} bytes, then {now}");
        }
    });
}

/// Dies in the one process that this is true of.
fn pick_or_die(table: &Table, (at, dies): (usize, bool)) -> u64 {
    if dies {
        std::process::abort();
    }
    table.0[at]
}

#[test]
fn the_worker_that_replaces_a_dead_one_gets_it_again() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        let table = Context::new(squares(100_000));
        let inputs = (0..2_000_usize).map(|n| (n, n % 100 == 50));
        let results: Vec<_> = pool.map_with(&table, pick_or_die, inputs).collect();
        assert_eq!(results.len(), 2_000);
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(square) => assert_eq!(square, (n * n) as u64),
                Err(JoinError::Crashed(crash)) => {
                    assert_eq!((n % 100, crash.cause()), (50, &Cause::Abort));
                    assert!(crash.task().contains("pick_or_die"), "{crash}");
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
        assert_eq!(pool.stats().restarts, 20);
    });
}

/// What decoding it does depends on how often that was tried.
#[derive(Debug)]
struct Moody(Shared<AtomicU32>);

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moody, D::Error> {
        let moods = Shared::<AtomicU32>::deserialize(deserializer)?;
        match moods.fetch_add(1, SeqCst) {
            0 => Err(serde::de::Error::custom("not today")),
            1 => panic!("not like this"),
            2 => std::process::abort(),
            _ => Ok(Moody(moods)),
        }
    }
}

#[test]
fn one_that_cannot_be_decoded_is_the_error_of_the_task_and_the_next_tries_again() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let moods = Shared::new(AtomicU32::new(0)).expect("a region");
        let context = Context::new(Moody(moods.clone()));
        let ask = || {
            pool.submit_with(&context, |m: &Moody, n: u32| m.0.load(SeqCst) + n, 10)
                .join()
        };
        match ask() {
            Err(JoinError::Undeliverable(why)) => {
                assert!(why.contains("its context could not be decoded"), "{why}");
                assert!(why.contains("not today"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        match ask() {
            Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), "not like this"),
            other => panic!("{other:?}"),
        }
        match ask() {
            Err(JoinError::Crashed(crash)) => {
                assert_eq!(*crash.cause(), Cause::Abort);
                assert_eq!(crash.phase(), brigade::Phase::Decoding);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(ask().expect("returns"), 14);
        assert_eq!(ask().expect("returns"), 14, "it is decoded once");
        // In a pool of threads nothing is decoded.
        let threads = crate::pool(Kind::Thread, 1);
        let asked = threads.submit_with(&context, |m: &Moody, n: u32| m.0.load(SeqCst) + n, 1);
        assert_eq!(asked.join().expect("returns"), 5);
    });
}

#[derive(Debug, Deserialize)]
struct Sealed(bool);

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        assert!(self.0, "not even a word");
        Err(serde::ser::Error::custom("not a word"))
    }
}

#[test]
fn one_that_cannot_be_encoded_is_the_error_of_each_task() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        for (panics, said) in [(false, "not even a word"), (true, "not a word")] {
            let results: Vec<_> = pool
                .map_with(
                    Sealed(panics),
                    |s: &Sealed, n: u32| n + u32::from(s.0),
                    0..3,
                )
                .collect();
            assert_eq!(results.len(), 3);
            for result in results {
                match result {
                    Err(JoinError::Undeliverable(why)) => {
                        assert!(why.contains("its context could not be encoded"), "{why}");
                        assert!(why.contains(said), "{why}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(pool.submit(|n: u32| n, 1).join().expect("returns"), 1);
    });
}

#[test]
fn tasks_that_are_taken_back_find_it_elsewhere() {
    // Short tasks behind a long one are taken back from its worker: with contexts of their own.
    both(|kind| {
        let pool = pool(kind, 2);
        let tables: Vec<_> = (0..4_u64)
            .map(|n| Context::new(Table(vec![n; 5_000])))
            .collect();
        for round in 0..30 {
            let handles: Vec<_> = (0..60)
                .map(|n| {
                    let table = &tables[(n + round) % 4];
                    let is_long = n % 20 == 0;
                    let task = |table: &Table, (at, is_long): (usize, bool)| {
                        if is_long {
                            // Some milliseconds.
                            (0..300_000_u64).for_each(|n| _ = std::hint::black_box(n));
                        }
                        table.0[at]
                    };
                    pool.submit_with(table, task, (n, is_long))
                })
                .collect();
            for (n, handle) in handles.into_iter().enumerate() {
                let result = handle.join().expect("returns");
                assert_eq!(result, ((n + round) % 4) as u64);
            }
        }
    });
}

#[test]
fn a_task_that_is_retried_or_runs_over_its_time_finds_it_again() {
    processes(|| {
        let pool = Pool::builder(Kind::Process).workers(1).retries(2);
        let pool = pool
            .timeout(Duration::from_millis(300))
            .build()
            .expect("a pool");
        let runs = Shared::new(AtomicU32::new(0)).expect("a region");
        let task = |table: &Table, runs: Shared<AtomicU32>| {
            match runs.fetch_add(1, SeqCst) {
                0 => std::process::abort(),
                1 => loop {
                    std::thread::park();
                },
                _ => {}
            }
            table.0[9]
        };
        let result = pool.submit_with(squares(50_000), task, runs.clone()).join();
        assert_eq!(result.expect("returns"), 81);
        assert_eq!(runs.load(SeqCst), 3);
    });
}

#[test]
fn a_panic_names_the_function_that_was_given() {
    fn faulty(table: &Table, at: usize) -> u64 {
        table.0[at]
    }
    both(|kind| {
        let pool = pool(kind, 1);
        match pool.submit_with(Table(vec![1, 2]), faulty, 2).join() {
            Err(JoinError::Panicked(panic)) => {
                assert!(panic.to_string().contains("faulty"), "{panic}");
                assert!(panic.message().contains("index out of bounds"), "{panic}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn ends_of_channels_in_it_live_as_long_as_it_does() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (sender, receiver) = brigade::channel::socket::<u32>(64).expect("a channel");
        let context = Context::new(sender);
        let send = |sender: &brigade::channel::Sender<u32>, n: u32| sender.send(n).is_ok();
        let sent = pool
            .map_with(&context, send, 0..50)
            .filter(|r| matches!(r, Ok(true)));
        assert_eq!(sent.count(), 50);
        let mut received: Vec<_> = (0..50).map(|_| receiver.recv().expect("sent")).collect();
        received.sort_unstable();
        assert_eq!(received, (0..50).collect::<Vec<_>>());
        drop(context);
        pool.shutdown();
        assert!(receiver.recv().is_err(), "the last sender is gone");
    });
}
