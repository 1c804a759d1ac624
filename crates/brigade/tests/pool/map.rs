//! Many inputs, one task: results in order or as they come, inputs pulled as there is room for
//! them.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use brigade::{JoinError, Kind, Pool};
use serde::{Deserialize, Serialize};

use crate::{Count, both, double, pool, processes, until, works};

/// Results beyond this are not held back, whatever they wait for; and inputs beyond this are not
/// pulled. Room for several thousand small ones there must be.
const AHEAD: u32 = 64 * 1024;

fn all<R>(results: impl Iterator<Item = Result<R, JoinError>>) -> Vec<R> {
    results
        .map(|ended| ended.unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

#[test]
fn results_are_in_the_order_of_the_inputs() {
    both(|kind| {
        for workers in [1, 2, 5] {
            let pool = pool(kind, workers);
            for len in [0, 1, 2, 3, 100, 100_000] {
                let doubled = all(pool.map(double, 0..len));
                assert!(doubled.into_iter().eq((0..len).map(double)), "{len} inputs");
            }
        }
    });
}

#[test]
fn unordered_every_input_has_one_result() {
    both(|kind| {
        for workers in [1, 2, 5] {
            let pool = pool(kind, workers);
            for len in [0, 1, 2, 3, 100, 100_000] {
                let mut seen = vec![false; len];
                for (number, ended) in pool.map_unordered(double, 0..len as u32) {
                    assert_eq!(ended.expect("returns"), number as u32 * 2);
                    assert!(
                        !std::mem::replace(&mut seen[number], true),
                        "{number} twice"
                    );
                }
                assert!(seen.iter().all(|&seen| seen), "{len} inputs");
            }
        }
    });
}

#[test]
fn nothing_is_done_before_it_is_asked_for() {
    both(|kind| {
        let pool = pool(kind, 2);
        let pulled = Cell::new(0);
        let inputs = (0..100).inspect(|_| pulled.set(pulled.get() + 1));
        let mut results = pool.map(double, inputs.clone());
        assert_eq!((pulled.get(), pool.stats().submitted), (0, 0));
        assert_eq!(results.next().expect("one").expect("returns"), 0);
        drop(results);
        drop(pool.map_unordered(double, inputs));
        works(&pool);
    });
}

#[test]
fn an_endless_map_takes_no_more_than_it_needs() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (pulled, received, most) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
        let inputs = || {
            pulled.set(0);
            received.set(0);
            (0..).inspect(|_| {
                pulled.set(pulled.get() + 1);
                most.set(most.get().max(pulled.get() - received.get()));
            })
        };
        for (at, ended) in (0..200_000).zip(pool.map(double, inputs())) {
            assert_eq!(ended.expect("returns"), double(at));
            received.set(received.get() + 1);
        }
        for (_, ended) in pool.map_unordered(double, inputs()).take(200_000) {
            ended.expect("returns");
            received.set(received.get() + 1);
        }
        assert!(most.get() <= AHEAD, "{} ahead", most.get());
        works(&pool);
    });
}

#[test]
fn large_inputs_are_not_pulled_far_ahead() {
    const LEN: usize = 1 << 20;
    both(|kind| {
        let pool = pool(kind, 2);
        let (pulled, most, begun) = (Cell::new(0_u32), Cell::new(0_u32), Count::new());
        let inputs = (0..1000_u32).map(|n| {
            pulled.set(pulled.get() + 1);
            // A result may wait for one before it, and needs its input no more.
            most.set(most.get().max(pulled.get() - begun.get()));
            (begun.clone(), vec![n as u8; LEN])
        });
        let last_of = |(begun, v): (Count, Vec<u8>)| {
            begun.add();
            (v[LEN - 1], v.len())
        };
        let mut received = 0;
        for (n, ended) in (0..).zip(pool.map(last_of, inputs)) {
            received += 1;
            assert_eq!(ended.expect("returns"), (n as u8, LEN));
        }
        assert_eq!(received, 1000);
        // Values are moved to a thread: nobody knows how large they are.
        if kind == brigade::Kind::Process {
            assert!(most.get() <= 150, "{} MiB of inputs ahead", most.get());
        }
    });
}

/// What the tasks of a map do here.
#[derive(Serialize, Deserialize)]
enum Step {
    Double(u32),
    Wait(Count, Count),
    Panic,
}

fn step(step: Step) -> u32 {
    match step {
        Step::Double(n) => n * 2,
        Step::Wait(begun, gate) => crate::wait_at((begun, gate)),
        // As a panic, but in silence: there are hundreds.
        Step::Panic => std::panic::resume_unwind(Box::new("on purpose")),
    }
}

#[test]
fn results_wait_for_the_one_before_them_and_inputs_for_the_results() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (begun, gate) = (Count::new(), Count::new());
        let pulled = Cell::new(0_u32);
        let first = [Step::Wait(begun.clone(), gate.clone())];
        let inputs = first.into_iter().chain((1..).map(Step::Double));
        let mut results = pool.map(
            step,
            inputs.inspect(|_| {
                pulled.set(pulled.get() + 1);
                // Nobody can have the first result, so nobody may ask for the inputs without end.
                assert!(pulled.get() <= AHEAD);
            }),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait_for(1);
                // The other worker does what it may do meanwhile.
                until("thousands are done", || pool.stats().done > 4000);
                gate.add();
            });
            assert_eq!(results.next().expect("the first").expect("returns"), 7);
        });
        for n in 1..10_000 {
            assert_eq!(results.next().expect("one more").expect("returns"), n * 2);
        }
    });
}

#[test]
fn failures_are_in_their_places() {
    both(|kind| {
        let pool = pool(kind, 2);
        let inputs = || {
            (0..3000).map(|n| {
                if n % 7 == 3 {
                    Step::Panic
                } else {
                    Step::Double(n)
                }
            })
        };
        let judge = |n: u32, ended: Result<u32, JoinError>| match ended {
            Ok(doubled) => assert!(n % 7 != 3 && doubled == n * 2, "{n}"),
            Err(JoinError::Panicked(panic)) => {
                assert!(
                    n % 7 == 3 && panic.message() == "on purpose",
                    "{n}: {panic}"
                );
            }
            Err(other) => panic!("{n}: {other}"),
        };
        let pids = pool.pids();
        let mut count = 0;
        for (n, ended) in (0..).zip(pool.map(step, inputs())) {
            judge(n, ended);
            count += 1;
        }
        for (n, ended) in pool.map_unordered(step, inputs()) {
            judge(n as u32, ended);
            count += 1;
        }
        assert_eq!(count, 6000);
        assert_eq!(pool.pids(), pids, "the workers went on");
    });
}

#[test]
fn the_end_is_the_end() {
    both(|kind| {
        let pool = pool(kind, 2);
        // Inputs that may not be asked again when they have ended.
        let once_over = |len: u32| {
            let mut left = Some(len);
            std::iter::from_fn(move || {
                let now = left.expect("asked after the end");
                left = now.checked_sub(1);
                left
            })
        };
        let mut results = pool.map(double, once_over(1000));
        assert_eq!(results.by_ref().count(), 1000);
        assert!(results.next().is_none() && results.next().is_none());
        drop(results);
        let mut results = pool.map_unordered(double, once_over(1000));
        assert_eq!(results.by_ref().count(), 1000);
        assert!(results.next().is_none() && results.next().is_none());
    });
}

#[test]
fn inputs_that_panic_harm_nobody() {
    both(|kind| {
        let pool = pool(kind, 2);
        for at in [0, 1, 100, 5000] {
            let inputs = || (0..10_000).inspect(move |&n| assert!(n != at, "no input {n}"));
            let mut ordered = pool.map(double, inputs());
            let panicked = catch_unwind(AssertUnwindSafe(|| ordered.by_ref().count()));
            assert!(panicked.is_err());
            drop(ordered);
            let unordered = pool.map_unordered(double, inputs());
            let panicked = catch_unwind(AssertUnwindSafe(|| unordered.count()));
            assert!(panicked.is_err());
            works(&pool);
        }
        assert_eq!(all(pool.map(double, 0..1000)).len(), 1000);
    });
}

#[test]
fn dropped_early_what_was_not_started_never_starts() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (begun, gate) = (Count::new(), Count::new());
        let first = [Step::Wait(begun.clone(), gate.clone())];
        let inputs = first.into_iter().chain((1..).map(Step::Double));
        let mut results = pool.map_unordered(step, inputs);
        for _ in 0..100 {
            results.next().expect("one more").1.expect("returns");
        }
        begun.wait_for(1);
        drop(results);
        let done = pool.stats().done;
        // What ran runs on, detached; and nothing else.
        gate.add();
        works(&pool);
        let others = works_counts(&pool);
        assert!(
            pool.stats().done <= done + others + 2,
            "{done}, then {:?}",
            pool.stats()
        );
    });
}

/// What [`works`] adds to what was done.
fn works_counts(pool: &Pool) -> u64 {
    pool.workers() as u64
}

#[test]
fn dropped_early_again_and_again() {
    both(|kind| {
        let pool = pool(kind, 3);
        for take in 0..100 {
            let taken = pool.map(double, 0..).take(take).count();
            assert_eq!(taken, take);
            let taken = pool.map_unordered(double, 0..2000).take(take).count();
            assert_eq!(taken, take);
        }
        works(&pool);
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.done + stats.failed(), "{stats:?}");
    });
}

#[test]
fn a_map_that_is_forgotten_harms_nobody() {
    both(|kind| {
        let pool = pool(kind, 2);
        let mut results = ManuallyDrop::new(pool.map(double, 0..100_000));
        assert_eq!(results.next().expect("one").expect("returns"), 0);
        works(&pool);
        drop(pool);
    });
}

#[test]
fn several_maps_at_once() {
    both(|kind| {
        let pool = pool(kind, 2);
        std::thread::scope(|scope| {
            for by in 1..4_u32 {
                let pool = &pool;
                scope.spawn(move || {
                    let products = pool.map(|(a, b): (u32, u32)| a * b, (0..5000).map(|n| (n, by)));
                    assert!(all(products).into_iter().eq((0..5000).map(|n| n * by)));
                });
                scope.spawn(move || {
                    for n in 0..500 {
                        assert_eq!(pool.submit(double, n).join().expect("returns"), n * 2);
                    }
                });
            }
        });
        // In one thread, by turns.
        let (mut a, mut b) = (
            pool.map(double, 0..3000),
            pool.map_unordered(double, 0..3000),
        );
        for n in 0..3000 {
            assert_eq!(a.next().expect("one more").expect("returns"), n * 2);
            b.next().expect("one more").1.expect("returns");
        }
        assert!(a.next().is_none() && b.next().is_none());
    });
}

#[test]
fn inputs_may_come_from_the_pool_itself() {
    both(|kind| {
        let pool = pool(kind, 1);
        let doubled = pool.map(double, 0..2000).map(|n| n.expect("returns"));
        let again = all(pool.map(double, doubled));
        assert!(again.into_iter().eq((0..2000).map(|n| n * 4)));
        let joined = (0..200).map(|n| pool.submit(double, n).join().expect("returns"));
        assert_eq!(all(pool.map(double, joined)).len(), 200);
    });
}

#[test]
fn a_map_inside_a_task() {
    static THREADS: OnceLock<Pool> = OnceLock::new();
    fn sum(kind: u8) -> u64 {
        let own;
        let pool = match Kind::ALL[usize::from(kind)] {
            Kind::Thread => THREADS.get().expect("made before"),
            Kind::Process => {
                own = pool(Kind::Process, 2);
                &own
            }
        };
        pool.map(double, 0..500)
            .map(|n| u64::from(n.expect("returns")))
            .sum()
    }
    both(|kind| {
        let own = pool(kind, 2);
        let outer = match kind {
            // One of its two workers waits in the task for what the other does.
            Kind::Thread => THREADS.get_or_init(|| own),
            Kind::Process => &own,
        };
        for _ in 0..3 {
            let inside = outer.submit(sum, kind as u8);
            assert_eq!(crate::join(inside).expect("returns"), 499 * 500);
        }
    });
}

/// How often the program serialized each input of the test below.
static SERIALIZED: [AtomicU32; 60] = [const { AtomicU32::new(0) }; 60];

#[derive(Serialize, Deserialize)]
struct Parts {
    index: usize,
    bytes: Vec<u8>,
    /// A region, and the run that returns: those before it end the worker.
    runs: Option<(Count, u32)>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Counted(Parts);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SERIALIZED[self.0.index].fetch_add(1, SeqCst);
        self.0.serialize(serializer)
    }
}

#[test]
fn an_input_is_serialized_once() {
    fn len_at_last(Counted(parts): Counted) -> (usize, usize) {
        if let Some((runs, last)) = &parts.runs {
            if runs.add() + 1 < *last {
                std::process::abort();
            }
        }
        assert!(parts.bytes.iter().all(|&b| usize::from(b) == parts.index));
        (parts.index, parts.bytes.len())
    }
    // In a mailbox, at the limit of what goes there, and in a memory file.
    const LENS: [usize; 5] = [10, (32 << 10) - 16, 32 << 10, 40 << 10, 3 << 20];
    processes(|| {
        let pool = Pool::builder(Kind::Process).workers(2).retries(2).build();
        let pool = pool.expect("a pool");
        let counts: Vec<Count> = (0..SERIALIZED.len()).map(|_| Count::new()).collect();
        let len_of = |n: usize| LENS[n % LENS.len()];
        // Without a region, with one, and with one and two deaths.
        let last_of = |n: usize| match n / LENS.len() % 3 {
            0 => None,
            1 => Some(1),
            _ => Some(3),
        };
        let inputs = (0..SERIALIZED.len()).map(|n| {
            Counted(Parts {
                index: n,
                bytes: vec![n as u8; len_of(n)],
                runs: last_of(n).map(|last| (counts[n].clone(), last)),
            })
        });
        let ended = all(pool.map(len_at_last, inputs));
        assert!(
            ended
                .into_iter()
                .eq((0..SERIALIZED.len()).map(|n| (n, len_of(n))))
        );
        for (n, count) in counts.iter().enumerate() {
            assert_eq!(count.get(), last_of(n).unwrap_or(0), "runs of input {n}");
        }
        let serialized: Vec<u32> = SERIALIZED.iter().map(|n| n.load(SeqCst)).collect();
        assert_eq!(serialized, [1; SERIALIZED.len()], "once each");
    });
}
