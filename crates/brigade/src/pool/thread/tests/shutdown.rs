use super::*;
use crate::JoinError;

#[test]
fn shutdown_finishes_what_was_accepted() {
    for workers in [1, 2, 4] {
        for _ in 0..OFTEN / 4 {
            let pool = threads(workers);
            let handles: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
            pool.shutdown();
            for (n, handle) in handles.into_iter().enumerate() {
                assert!(handle.is_finished());
                assert_eq!(handle.join().unwrap(), n as u64 * 2);
            }
        }
    }
}

#[test]
fn a_pool_that_did_nothing_ends() {
    for _ in 0..OFTEN {
        drop(threads(2));
    }
    for _ in 0..OFTEN / 4 {
        drop(
            builder(2)
                .timeout(Duration::from_secs(3600))
                .build()
                .unwrap(),
        );
    }
}

#[test]
fn abort_cancels_everything_at_once() {
    for _ in 0..OFTEN {
        let pool = builder(2)
            .timeout(Duration::from_secs(3600))
            .build()
            .unwrap();
        let door = DOORS.make();
        let handles: Vec<_> = (0..10).map(|_| pool.submit(pass, door)).collect();
        pool.abort();
        for handle in handles {
            assert!(handle.is_finished());
            assert!(matches!(ended(handle), Err(JoinError::Cancelled)));
        }
        DOORS.open(door);
    }
}

#[test]
fn abort_amid_short_tasks_ends_each_once() {
    for _ in 0..OFTEN {
        let pool = threads(2);
        let handles: Vec<_> = (0..200).map(|n| pool.submit(double, n)).collect();
        pool.abort();
        for (n, handle) in handles.into_iter().enumerate() {
            match ended(handle) {
                Ok(result) => assert_eq!(result, n as u64 * 2),
                Err(JoinError::Cancelled) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_map_that_was_forgotten_is_no_burden() {
    let pool = threads(2);
    let mut map = Box::new(pool.map(double, 0..1_000_000));
    assert_eq!(map.next().unwrap().unwrap(), 0);
    Box::leak(map);
}

#[test]
fn numbers_account_for_every_task() {
    let pool = builder(2)
        .timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let door = DOORS.make();
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut last = pool.stats();
            while last.submitted < 3000 || last.queued + last.running > 0 {
                let stats = pool.stats();
                assert!(consistent(&stats), "{stats:?}");
                assert!(stats.done >= last.done && stats.submitted >= last.submitted);
                assert!(stats.running <= 2, "{stats:?}");
                last = stats;
            }
        });
        for n in 0..3000_u64 {
            let handle = match n % 100 {
                0 => pool.submit(|_| panic!("as it should"), n),
                1 if n < 500 => pool.submit(pass, door),
                _ => pool.submit(double, n),
            };
            if n % 7 == 0 {
                handle.cancel();
            }
        }
        watch.join().unwrap();
    });
    DOORS.open(door);
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.done + stats.failed());
    assert_eq!(stats.latencies.count(), 3000);
}
