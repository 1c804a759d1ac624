//! A handle is a future, for any executor: here for one that parks a thread. What holds without a
//! pool too is in `tests/contract`.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use brigade::{JoinError, JoinHandle, Kind};
use brigade_test_support::block_on;

use crate::{Count, both, double, for_ever, occupy, pool, until, works};

/// Counts how often it is woken.
#[derive(Default)]
struct Tally(AtomicU32);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll_once<R>(handle: &mut JoinHandle<R>, waker: &Waker) -> Poll<Result<R, JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

#[test]
fn every_end_wakes_also_that_of_a_task_in_the_queue() {
    both(|kind| {
        let pool = pool(kind, 1);
        let panicked = block_on(pool.submit(|()| -> () { panic!("awaited") }, ()));
        assert!(matches!(panicked, Err(JoinError::Panicked(_))));
        // Running, and waiting behind it, each with somebody who waits for it.
        let begun = Count::new();
        let mut running = pool.submit(for_ever, begun.clone());
        let mut queued = pool.submit(double, 1);
        begun.wait_for(1);
        let tallies: [Arc<Tally>; 2] = Default::default();
        assert!(poll_once(&mut running, &tallies[0].clone().into()).is_pending());
        assert!(poll_once(&mut queued, &tallies[1].clone().into()).is_pending());
        queued.cancel();
        until("it is woken", || tallies[1].0.load(SeqCst) > 0);
        assert!(matches!(block_on(queued), Err(JoinError::Cancelled)));
        running.cancel();
        until("it is woken", || tallies[0].0.load(SeqCst) > 0);
        assert!(matches!(block_on(running), Err(JoinError::Cancelled)));
        if kind == Kind::Process {
            let crashed = block_on(pool.submit(|()| -> () { std::process::abort() }, ()));
            assert!(matches!(crashed, Err(JoinError::Crashed(_))));
        }
        works(&pool);
    });
}

#[test]
fn the_end_of_the_pool_wakes() {
    both(|kind| {
        let (begun, queued) = (Count::new(), Arc::new(Tally::default()));
        let pool = pool(kind, 1);
        let mut running = pool.submit(for_ever, begun.clone());
        let mut waiting = pool.submit(double, 1);
        begun.wait_for(1);
        let waker = Waker::from(queued.clone());
        assert!(poll_once(&mut running, &waker).is_pending());
        assert!(poll_once(&mut waiting, &waker).is_pending());
        pool.abort();
        until("both are woken", || queued.0.load(SeqCst) >= 2);
        assert!(matches!(block_on(running), Err(JoinError::Cancelled)));
        assert!(block_on(waiting).is_err());
    });
}

#[test]
fn who_polled_last_is_woken() {
    both(|kind| {
        let pool = pool(kind, 1);
        let (mut handle, gate) = occupy(&pool);
        let (first, last) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
        for _ in 0..3 {
            assert!(poll_once(&mut handle, &first.clone().into()).is_pending());
        }
        // It moves to another thread, and another executor.
        let (handle, last) = std::thread::spawn(move || {
            assert!(poll_once(&mut handle, &last.clone().into()).is_pending());
            (handle, last)
        })
        .join()
        .expect("no panic");
        gate.add();
        until("the last is woken", || last.0.load(SeqCst) > 0);
        // And then it is joined by one who does not poll.
        assert_eq!(crate::join(handle).expect("returns"), 7);
        drop(first);
    });
}

#[test]
fn many_executors_await_what_many_threads_submit() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (give, take) = mpsc::channel::<(u32, JoinHandle<u32>)>();
        let take = Mutex::new(take);
        std::thread::scope(|scope| {
            for t in 0..4 {
                let (pool, give) = (&pool, give.clone());
                scope.spawn(move || {
                    for n in 0..500 {
                        give.send((n, pool.submit(double, n))).expect("taken");
                    }
                    drop(give);
                    t
                });
            }
            drop(give);
            let take = &take;
            for _ in 0..4 {
                scope.spawn(move || {
                    loop {
                        let next = take.lock().expect("no panic").recv();
                        let Ok((n, handle)) = next else { break };
                        assert_eq!(block_on(handle).expect("returns"), n * 2);
                    }
                });
            }
        });
    });
}

#[test]
fn a_handle_that_was_polled_may_be_dropped() {
    both(|kind| {
        let pool = pool(kind, 1);
        let tally = Arc::new(Tally::default());
        let (mut handle, gate) = occupy(&pool);
        assert!(poll_once(&mut handle, &tally.clone().into()).is_pending());
        drop(handle);
        gate.add();
        works(&pool);
        drop(pool);
        assert_eq!(Arc::strong_count(&tally), 1, "nobody keeps its waker");
    });
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    both(|kind| {
        let pool = pool(kind, 1);
        let (mut handle, gate) = occupy(&pool);
        let behind = pool.submit(double, 3);
        let waker = Waker::from(Arc::new(Bad));
        assert!(poll_once(&mut handle, &waker).is_pending());
        gate.add();
        assert_eq!(crate::join(behind).expect("returns"), 6);
        assert_eq!(crate::join(handle).expect("returns"), 7);
        works(&pool);
    });
}

#[test]
fn a_waker_that_submits_is_welcome() {
    use brigade::Pool;
    struct Next(Arc<Pool>, mpsc::Sender<JoinHandle<u32>>);
    impl Wake for Next {
        fn wake(self: Arc<Self>) {
            let handle = self.0.submit(double, 21);
            // Looked at while it is certainly not done: who wakes us holds nothing that this needs.
            let _ = (handle.is_finished(), self.0.stats());
            self.1.send(handle).expect("taken");
        }
    }
    both(|kind| {
        let pool = Arc::new(pool(kind, 1));
        let (give, take) = mpsc::channel();
        let (mut handle, gate) = occupy(&pool);
        let waker = Waker::from(Arc::new(Next(Arc::clone(&pool), give)));
        assert!(poll_once(&mut handle, &waker).is_pending());
        gate.add();
        let next = take.recv_timeout(crate::LIMIT).expect("it is woken");
        assert_eq!(crate::join(next).expect("returns"), 42);
        assert_eq!(crate::join(handle).expect("returns"), 7);
    });
}
