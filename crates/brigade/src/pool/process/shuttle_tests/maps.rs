//! Maps, of several threads, amid deaths, and dropped.

use super::{DEADLY, QUIET, check, deed, is_a_death, joined, model, pool, submitted, together};
use crate::Pool;
use crate::worker::process::doubles::ForkServerClient;
use crate::worker::process::doubles::model::worker::Deed;

#[test]
fn shuttle_a_map_gives_each_result_in_order() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let results = pool.map(deed, (0..7).map(Deed::Double));
        let values: Vec<u64> = results.map(|r| r.expect("no reason not to")).collect();
        assert_eq!(values, [0, 2, 4, 6, 8, 10, 12]);
        assert!((0..7).all(|n| server.ran(n) == 1));
    });
}

pub(super) fn unordered(
    server: &ForkServerClient,
    pool: &Pool,
    deeds: std::ops::Range<u64>,
    deaths: bool,
) {
    let first = deeds.start;
    let mut seen = vec![false; deeds.clone().count()];
    for (index, end) in pool.map_unordered(deed, deeds.map(Deed::Double)) {
        assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
        check(server, Deed::Double(first + index as u64), &end, 0);
        assert!(end.is_ok() || deaths && is_a_death(&end), "{end:?}");
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
}

#[test]
fn shuttle_maps_of_several_threads_give_each_result_once() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        together(vec![
            Box::new(|| unordered(server, &pool, 0..5, false)),
            Box::new(|| unordered(server, &pool, 5..10, false)),
        ]);
    });
}

#[test]
fn shuttle_a_map_amid_deaths() {
    model(DEADLY, |server| {
        let Ok(pool) = pool(2).build() else { return };
        together(vec![
            Box::new(|| unordered(server, &pool, 0..6, true)),
            Box::new(|| {
                joined(server, submitted(&pool, [Deed::Double(6)]), |_, end| {
                    end.is_ok() || is_a_death(end)
                });
            }),
        ]);
    });
}

#[test]
fn shuttle_a_map_is_dropped() {
    model(QUIET, |server| {
        let pool = pool(2).build().expect("no reason not to");
        let mut results = pool.map_unordered(deed, (0..8).map(Deed::Double));
        let (index, end) = results.next().expect("the first");
        check(server, Deed::Double(index as u64), &end, 0);
        together(vec![
            Box::new(move || drop(results)),
            Box::new(|| {
                joined(server, submitted(&pool, [Deed::Double(9)]), |_, e| {
                    e.is_ok()
                })
            }),
        ]);
        drop(pool);
        assert!((0..8).all(|n| server.ran(n) <= 1));
    });
}
