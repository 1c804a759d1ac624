use std::sync::atomic::AtomicUsize;

use super::*;
use crate::JoinError;

#[test]
fn an_initializer_runs_once_in_every_thread_before_its_first_task() {
    thread_local! {
        static RUNS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    let initializer = || RUNS.with(|runs| runs.set(runs.get() + 1));
    let pool = builder(3)
        .initializer(initializer)
        .recycle_after(10)
        .build()
        .unwrap();
    for result in pool.map(|()| RUNS.with(std::cell::Cell::get), (0..500).map(|_| ())) {
        assert_eq!(result.unwrap(), 1);
    }
}

#[test]
fn an_initializer_that_panics_is_an_error_of_build() {
    for workers in [1, 3] {
        for _ in 0..20 {
            let error = builder(workers)
                .name("bob")
                .initializer(|| panic!("no licence"))
                .build()
                .unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::Other);
            assert!(error.to_string().contains("no licence"), "{error}");
            let source = std::error::Error::source(&error).unwrap();
            let panicked = source.downcast_ref::<JoinError>().unwrap();
            assert!(matches!(panicked, JoinError::Panicked(_)), "{panicked:?}");
        }
    }
}

#[test]
fn initializers_that_panic_later_refuse_tasks_and_may_come_round() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let pool = builder(2)
        .initializer(|| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            assert!(!BROKEN.load(Ordering::SeqCst), "broken");
        })
        .build()
        .unwrap();
    for _ in 0..3 {
        let door = DOORS.make();
        let running: Vec<_> = (0..2).map(|_| pool.submit(pass, door)).collect();
        until("both at work", || pool.stats().running == 2);
        BROKEN.store(true, Ordering::SeqCst);
        CALLS.store(0, Ordering::SeqCst);
        let queued: Vec<_> = (0..5).map(|n| pool.submit(double, n)).collect();
        running.iter().for_each(JoinHandle::cancel);
        for handle in queued {
            let error = ended(handle).unwrap_err();
            assert!(error.to_string().contains("broken"), "{error}");
        }
        assert!(CALLS.load(Ordering::SeqCst) <= 20);
        BROKEN.store(false, Ordering::SeqCst);
        DOORS.open(door);
        // A try that began before may still fail.
        until("a thread", || ended(pool.submit(double, 4)).is_ok());
    }
    assert!(consistent(&pool.stats()));
}

/// An input whose destructor waits before a door.
#[derive(serde::Serialize, serde::Deserialize)]
struct Lingers(u64);

impl Drop for Lingers {
    fn drop(&mut self) {
        pass(self.0);
    }
}

#[test]
fn who_refuses_tasks_leaves_alone_what_comes_later() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    static GONE: AtomicUsize = AtomicUsize::new(0);
    struct Thread;
    impl Drop for Thread {
        fn drop(&mut self) {
            GONE.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local!(static THREAD: Thread = const { Thread });
    let pool = builder(1)
        .initializer(|| {
            THREAD.with(|_| {});
            assert!(!BROKEN.load(Ordering::SeqCst), "broken");
        })
        .build()
        .unwrap();
    let [first, lingering, second] = [(); 3].map(|()| DOORS.make());
    let running = pool.submit(pass, first);
    until("it runs", || pool.stats().running == 1);
    BROKEN.store(true, Ordering::SeqCst);
    let refused = pool.submit(|_: Lingers| (), Lingers(lingering));
    running.cancel();
    assert!(ended(refused).is_err());
    // The thread that has refused it is still at that.
    BROKEN.store(false, Ordering::SeqCst);
    let running = pool.submit(pass, second);
    until("it runs", || pool.stats().running == 1);
    let later = pool.submit(double, 4);
    DOORS.open(lingering);
    until("all that failed are gone", || {
        GONE.load(Ordering::SeqCst) == 3
    });
    DOORS.open(second);
    assert_eq!(ended(running).unwrap(), second);
    assert_eq!(ended(later).unwrap(), 8);
    DOORS.open(first);
}

#[test]
fn a_thread_is_replaced_after_so_many_tasks() {
    let pool = builder(2).recycle_after(3).build().unwrap();
    for n in 0..100 {
        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
    }
    let results = pool.map(double, 0..1000).map(Result::unwrap);
    assert!(results.eq((0..1000).map(double)));
    let stats = pool.stats();
    assert!(stats.recycled >= 1100 / 3 - 2, "{stats:?}");
    assert_eq!((stats.done, stats.restarts), (1100, 0));
    pool.shutdown();
}

#[test]
fn threads_have_names() {
    let name = |()| std::thread::current().name().map(str::to_owned);
    let pool = threads(1);
    assert_eq!(
        ended(pool.submit(name, ())).unwrap().as_deref(),
        Some("brigade-pool")
    );
    let pool = builder(1).name("carol").build().unwrap();
    assert_eq!(
        ended(pool.submit(name, ())).unwrap().as_deref(),
        Some("carol")
    );
    assert!(builder(1).name("a\0b").build().is_err());
}
