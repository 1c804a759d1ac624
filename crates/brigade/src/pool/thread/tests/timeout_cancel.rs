use super::*;
use crate::JoinError;
use crate::pool::Backend;

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn what_was_not_started_never_starts() {
    let pool = threads(1);
    for _ in 0..OFTEN {
        let door = DOORS.make();
        let running = pool.submit(pass, door);
        let queued = pool.submit(|()| raise(0), ());
        queued.cancel();
        assert!(queued.is_finished());
        assert!(matches!(ended(queued), Err(JoinError::Cancelled)));
        DOORS.open(door);
        assert!(ended(running).is_ok());
    }
    pool.shutdown();
    assert!(!is_raised(0));
}

#[test]
fn those_that_were_cancelled_take_up_no_room() {
    let pool = threads(1);
    let door = DOORS.make();
    let running = pool.submit(pass, door);
    let others: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
    for n in 0..20_000 {
        pool.submit(double, n).cancel();
    }
    let Backend::Thread(threads) = &pool.backend else {
        unreachable!("it was asked for threads")
    };
    assert!(threads.queue_len() < 3000, "{}", threads.queue_len());
    DOORS.open(door);
    assert!(ended(running).is_ok());
    for (n, other) in others.into_iter().enumerate() {
        assert_eq!(ended(other).unwrap(), n as u64 * 2);
    }
}

#[test]
fn what_runs_is_let_go_and_its_thread_replaced() {
    let pool = threads(1);
    for n in 1..=20 {
        let door = DOORS.make();
        let running = pool.submit(pass, door);
        until("its start", || pool.stats().running == 1);
        running.cancel();
        assert!(running.is_finished());
        assert_eq!(pool.stats().cancelled, n);
        assert!(matches!(ended(running), Err(JoinError::Cancelled)));
        // The pool has a thread.
        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
        assert_eq!(pool.stats().restarts, n);
        DOORS.open(door);
    }
}

#[test]
fn a_task_ends_once_whoever_is_first() {
    let pool = threads(2);
    let mut ends = [0_u64; 2];
    for n in 0..2000 {
        let handle = pool.submit(double, n);
        if n % 3 == 0 {
            std::thread::yield_now();
        }
        handle.cancel();
        match ended(handle) {
            Ok(result) => {
                assert_eq!(result, n * 2);
                ends[0] += 1;
            }
            Err(JoinError::Cancelled) => ends[1] += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    let stats = pool.stats();
    assert_eq!([stats.done, stats.cancelled], ends);
    assert!(consistent(&stats));
}

#[test]
fn over_its_time_it_is_let_go() {
    let pool = builder(2).timeout(SHORT).build().unwrap();
    let doors: Vec<_> = (0..6).map(|_| DOORS.make()).collect();
    let handles: Vec<_> = doors.iter().map(|door| pool.submit(pass, *door)).collect();
    for handle in handles {
        let error = ended(handle).unwrap_err();
        assert!(
            matches!(&error, JoinError::TimedOut(over) if over.after() == SHORT),
            "{error:?}"
        );
    }
    // Those that begin while the timeout monitor sleeps.
    for n in 0..50 {
        assert_eq!(ended(pool.submit(double, n)).unwrap(), n * 2);
    }
    let stats = pool.stats();
    assert_eq!((stats.timed_out, stats.restarts, stats.done), (6, 6, 50));
    doors.into_iter().for_each(|door| DOORS.open(door));
    pool.shutdown();
}

#[test]
fn shutdown_ends_what_runs_over_its_time() {
    let pool = builder(2).timeout(SHORT).build().unwrap();
    let door = DOORS.make();
    let handles: Vec<_> = (0..5).map(|_| pool.submit(pass, door)).collect();
    pool.shutdown();
    for handle in handles {
        assert!(handle.is_finished());
        assert!(matches!(ended(handle), Err(JoinError::TimedOut(_))));
    }
    DOORS.open(door);
}

#[test]
fn a_task_is_tried_again_on_the_same_input() {
    static TRIES: AtomicU64 = AtomicU64::new(0);
    fn third_time(door: (u64, String)) -> String {
        if TRIES.fetch_add(1, Ordering::SeqCst) < 2 {
            pass(door.0);
        }
        door.1
    }
    let pool = builder(1).timeout(SHORT).retries(2).build().unwrap();
    let door = DOORS.make();
    let handle = pool.submit(third_time, (door, "it".to_owned()));
    assert_eq!(ended(handle).unwrap(), "it");
    let stats = pool.stats();
    assert_eq!(
        (stats.retried, stats.restarts, stats.done, stats.timed_out),
        (2, 2, 1, 0)
    );
    // And not for ever.
    let handle = pool.submit(pass, door + (1 << 32));
    assert!(matches!(ended(handle), Err(JoinError::TimedOut(_))));
    let stats = pool.stats();
    assert_eq!((stats.retried, stats.timed_out), (4, 1));
    assert!(consistent(&stats));
    DOORS.open(door);
    DOORS.open(door + (1 << 32));
}

#[test]
fn what_was_let_go_ends_nothing_twice() {
    let pool = builder(2)
        .timeout(Duration::from_millis(2))
        .build()
        .unwrap();
    for round in 0..100 {
        let (door, mut ends) = (DOORS.make(), 0);
        let handles: Vec<_> = (0..3).map(|_| pool.submit(pass, door)).collect();
        // About when its time is over.
        if round % 2 == 0 {
            crate::sys::futex::rest(Duration::from_micros(1900));
        }
        DOORS.open(door);
        for handle in handles {
            match ended(handle) {
                Ok(_) | Err(JoinError::TimedOut(_)) => ends += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(ends, 3);
    }
    let stats = pool.stats();
    assert_eq!(stats.done + stats.timed_out, 300);
    assert_eq!(stats.restarts, stats.timed_out);
    assert!(consistent(&stats));
}
