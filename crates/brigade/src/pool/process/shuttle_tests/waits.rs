//! Callers that wait, together, in executors, or not at all.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{
    DEADLY, QUIET, check, deed, in_threads, is_a_death, joined, model, pool, submitted, together,
};
use crate::sim::shuttle_os::{one_in, pause, thread as parking};
use crate::worker::process::doubles::model::worker::Deed;
use crate::{JoinError, JoinHandle};

#[test]
fn shuttle_tasks_of_several_threads_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        in_threads(2, |n| {
            let deeds = (3 * n..3 * n + 3).map(Deed::Double);
            joined(server, submitted(&pool, deeds), |_, end| end.is_ok());
        });
        let stats = pool.stats();
        assert_eq!((stats.done, stats.queued, stats.running), (6, 0, 0));
        drop(pool);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_others_join_what_one_has_submitted() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let mut first = submitted(&pool, (0..5).map(Deed::Double));
        let second = first.split_off(2);
        together(vec![
            Box::new(|| joined(server, first, |_, end| end.is_ok())),
            Box::new(|| joined(server, second, |_, end| end.is_ok())),
        ]);
    });
}

#[test]
fn shuttle_one_worker_and_many_callers() {
    model(QUIET, |server| {
        let pool = pool(1).build().expect("no reason not to");
        in_threads(3, |n| {
            let deeds = [Deed::Plod(2 * n), Deed::Double(2 * n + 1)];
            joined(server, submitted(&pool, deeds), |_, end| end.is_ok());
        });
    });
}

#[test]
fn shuttle_a_full_queue_is_waited_for() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(1).queue_limit(1).build() else {
                return;
            };
            together(
                (0..2)
                    .map(|n| -> Box<dyn FnOnce() + Send + '_> {
                        let pool = &pool;
                        Box::new(move || {
                            let deeds = (3 * n..3 * n + 3).map(Deed::Double);
                            joined(server, submitted(pool, deeds), |_, end| {
                                end.is_ok() || fate.deaths > 0 && is_a_death(end)
                            });
                        })
                    })
                    .chain([Box::new(|| {
                        let n = Deed::Double(7);
                        match pool.try_submit(deed, n) {
                            Ok(handle) => check(server, n, &handle.join(), 0),
                            Err(back) => assert_eq!(back, n),
                        }
                    }) as Box<dyn FnOnce() + Send + '_>])
                    .collect(),
            );
        });
    }
}

#[test]
fn shuttle_waits_that_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        in_threads(2, |n| {
            for (deed, mut handle) in submitted(&pool, [Deed::Plod(2 * n), Deed::Double(2 * n + 1)])
            {
                let end = loop {
                    match handle.join_timeout(Duration::from_millis(100)) {
                        Ok(end) => break end,
                        Err(back) => handle = back,
                    }
                };
                check(server, deed, &end, 0);
                assert!(end.is_ok());
            }
        });
    });
}

struct Unpark(parking::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a handle as an executor does.
fn awaited(mut handle: JoinHandle<u64>) -> Result<u64, JoinError> {
    let waker = Waker::from(Arc::new(Unpark(parking::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match Future::poll(std::pin::Pin::new(&mut handle), &mut context) {
            Poll::Ready(end) => return end,
            Poll::Pending => parking::park(),
        }
    }
}

#[test]
fn shuttle_futures_are_woken() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(2).build() else { return };
            together(vec![
                Box::new(|| {
                    for (deed, handle) in submitted(&pool, (0..3).map(Deed::Double)) {
                        check(server, deed, &awaited(handle), 0);
                    }
                }),
                Box::new(|| {
                    joined(
                        server,
                        submitted(&pool, (3..5).map(Deed::Plod)),
                        |_, end| end.is_ok() || fate.deaths > 0 && is_a_death(end),
                    );
                }),
            ]);
        });
    }
}

#[test]
fn shuttle_who_does_not_wait_is_served() {
    // No caller waits for the first ones, and there are more than their workers are given at first.
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        for n in 0..12 {
            drop(pool.submit(deed, Deed::Double(n)));
        }
        while one_in(2) {
            pause();
        }
        drop(pool);
        assert!((0..12).all(|n| server.ran(n) == 1));
    });
}

#[test]
fn shuttle_who_never_waits_is_served() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        for n in 0..12 {
            drop(pool.submit(deed, Deed::Double(n)));
        }
        while !(0..12).all(|n| server.ran(n) == 1) {
            pause();
        }
    });
}
