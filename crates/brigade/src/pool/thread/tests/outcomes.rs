use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use serde::{Deserialize, Serialize};

use super::*;
use crate::JoinError;

#[test]
fn a_task_returns_what_it_returns() {
    let pool = threads(2);
    for n in 0..1000 {
        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
    }
    let handles: Vec<_> = (0..10_000).map(|n| pool.submit(double, n)).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(ended(handle).unwrap(), n as u64 * 2);
    }
    let stats = pool.stats();
    assert_eq!((stats.done, stats.running, stats.queued), (11_000, 0, 0));
    assert_eq!(stats.latencies.count(), 11_000);
}

#[test]
fn a_panic_is_a_value_and_the_thread_goes_on() {
    let pool = builder(1).name("ada").build().unwrap();
    let thread = ended(pool.submit(|()| std::process::id(), ())).unwrap();
    for _ in 0..50 {
        let error = ended(pool.submit(|n: u8| -> u8 { panic!("no {n}") }, 7)).unwrap_err();
        let JoinError::Panicked(panic) = error else {
            panic!("{error:?}");
        };
        assert_eq!(panic.message(), "no 7");
        assert!(panic.to_string().contains("ada"), "{panic}");
        assert!(panic.location().unwrap().contains("outcomes.rs"), "{panic}");
    }
    assert_eq!(
        ended(pool.submit(|()| std::process::id(), ())).unwrap(),
        thread
    );
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.done, stats.restarts), (50, 2, 0));
}

#[test]
fn a_handle_tells_whether_it_is_finished_and_comes_back() {
    let pool = threads(1);
    let door = DOORS.make();
    let handle = pool.submit(pass, door);
    assert!(!handle.is_finished());
    assert_eq!((handle.kind(), handle.pid()), (Kind::Thread, None));
    let handle = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    let handle = handle.join_timeout(Duration::ZERO).unwrap_err();
    DOORS.open(door);
    until("its end", || handle.is_finished());
    assert_eq!(handle.join().unwrap(), door);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_handle_is_a_future() {
    let pool = threads(1);
    for _ in 0..OFTEN {
        let door = DOORS.make();
        let mut handle = pool.submit(pass, door);
        let (first, second) = (Arc::new(Count(0.into())), Arc::new(Count(0.into())));
        for count in [&first, &second] {
            let waker = Waker::from(Arc::clone(count));
            let mut context = Context::from_waker(&waker);
            assert!(std::pin::pin!(&mut handle).poll(&mut context).is_pending());
        }
        DOORS.open(door);
        until("the waker", || second.0.load(Ordering::SeqCst) == 1);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(result) = std::pin::pin!(&mut handle).poll(&mut context) else {
            panic!("woken too early");
        };
        assert_eq!(result.unwrap(), door);
        assert_eq!(first.0.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_waker_that_panics_takes_nothing_along() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    let pool = threads(1);
    let door = DOORS.make();
    let mut handle = pool.submit(pass, door);
    let waker = Waker::from(Arc::new(Bad));
    let mut context = Context::from_waker(&waker);
    assert!(std::pin::pin!(&mut handle).poll(&mut context).is_pending());
    DOORS.open(door);
    assert_eq!(ended(handle).unwrap(), door);
    assert_eq!(ended(pool.submit(double, 4)).unwrap(), 8);
}

/// A result that is never taken panics when it is dropped.
#[derive(Serialize, Deserialize)]
struct Touchy;

impl Drop for Touchy {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_destructor_that_panics_takes_nothing_along() {
    let pool = threads(1);
    for _ in 0..20 {
        let door = DOORS.make();
        let handle = pool.submit(
            |door| {
                pass(door);
                Touchy
            },
            door,
        );
        // The thread is the last that has the result.
        drop(handle);
        DOORS.open(door);
    }
    assert_eq!(ended(pool.submit(double, 4)).unwrap(), 8);
    assert_eq!(pool.stats().done, 21);
    // And inputs that are never used.
    let door = DOORS.make();
    let busy = pool.submit(pass, door);
    let handle = pool.submit(|_: Touchy| (), Touchy);
    handle.cancel();
    assert!(matches!(ended(handle), Err(JoinError::Cancelled)));
    DOORS.open(door);
    assert!(ended(busy).is_ok());
    pool.shutdown();
}

#[test]
fn a_dropped_handle_detaches() {
    let pool = threads(2);
    static RAN: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..100 {
        drop(pool.submit(|()| RAN.fetch_add(1, Ordering::SeqCst), ()));
    }
    pool.shutdown();
    assert_eq!(RAN.load(Ordering::SeqCst), 100);
}

#[test]
fn a_full_queue_gives_the_input_back_and_has_submit_wait() {
    let pool = builder(1).queue_limit(2).build().unwrap();
    for _ in 0..OFTEN {
        let door = DOORS.make();
        let running = pool.submit(pass, door);
        until("its start", || pool.stats().running == 1);
        let queued = [pool.submit(pass, door), pool.submit(pass, door)];
        assert_eq!(pool.try_submit(pass, door).map(drop), Err(door));
        assert_eq!(pool.stats().queued, 2);
        // One that is cancelled makes room at once.
        queued[1].cancel();
        let third = pool.try_submit(pass, door).unwrap();
        assert!(pool.try_submit(pass, door).is_err());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| ended(pool.submit(double, 21)).unwrap());
            DOORS.open(door);
            assert_eq!(waits.join().unwrap(), 42);
        });
        let [first, second] = queued;
        assert!(ended(running).is_ok() && ended(first).is_ok() && ended(third).is_ok());
        assert!(matches!(ended(second), Err(JoinError::Cancelled)));
    }
}

#[test]
fn many_submit_at_once() {
    for limit in [None, Some(1), Some(7)] {
        let mut builder = builder(3);
        if let Some(limit) = limit {
            builder = builder.queue_limit(limit);
        }
        let pool = builder.build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..500 {
                        let n = thread * 1000 + n;
                        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
                    }
                });
            }
            for _ in 0..1000 {
                assert!(consistent(&pool.stats()));
            }
        });
        assert_eq!(pool.stats().done, 2000);
    }
}
