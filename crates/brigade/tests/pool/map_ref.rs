//! Maps over inputs that the caller keeps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use brigade::{JoinError, Kind, Pool};

use crate::{both, crash_of, pool, processes};

static CLONES: AtomicUsize = AtomicUsize::new(0);

/// Counts how often it is cloned.
#[derive(serde::Serialize, serde::Deserialize)]
struct Counted(u32);

impl Clone for Counted {
    fn clone(&self) -> Counted {
        CLONES.fetch_add(1, SeqCst);
        Counted(self.0)
    }
}

#[test]
fn inputs_stay_where_they_are() {
    both(|kind| {
        let pool = pool(kind, 3);
        let texts: Vec<String> = (0..2000_usize).map(|n| "x".repeat(n % 300)).collect();
        let lengths = pool.map_ref(|text: String| text.len(), &texts);
        assert_eq!(lengths.len(), 2000);
        let lengths: Result<Vec<_>, _> = lengths.collect();
        let lengths = lengths.expect("all return");
        assert!(lengths.into_iter().eq(texts.iter().map(String::len)));
        let mut seen = vec![false; texts.len()];
        for (number, length) in pool.map_unordered_ref(|text: String| text.len(), &texts[..]) {
            assert_eq!(length.expect("returns"), texts[number].len());
            assert!(!std::mem::replace(&mut seen[number], true));
        }
        assert!(seen.iter().all(|&seen| seen));
        // Values of a map; large ones, which travel in files of their own; none.
        let large = BTreeMap::from([(1, vec![1_u8; 1 << 20]), (2, vec![2; 3 << 20])]);
        let sum = |bytes: Vec<u8>| bytes.iter().map(|&b| u64::from(b)).sum::<u64>();
        let sums: Result<Vec<_>, _> = pool.map_ref(sum, large.values()).collect();
        assert_eq!(sums.expect("all return"), [1 << 20, 6 << 20]);
        assert_eq!(pool.map_ref(sum, &[]).count(), 0);
    });
}

#[test]
fn what_is_only_encoded_is_not_cloned() {
    both(|kind| {
        let pool = pool(kind, 2);
        let inputs: Vec<_> = (0..100_000).map(Counted).collect();
        let before = CLONES.load(SeqCst);
        let clones = || CLONES.load(SeqCst) - before;
        let mut results = pool.map_ref(|n: Counted| n.0 + 1, &inputs);
        assert_eq!(clones(), 0, "nothing is done before it is asked for");
        assert_eq!(results.next().expect("one").expect("returns"), 1);
        let first = clones();
        assert_eq!(
            results.try_fold(1, |n, it| it.map(|_| n + 1)).expect("all"),
            100_000
        );
        match kind {
            Kind::Thread => {
                assert!((1..50_000).contains(&first), "when its turn comes: {first}");
                assert_eq!(clones(), 100_000);
            }
            _ => assert_eq!(clones(), 0),
        }
    });
}

#[test]
fn a_crash_in_the_middle_costs_one_result() {
    fn dies_first(n: u32) -> u32 {
        if n == 66 && brigade::attempt() == 1 {
            std::process::abort();
        }
        n + brigade::attempt()
    }
    processes(|| {
        let inputs: Vec<u32> = (0..300).collect();
        for retries in [0, 1] {
            let pool = Pool::builder(Kind::Process).workers(2).retries(retries);
            let pool = pool.build().expect("a pool");
            let results: Vec<Result<u32, JoinError>> = pool.map_ref(dies_first, &inputs).collect();
            assert_eq!(results.len(), 300);
            for (n, result) in (0..).zip(results) {
                match (n, retries) {
                    (66, 0) => {
                        crash_of(result);
                    }
                    (66, _) => assert_eq!(result.expect("the second time"), 68),
                    _ => assert_eq!(result.expect("returns"), n + 1),
                }
            }
        }
    });
}
