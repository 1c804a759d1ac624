//! Who is busy keeps nobody waiting: what lies behind a long task is done by others.
//!
//! No clock: one task waits at a gate, which the test opens when all the others have ended. If any
//! of them stayed behind it, that would be never.

use brigade::{JoinHandle, Pool};
use serde::{Deserialize, Serialize};

use crate::{Count, both, double, join, pool, until};

/// Plain ones bring no descriptor along: they may be given to a worker many at a time.
#[derive(Serialize, Deserialize)]
enum Job {
    Short(u32),
    Long(Count, Count),
}

fn work(job: Job) -> u32 {
    match job {
        Job::Short(n) => n * 2,
        Job::Long(begun, gate) => crate::wait_at((begun, gate)),
    }
}

#[test]
fn submitted_tasks_pass_a_long_one() {
    both(|kind| {
        for (workers, long, short) in [(2, 1, 3000), (4, 3, 3000), (2, 1, 1)] {
            let pool = pool(kind, workers);
            // So that the pool has seen short ones only.
            warm_up(&pool);
            let (begun, gate) = (Count::new(), Count::new());
            for before in [0, 1, 10, 300] {
                let first: Vec<JoinHandle<u32>> = (0..before)
                    .map(|n| pool.submit(work, Job::Short(n)))
                    .collect();
                let long: Vec<_> = (0..long)
                    .map(|_| pool.submit(work, Job::Long(begun.clone(), gate.clone())))
                    .collect();
                let then: Vec<_> = (0..short)
                    .map(|n| pool.submit(work, Job::Short(n)))
                    .collect();
                for (n, handle) in (0..before).zip(first) {
                    assert_eq!(join(handle).expect("returns"), n * 2);
                }
                for (n, handle) in (0..short).zip(then) {
                    assert_eq!(join(handle).expect("returns"), n * 2);
                }
                if gate.get() == 0 {
                    assert!(long.iter().all(|handle| !handle.is_finished()));
                }
                gate.add();
                for handle in long {
                    assert_eq!(join(handle).expect("returns"), 7);
                }
            }
        }
    });
}

/// Appends a byte to a file: a trace that is seen without asking the pool.
fn note(path: String) {
    use std::io::Write;
    let file = std::fs::File::options().append(true).open(path);
    file.and_then(|mut file| file.write_all(b"."))
        .expect("noted");
}

#[test]
fn tasks_are_run_though_nobody_looks() {
    both(|kind| {
        let name = format!("brigade-unseen-{kind}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = path.to_str().expect("UTF-8");
        for count in [1, 2, 15, 16, 17, 200] {
            std::fs::write(&path, b"").expect("made");
            let pool = pool(kind, 2);
            warm_up(&pool);
            let handles: Vec<_> = (0..count)
                .map(|_| pool.submit(note, text.to_owned()))
                .collect();
            until("all have run", || {
                std::fs::metadata(&path).is_ok_and(|file| file.len() == count)
            });
            for handle in handles {
                join(handle).expect("returns");
            }
        }
        std::fs::remove_file(&path).expect("removed");
    });
}

fn warm_up(pool: &Pool) {
    for (n, ended) in (0..5000).zip(pool.map(work, (0..5000).map(Job::Short))) {
        assert_eq!(ended.expect("returns"), n * 2);
    }
}

/// Long ones at these places among short ones.
fn jobs<'a>(
    count: u32,
    long_at: &'a [u32],
    begun: &'a Count,
    gate: &'a Count,
) -> impl Iterator<Item = Job> + 'a {
    (0..count).map(|n| match long_at.contains(&n) {
        true => Job::Long(begun.clone(), gate.clone()),
        false => Job::Short(n),
    })
}

const PLACES: [(usize, &[u32]); 6] = [
    (2, &[0]),
    (2, &[1]),
    (2, &[777]),
    (2, &[4999]),
    (4, &[0, 1, 2]),
    (4, &[1000, 1001, 3000]),
];

#[test]
fn an_unordered_map_passes_a_long_one() {
    both(|kind| {
        for (workers, long_at) in PLACES {
            let pool = pool(kind, workers);
            let (begun, gate) = (Count::new(), Count::new());
            let mut results = pool.map_unordered(work, jobs(5000, long_at, &begun, &gate));
            for _ in 0..5000 - long_at.len() {
                let (n, ended) = results.next().expect("one more");
                assert_eq!(ended.expect("returns"), n as u32 * 2);
            }
            gate.add();
            assert_eq!(results.count(), long_at.len());
        }
    });
}

#[test]
fn an_ordered_map_passes_a_long_one() {
    both(|kind| {
        for (workers, long_at) in PLACES {
            let pool = pool(kind, workers);
            let (begun, gate) = (Count::new(), Count::new());
            let short = 5000 - long_at.len() as u64;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    until("all others are done", || pool.stats().done == short);
                    gate.add();
                });
                let results = pool.map(work, jobs(5000, long_at, &begun, &gate));
                for (n, ended) in (0..).zip(results) {
                    let expected = if long_at.contains(&n) { 7 } else { n * 2 };
                    assert_eq!(ended.expect("returns"), expected);
                }
            });
        }
    });
}

#[test]
fn a_task_given_while_all_but_one_are_busy_is_run_by_that_one() {
    both(|kind| {
        let pool = pool(kind, 3);
        for _ in 0..100 {
            let (begun, gate) = (Count::new(), Count::new());
            let long: Vec<_> = (0..2)
                .map(|_| pool.submit(work, Job::Long(begun.clone(), gate.clone())))
                .collect();
            // At once, whether or not those have begun.
            for n in 0..5 {
                assert_eq!(join(pool.submit(double, n)).expect("returns"), n * 2);
            }
            gate.add();
            for handle in long {
                assert_eq!(join(handle).expect("returns"), 7);
            }
        }
    });
}
