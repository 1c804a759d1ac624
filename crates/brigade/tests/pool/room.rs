//! Futures that wait for room in the queue; and what iterators over results know of their size.

use std::collections::BTreeSet;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};

use brigade::pool::SubmitAsync;
use brigade::{JoinError, JoinHandle, Kind, Pool};
use brigade_test_support::block_on;

use crate::{Count, both, double, join, occupy, until, works};

#[derive(Default)]
struct Tally(AtomicU32);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll_once<R: brigade::Message>(
    future: &mut SubmitAsync<u32, R>,
    waker: &Waker,
) -> Poll<JoinHandle<R>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn limited(kind: Kind, workers: usize, limit: usize) -> Pool {
    let pool = Pool::builder(kind).workers(workers).queue_limit(limit);
    pool.build().expect("a pool")
}

/// A future that has begun to wait, and how often it was woken.
fn waiting(pool: &Pool, n: u32) -> (SubmitAsync<u32, u32>, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let mut future = pool.submit_async(double, n);
    assert!(poll_once(&mut future, &Arc::clone(&tally).into()).is_pending());
    (future, tally)
}

/// Is woken when there is room. Gives what the task gives.
fn served((future, tally): (SubmitAsync<u32, u32>, Arc<Tally>)) -> Result<u32, JoinError> {
    until("it is woken", || tally.0.load(SeqCst) > 0);
    join(block_on(future))
}

#[test]
fn a_task_is_submitted_when_there_is_room() {
    both(|kind| {
        let pool = limited(kind, 1, 1);
        // With room it does not wait, and with nothing that polls it does nothing.
        assert_eq!(
            join(block_on(pool.submit_async(double, 2))).expect("returns"),
            4
        );
        pool.wait_idle();
        drop(pool.submit_async(double, 2));
        let (first, gate) = occupy(&pool);
        let queued = pool.submit(double, 1);
        let waits: Vec<_> = (10..14).map(|n| waiting(&pool, n)).collect();
        assert_eq!(pool.stats().submitted, 3);
        assert!(waits.iter().all(|(_, tally)| tally.0.load(SeqCst) == 0));
        gate.add();
        for (n, waiting) in (10..).zip(waits) {
            assert_eq!(served(waiting).expect("returns"), n * 2);
        }
        assert_eq!(join(first).expect("returns"), 7);
        assert_eq!(join(queued).expect("returns"), 2);
        works(&pool);
    });
}

#[test]
fn one_that_is_dropped_has_submitted_nothing_and_wakes_the_next() {
    both(|kind| {
        for turn in 0..30 {
            let pool = limited(kind, 1, 1);
            let (first, gate) = occupy(&pool);
            let queued = pool.submit(double, 1);
            let mut waits: Vec<_> = (0..4).map(|n| waiting(&pool, n)).collect();
            let last = waits.pop().expect("one");
            if turn % 2 == 0 {
                drop(waits.remove(1));
            }
            gate.add();
            if turn % 3 == 0 {
                // Told, it is dropped before it looks.
                until("it is woken", || waits[0].1.0.load(SeqCst) > 0);
            }
            drop(waits);
            assert_eq!(served(last).expect("returns"), 6);
            assert_eq!(join(queued).expect("returns"), 2);
            join(first).expect("returns");
            assert_eq!(pool.stats().submitted, 3);
        }
    });
}

#[test]
fn many_that_wait_are_all_served() {
    both(|kind| {
        let pool = limited(kind, 2, 3);
        let ran = Count::new();
        let callers: Vec<_> = (0..4)
            .map(|n| {
                let (pool, ran) = (pool.clone(), ran.clone());
                std::thread::spawn(move || {
                    for turn in 0..200 {
                        let handle = match (turn + n) % 4 {
                            0 => pool.submit(crate::add, ran.clone()),
                            _ => block_on(pool.submit_async(crate::add, ran.clone())),
                        };
                        if turn % 2 == 0 {
                            join(handle).expect("returns");
                        }
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().expect("returns"));
        pool.wait_idle();
        assert_eq!(ran.get(), 800);
    });
}

#[test]
fn those_that_wait_end_when_the_pool_does() {
    both(|kind| {
        for end in [Pool::close, Pool::abort] {
            let pool = limited(kind, 1, 1);
            let (first, gate) = occupy(&pool);
            let queued = pool.submit(double, 1);
            let waits: Vec<_> = (0..3).map(|n| waiting(&pool, n)).collect();
            end(&pool);
            for waiting in waits {
                assert!(matches!(served(waiting), Err(JoinError::Closed)));
            }
            let late = block_on(pool.submit_async(double, 1));
            assert!(matches!(join(late), Err(JoinError::Closed)));
            gate.add();
            drop((join(first), join(queued)));
        }
    });
}

#[test]
fn a_task_is_called_by_where_it_was_submitted() {
    both(|kind| {
        let pool = limited(kind, 1, 1);
        let panics: fn(u32) -> u32 = |_| panic!("as it should");
        let ended = join(block_on(pool.submit_async(panics, 1)));
        let panic = crate::panic_of(ended);
        assert!(panic.task().contains("room"), "{}", panic.task());
    });
}

fn knows_its_size<T>(
    mut results: impl ExactSizeIterator<Item = T> + FusedIterator,
    mut left: usize,
) {
    loop {
        assert_eq!(results.len(), left);
        if results.next().is_none() {
            break;
        }
        left -= 1;
    }
    assert_eq!((left, results.size_hint()), (0, (0, Some(0))));
    assert!(results.next().is_none());
}

#[test]
fn maps_know_how_many_results_are_to_come() {
    both(|kind| {
        let pool = crate::pool(kind, 2);
        for count in [0, 1, 700] {
            let inputs = || 0..count;
            knows_its_size(pool.map(double, inputs()), count as usize);
            knows_its_size(pool.map_unordered(double, inputs()), count as usize);
            let keyed: Vec<_> = inputs().map(|n| (n, n)).collect();
            knows_its_size(pool.map_keyed(double, keyed), count as usize);
        }
        let some = pool.map(double, (0..100).filter(|n| n % 2 == 0));
        assert_eq!(some.size_hint(), (0, Some(100)));
        let closed = pool.map(double, 0..1000);
        pool.close();
        knows_its_size(closed, 1000);
    });
}

#[test]
fn results_come_with_the_keys_of_their_inputs() {
    both(|kind| {
        let pool = crate::pool(kind, 3);
        // Keys that cannot travel.
        let inputs = (0..2000).map(|n| (std::rc::Rc::new(n), n));
        let mut seen = BTreeSet::new();
        for (key, result) in pool.map_keyed(double, inputs) {
            assert_eq!(result.expect("returns"), *key * 2);
            assert!(seen.insert(*key));
        }
        assert_eq!(seen.len(), 2000);
        let mut keyed = pool.map_keyed(double, (0..).map(|n| (n, n)));
        pool.close();
        let (key, result) = keyed.next().expect("one");
        assert_eq!(key, 0);
        assert!(matches!(result, Err(JoinError::Closed)));
    });
}
