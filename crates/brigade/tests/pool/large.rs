//! Values that travel in memory files, which are used again: none arrives changed, whatever becomes
//! of the workers that have others.

use std::time::Duration;

use brigade::{JoinError, Kind, Pool, process};
use brigade_test_support::procfs;
use serde::{Deserialize, Serialize};

use crate::{Count, JoinHandle, both, exists, for_ever, join, kill, pool, processes, until, works};

/// From so many bytes on a vector goes into its file without a message.
const LARGE: usize = 256 << 10;

/// No two of them have a number in common at the same place.
fn numbers((seed, count): (u64, usize)) -> Vec<u64> {
    (0..count as u64).map(|n| seed << 40 | n).collect()
}

fn are_numbers(found: &[u64], seed: u64, count: usize) -> bool {
    found.len() == count && (0..).zip(found).all(|(n, &found)| found == seed << 40 | n)
}

/// The seed of an input, which has to be whole, and as many numbers of the next seed.
fn next(input: Vec<u64>) -> Vec<u64> {
    let seed = input[0] >> 40;
    assert!(are_numbers(&input, seed, input.len()), "an input changed");
    numbers((seed + 1, input.len()))
}

/// Of which sizes each kind is: below the limit, at it, of less than a huge page, of some.
fn count(n: usize) -> usize {
    [LARGE / 8 - 1, LARGE / 8, 50_000, 262_144, 300_000, 600_001][n % 6]
}

fn are_next(results: impl Iterator<Item = Result<Vec<u64>, JoinError>>) -> usize {
    let mut came = 0;
    for (n, result) in results.enumerate() {
        let result = result.expect("a value");
        assert!(are_numbers(&result, n as u64 + 1, count(n)), "result {n}");
        came += 1;
    }
    came
}

#[test]
fn every_size_about_the_limits_of_files_and_of_pages() {
    fn back(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    both(|kind| {
        let pool = pool(kind, 2);
        let around = |len: usize| [len - 20, len - 1, len, len + 1, len + 7];
        let sizes = [LARGE, 2 << 20, 4 << 20].into_iter().flat_map(around);
        let value = |len: usize| -> Vec<u8> { (0..len).map(|n| (n ^ (n >> 8)) as u8).collect() };
        let values: Vec<_> = sizes.map(value).collect();
        for (sent, came) in values.iter().zip(pool.map(back, values.clone())) {
            let came = came.expect("a value");
            assert!(came == *sent, "of {} bytes", sent.len());
        }
    });
}

#[test]
fn many_one_after_another_and_at_once() {
    both(|kind| {
        let pool = pool(kind, 3);
        let inputs = (0..90).map(|n| numbers((n as u64, count(n))));
        assert_eq!(are_next(pool.map(next, inputs)), 90);
        let handles: Vec<_> = (0..60)
            .map(|n| pool.submit(next, numbers((n as u64, count(n)))))
            .collect();
        assert_eq!(are_next(handles.into_iter().map(JoinHandle::join)), 60);
    });
}

#[test]
fn results_that_wait_stay_as_they_are_while_others_come() {
    both(|kind| {
        let pool = pool(kind, 2);
        let waiting: Vec<_> = (0..30)
            .map(|n| pool.submit(next, numbers((n as u64, count(n)))))
            .collect();
        for _ in 0..2 {
            let inputs = (0..30).map(|n| numbers((n as u64, count(n))));
            assert_eq!(are_next(pool.map(next, inputs)), 30);
        }
        assert_eq!(are_next(waiting.into_iter().map(JoinHandle::join)), 30);
    });
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Several {
    bytes: Vec<u8>,
    text: String,
    rows: Vec<Vec<f64>>,
    inner: Option<Box<Several>>,
}

#[test]
fn several_in_one_value_and_within_others() {
    fn back(several: Several) -> Several {
        several
    }
    both(|kind| {
        let pool = pool(kind, 2);
        let inner = Several {
            bytes: vec![1; LARGE + 1],
            text: "ü".repeat(LARGE),
            rows: vec![vec![0.5; LARGE], Vec::new(), vec![1.5; 3]],
            inner: None,
        };
        let several = Several {
            bytes: (0..3 * LARGE).map(|n| n as u8).collect(),
            text: "x".repeat(3),
            rows: vec![vec![f64::MIN; 40_000]; 3],
            inner: Some(Box::new(inner)),
        };
        let inputs = std::iter::repeat_n(several.clone(), 12);
        for came in pool.map(back, inputs) {
            assert!(came.is_ok_and(|came| came == several));
        }
    });
}

#[test]
fn workers_that_are_killed_change_no_value_and_tasks_are_run_again() {
    processes(|| {
        let pool = Pool::builder(Kind::Process)
            .workers(3)
            .retries(1000)
            .build()
            .expect("a pool");
        let inputs = (0..120).map(|n| numbers((n as u64, count(n))));
        let results = pool.map(next, inputs).enumerate().map(|(n, result)| {
            // One that has others ahead of it, is in the middle of one, or has just told one.
            if n % 3 == 0 {
                let pids = pool.pids();
                if let Some(&pid) = pids.get(n / 3 % pids.len().max(1)) {
                    kill(pid);
                }
            }
            result
        });
        assert_eq!(are_next(results), 120);
        let stats = pool.stats();
        assert!(stats.restarts >= 10, "{stats:?}");
        works(&pool);
    });
}

#[test]
fn what_is_timed_out_or_cancelled_changes_no_other() {
    fn hang(input: (Vec<u64>, Count)) -> Vec<u64> {
        for_ever(input.1);
        input.0
    }
    processes(|| {
        let begun = Count::new();
        let timed = Pool::builder(Kind::Process)
            .workers(1)
            .timeout(Duration::from_millis(300))
            .build()
            .expect("a pool");
        let pool = pool(Kind::Process, 3);
        let late = timed.submit(hang, (numbers((900, LARGE)), begun.clone()));
        let cancelled = pool.submit(hang, (numbers((901, LARGE)), begun.clone()));
        begun.wait_for(2);
        let inputs = || (0..40).map(|n| numbers((n as u64, count(n))));
        assert_eq!(are_next(pool.map(next, inputs())), 40);
        cancelled.cancel();
        assert_eq!(are_next(pool.map(next, inputs())), 40);
        assert!(matches!(join(late), Err(JoinError::TimedOut(_))));
        assert!(matches!(join(cancelled), Err(JoinError::Cancelled)));
        assert_eq!(are_next(pool.map(next, inputs())), 40);
    });
}

/// How many files of values a process has.
fn files_of(pid: u32) -> usize {
    let descriptors = procfs::descriptors(pid).expect("/proc");
    let is_value = |target: &&String| target.contains("memfd:brigade-value");
    descriptors.iter().filter(is_value).count()
}

fn files(_: ()) -> usize {
    files_of(std::process::id())
}

/// Whether a worker has kept anything.
fn keeps(pool: &Pool) -> bool {
    let value = join(pool.submit(numbers, (5, LARGE))).expect("a value");
    assert!(are_numbers(&value, 5, LARGE));
    join(pool.submit(files, ())).expect("a number") > 0
}

#[test]
fn a_worker_gives_back_what_it_does_not_use_however_busy_it_is() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        if !keeps(&pool) {
            eprintln!("skipped: this system does not say which files are free");
            return;
        }
        // It never sleeps for as long as files are kept.
        until("nothing is kept by one that is busy", || {
            join(pool.submit(files, ())).expect("a number") == 0
        });
        assert!(keeps(&pool));
        let pid = pool.pids()[0];
        until("nothing is kept by one that sleeps", || files_of(pid) == 0);
        assert!(exists(pid), "by the same worker");
    });
}

#[test]
fn a_worker_whose_memory_is_limited_or_counted_keeps_none() {
    processes(|| {
        let builders = [
            Pool::builder(Kind::Process).recycle_above(8 << 30),
            Pool::builder(Kind::Process).process(process::Builder::new().memory_limit(4 << 30)),
        ];
        for builder in builders {
            let pool = builder.workers(1).build().expect("a pool");
            assert!(!keeps(&pool));
            let inputs = (0..12).map(|n| numbers((n as u64, count(n))));
            assert_eq!(are_next(pool.map(next, inputs)), 12);
        }
    });
}

#[test]
#[expect(unsafe_code, reason = "forks")]
fn a_task_that_forks_gives_its_own_value() {
    fn fork_and_give(seed: u64) -> Vec<u64> {
        // SAFETY: the child does as its parent, which has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            return numbers((seed + 100, LARGE));
        }
        // SAFETY: no status is asked for.
        let ended = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!(ended, child);
        numbers((seed, LARGE))
    }
    processes(|| {
        let pool = pool(Kind::Process, 1);
        for seed in 0..5 {
            let value = join(pool.submit(fork_and_give, seed)).expect("a value");
            assert!(are_numbers(&value, seed, LARGE), "{seed}");
        }
    });
}
