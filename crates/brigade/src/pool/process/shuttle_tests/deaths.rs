//! Workers that die, leave, or do not come.

use super::maps::unordered;
use super::{
    DEADLY, QUIET, cancelled_or, check, in_threads, is_a_death, joined, model, pool, submitted,
    together,
};
use crate::JoinError;
use crate::worker::process::doubles::model::fork_server::Fate;
use crate::worker::process::doubles::model::worker::Deed;

#[test]
fn shuttle_deaths_cost_what_ran() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        in_threads(2, |n| {
            let deeds = (3 * n..3 * n + 3).map(Deed::Double);
            joined(server, submitted(&pool, deeds), |_, end| {
                end.is_ok() || is_a_death(end)
            });
        });
        drop(pool);
        assert_eq!(server.living(), 0);
    });
}

#[test]
fn shuttle_one_deadly_task_costs_itself() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4].map(|n| match n {
            1 => Deed::Die(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match deed {
            Deed::Die(_) => matches!(end, Err(JoinError::Crashed(_))),
            _ => end.is_ok(),
        });
        assert_eq!(server.ran(1), 1);
    });
}

#[test]
fn shuttle_who_talks_nonsense_is_ended() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3, 4].map(|n| match n {
            1 => Deed::Garble(n),
            _ => Deed::Double(n),
        });
        joined(server, submitted(&pool, deeds), |deed, end| match deed {
            Deed::Garble(_) => matches!(end, Err(JoinError::Crashed(_))),
            // Its worker may have gone on to this one.
            _ => end.is_ok() || is_a_death(end),
        });
        assert!(server.ran(1) == 1 && (0..5).all(|n| server.ran(n) <= 1));
    });
}

#[test]
fn shuttle_what_is_retried_ends_well() {
    model(QUIET, |server| {
        let pool = pool(2).retries(1).build().expect("no reason not to");
        let deeds = [0, 1, 2, 3].map(|n| match n {
            1 => Deed::DieOnce(n),
            3 => Deed::Die(n),
            _ => Deed::Double(n),
        });
        for (deed, handle) in submitted(&pool, deeds) {
            let end = handle.join();
            check(server, deed, &end, 1);
            assert_eq!(end.is_ok(), deed != Deed::Die(3));
        }
        assert_eq!(
            [0, 1, 2, 3].map(|n| server.ran(n)),
            [1, 2, 1, 2],
            "each as often as it had to"
        );
        let stats = pool.stats();
        assert_eq!((stats.done, stats.retried), (3, 2));
    });
}

#[test]
fn shuttle_retries_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).retries(2).build() else {
            return;
        };
        for (deed, handle) in submitted(&pool, (0..5).map(Deed::Double)) {
            let end = handle.join();
            check(server, deed, &end, 2);
        }
    });
}

#[test]
fn shuttle_workers_that_leave_are_replaced() {
    for after in [1, 2] {
        model(QUIET, move |server| {
            let pool = pool(2).recycle_after(after).build();
            let pool = pool.expect("no reason not to");
            together(vec![
                Box::new(|| {
                    joined(
                        server,
                        submitted(&pool, (0..5).map(Deed::Double)),
                        |_, e| e.is_ok(),
                    );
                }),
                Box::new(|| unordered(server, &pool, 5..8, false)),
            ]);
            assert!((0..8).all(|n| server.ran(n) == 1));
        });
    }
}

#[test]
fn shuttle_workers_that_leave_amid_deaths_and_cancels() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).recycle_after(2).build() else {
            return;
        };
        let handles = submitted(&pool, (0..6).map(Deed::Double));
        handles[2].1.cancel();
        joined(server, handles, |_, end| {
            cancelled_or(end) || is_a_death(end)
        });
    });
}

#[test]
fn shuttle_workers_that_do_not_come() {
    let fate = Fate {
        unready: 4,
        unmade: 4,
        ..DEADLY
    };
    model(fate, |server| {
        let Ok(pool) = pool(2).build() else { return };
        joined(
            server,
            submitted(&pool, (0..5).map(Deed::Double)),
            |_, end| end.is_ok() || is_a_death(end),
        );
    });
}
