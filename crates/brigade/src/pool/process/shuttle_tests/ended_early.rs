//! Tasks that are cancelled, or run over their time; pools that are dropped or aborted.

use std::sync::Arc;
use std::time::Duration;

use super::{
    DEADLY, PATROLLED, QUIET, cancelled_or, check, deed, is_a_death, joined, model, pool,
    submitted, together,
};
use crate::JoinError;
use crate::sim::shuttle_os::pause;
use crate::worker::process::doubles::model::fork_server::Fate;
use crate::worker::process::doubles::model::worker::Deed;

#[test]
fn shuttle_cancelled_tasks_end() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4, 5].map(|n| match n {
            1 | 4 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        let handles = submitted(&pool, deeds);
        for (deed, handle) in &handles {
            if !matches!(deed, Deed::Double(0 | 5)) {
                handle.cancel();
            }
        }
        joined(server, handles, |deed, end| match deed {
            Deed::Double(0 | 5) => end.is_ok(),
            Deed::Hang(_) => matches!(end, Err(JoinError::Cancelled)),
            _ => cancelled_or(end),
        });
    });
}

#[test]
fn shuttle_one_joins_what_another_cancels() {
    model(QUIET, |server| {
        let pool = pool(1).build().expect("no reason not to");
        let cancelled = [0, 1].map(|n| Arc::new(pool.submit(deed, Deed::Hang(n))));
        let others = submitted(&pool, (2..5).map(Deed::Double));
        let [first, second] = &cancelled;
        together(vec![
            Box::new(|| {
                first.cancel();
                second.cancel();
            }),
            Box::new(|| {
                while !first.is_finished() || !second.is_finished() {
                    pause();
                }
            }),
            Box::new(|| joined(server, others, |_, end| end.is_ok())),
        ]);
        for handle in cancelled {
            let handle = Arc::try_unwrap(handle).expect("the last");
            assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        }
    });
}

#[test]
fn shuttle_cancels_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        let handles = submitted(&pool, (0..6).map(Deed::Plod));
        for (_, handle) in handles.iter().skip(1).step_by(2) {
            handle.cancel();
        }
        joined(server, handles, |_, end| {
            cancelled_or(end) || is_a_death(end)
        });
    });
}

#[test]
fn shuttle_what_takes_too_long_ends() {
    model(PATROLLED, |server| {
        let pool = pool(2).timeout(Duration::from_millis(30)).build();
        let Ok(pool) = pool else { return };
        let deeds = [0, 1, 2, 3].map(|n| match n {
            1 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match end {
            Ok(_) => deed != Deed::Hang(1),
            Err(JoinError::TimedOut(_)) => true,
            _ => false,
        });
    });
}

#[test]
fn shuttle_what_takes_too_long_is_retried() {
    let fate = Fate {
        slow: true,
        ..DEADLY
    };
    model(fate, |server| {
        let pool = pool(2)
            .timeout(Duration::from_millis(30))
            .retries(1)
            .build();
        let Ok(pool) = pool else { return };
        let deeds = [0, 1, 2].map(|n| match n {
            1 => Deed::Hang(n),
            _ => Deed::Double(n),
        });
        for (deed, handle) in submitted(&pool, deeds) {
            let end = handle.join();
            check(server, deed, &end, 1);
        }
    });
}

#[test]
fn shuttle_a_dropped_pool_finishes_first() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let handles = submitted(&pool, (0..4).map(Deed::Plod));
        together(vec![
            Box::new(move || drop(pool)),
            Box::new(|| joined(server, handles, |_, end| end.is_ok())),
        ]);
        assert_eq!(server.living(), 0);
        assert!((0..4).all(|n| server.ran(n) == 1));
    });
}

#[test]
fn shuttle_a_dropped_pool_finishes_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        let handles = submitted(&pool, (0..4).map(Deed::Plod));
        together(vec![
            Box::new(move || drop(pool)),
            Box::new(|| {
                joined(server, handles, |_, end| end.is_ok() || is_a_death(end));
            }),
        ]);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_an_aborted_pool_ends_all() {
    for fate in [QUIET, DEADLY] {
        model(fate, move |server| {
            let Ok(pool) = pool(2).build() else { return };
            let deeds = [0, 1, 2, 3, 4].map(|n| match n {
                1 | 2 => Deed::Hang(n),
                _ => Deed::Double(n),
            });
            let handles = submitted(&pool, deeds);
            together(vec![
                Box::new(move || pool.abort()),
                Box::new(|| {
                    joined(server, handles, |_, end| {
                        cancelled_or(end) || fate.deaths > 0 && is_a_death(end)
                    });
                }),
            ]);
            assert_eq!(server.living(), 0);
        });
    }
}
