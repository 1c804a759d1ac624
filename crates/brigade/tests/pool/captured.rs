//! `task!`: a function and the values that it names, in both kinds of pools.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use brigade::pool::{Captured, Context};
use brigade::{JoinError, Kind, Message, Pool, Shared, TaskError, attempt, task};

use crate::{both, pool, processes};

#[test]
fn what_is_named_is_borrowed_or_cloned() {
    both(|kind| {
        let pool = pool(kind, 2);
        let table: HashMap<String, Vec<u32>> = HashMap::from([("a".into(), vec![1, 2])]);
        let (factor, word) = (10, "n".to_owned());
        let look_up = task!(move |key: String| -> Result<String, TaskError>
            using (table: &HashMap<String, Vec<u32>>, factor: u32, word: String) {
            let numbers = table.get(&key).ok_or_else(|| TaskError::msg("no such key"))?;
            let mut word = word; // a run's own
            for n in numbers {
                word += &(n * factor).to_string();
            }
            Ok(word)
        });
        for _ in 0..3 {
            let found = pool.submit_captured(&look_up, "a".into()).join();
            assert_eq!(found.expect("returns").expect("found"), "n1020");
        }
        let none = pool.submit_captured(&look_up, "b".into()).join();
        let none = none.expect("returns").expect_err("not found");
        assert_eq!(none.message(), "no such key");
        // Here and now, and in another pool.
        assert_eq!(look_up.call("a".into()).expect("found"), "n1020");
        let keys = ["a", "b", "a"].map(String::from);
        let other = crate::pool(kind, 1);
        let all: Vec<_> = other.map_captured(&look_up.clone(), keys).collect();
        let found = all
            .iter()
            .filter(|r| matches!(r, Ok(Ok(found)) if found == "n1020"));
        assert_eq!((all.len(), found.count()), (3, 2));
    });
}

fn of_three<C: Message + Sync>(pool: &Pool, task: Captured<C, u32, u32>) -> u32 {
    pool.submit_captured(&task, 3).join().expect("returns")
}

/// How it may be written.
#[test]
fn each_form_works() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (one, two) = (1_u32, vec![2_u32]);
        assert_eq!(of_three(&pool, task!(|n: u32| -> u32 { n })), 3);
        let task = task!(move |n: u32| using (one: u32) { n + one });
        assert_eq!(of_three(&pool, task), 4);
        let task = task!(|mut n: u32| using (two: &Vec<u32> = two.clone(), plus: u32 = one + 1,) {
            n += two[0];
            n + plus
        });
        assert_eq!(of_three(&pool, task), 7);
        let task = task!(move |_: u32| -> u32 using (two: &Vec<u32>) { two[0] });
        assert_eq!(of_three(&pool, task), 2);
        // An early end, and a result with types of its own.
        let task = task!(move |(a, b): (u32, Option<u32>)| -> (u32, Result<Vec<u32>, [u8; 2]>)
            using (array: &[u32; 2] = [1, 2]) {
            let Some(b) = b else {
                return (a, Err([0; 2]));
            };
            (a, Ok(vec![b, array[1]]))
        });
        let ends = [(1, None), (2, Some(5))];
        let ends: Result<Vec<_>, _> = pool.map_captured(&task, ends).collect();
        assert_eq!(
            ends.expect("return"),
            [(1, Err([0; 2])), (2, Ok(vec![5, 2]))]
        );
        // What can be shared is captured like anything else.
        let shared = Shared::new(AtomicU64::new(5)).expect("a region");
        let task = task!(move |n: u64| -> u64 using (shared: &Shared<AtomicU64> = shared.clone()) {
            shared.fetch_add(n, SeqCst)
        });
        assert_eq!(pool.submit_captured(&task, 2).join().ok(), Some(5));
        assert_eq!(shared.load(SeqCst), 7);
    });
}

fn generic<T: Message + Sync + Clone + Into<u64>>(pool: &Pool, value: T) -> u64 {
    let task = task!(move |n: u64| -> u64 using (value: T) { n + value.into() });
    pool.submit_captured(&task, 1).join().expect("returns")
}

#[test]
fn types_may_be_those_of_a_generic_function() {
    both(|kind| {
        let pool = pool(kind, 1);
        assert_eq!((generic(&pool, 2_u8), generic(&pool, 3_u32)), (3, 4));
    });
}

#[test]
fn it_is_carried_once_and_again_to_the_worker_that_replaces_a_dead_one() {
    processes(|| {
        let pool = Pool::builder(Kind::Process).workers(1).retries(1).build();
        let pool = pool.expect("a pool");
        let table = vec![7_u64; 100_000];
        let task = task!(move |(n, dies): (usize, bool)| -> u64 using (table: &Vec<u64>) {
            if dies && attempt() == 1 {
                std::process::abort();
            }
            table[n]
        });
        for n in 0..50 {
            assert_eq!(
                pool.submit_captured(&task, (n, false))
                    .join()
                    .expect("returns"),
                7
            );
        }
        let once = pool.stats().context_bytes;
        assert!((800_000..900_000).contains(&once), "{once}");
        assert_eq!(
            pool.submit_captured(&task, (1, true))
                .join()
                .expect("again"),
            7
        );
        let twice = pool.stats().context_bytes;
        assert_eq!(twice, 2 * once);
        // A crash without a retry costs that task.
        let fatal = task!(move |_: u8| -> u64 using (table: &Vec<u64> = vec![1]) {
            assert_eq!(table.len(), 1);
            std::process::abort()
        });
        let crashed = pool.submit_captured(&fatal, 0).join();
        assert!(matches!(crashed, Err(JoinError::Crashed(_))), "{crashed:?}");
        assert_eq!(
            pool.submit_captured(&task, (1, false))
                .join()
                .expect("returns"),
            7
        );
    });
}

#[test]
fn one_context_serves_several_functions() {
    both(|kind| {
        let pool = pool(kind, 1);
        let table = Context::new(vec![1_u64, 2, 3]);
        let at = Captured::new(&table, |table: &Vec<u64>, n: usize| table[n]);
        let sum = Captured::new(&table, |table: &Vec<u64>, ()| table.iter().sum::<u64>());
        assert_eq!(pool.submit_captured(&at, 2).join().expect("returns"), 3);
        assert_eq!(pool.submit_captured(&sum, ()).join().expect("returns"), 6);
        assert_eq!(
            format!("{at:?}"),
            "Captured { context: Context([1, 2, 3]), .. }"
        );
        assert_eq!(at.context()[0], 1);
    });
}

/// A timeout, a deadline and retries of one task's own.
#[test]
fn a_task_that_captures_has_options() {
    both(|kind| {
        let pool = pool(kind, 1);
        let runs = Shared::new(AtomicU64::new(0)).expect("a region");
        let first_fails = {
            let runs = runs.clone();
            task!(move |n: u32| -> u32 using (runs: &Shared<AtomicU64>) {
                if runs.fetch_add(1, SeqCst) == 0 {
                    loop {
                        std::thread::park();
                    }
                }
                n + attempt()
            })
        };
        let limited = || (pool.task_captured(&first_fails)).timeout(Duration::from_millis(300));
        let handle = limited().retries(1).submit(1);
        assert_eq!(handle.join().expect("the second run returns"), 3);
        runs.store(0, SeqCst);
        let over = limited().submit(1).join();
        assert!(matches!(over, Err(JoinError::TimedOut(_))), "{over:?}");
        let handle = limited().cancel_on_drop().try_submit(1).expect("room");
        assert_eq!(handle.join().expect("returns"), 2);
        let ended = pool
            .task_captured(&first_fails)
            .deadline(Instant::now())
            .submit(1);
        let over = ended.join();
        assert!(
            matches!(&over, Err(JoinError::TimedOut(over)) if !over.had_begun()),
            "{over:?}"
        );
        assert_eq!(runs.load(SeqCst), 2);
    });
}
