//! States whose configuration is large: encoded once, and decoded in each worker.

use std::fs;
use std::path::Path;

use brigade::pool::StatePool;
use brigade::{Kind, Pool};
use brigade_test_support::doorbell::Doorbell;

use crate::{both, crash_of, join, kill, processes, rings_for_ever};

/// Numbers that say where they lie.
fn table(len: u64) -> Vec<u64> {
    (0..len).map(|n| n * n).collect()
}

fn pool_of(kind: Kind, workers: usize, len: u64) -> StatePool<Vec<u64>> {
    let pool = Pool::builder(kind).workers(workers);
    let pool = pool.state(|table: Vec<u64>| table, table(len));
    pool.build().expect("a pool")
}

#[expect(clippy::ptr_arg, reason = "the state is a vector")]
fn look(table: &Vec<u64>, n: u64) -> (usize, u64) {
    (table.len(), table.get(n as usize).copied().unwrap_or(0))
}

/// That each of so many tasks finds all of the table.
fn is_whole(pool: &StatePool<Vec<u64>>, len: u64) {
    let last = len.saturating_sub(1);
    for found in pool.map(look, (0..100).map(|_| last)) {
        let expected = (len as usize, if len == 0 { 0 } else { last * last });
        assert_eq!(found.expect("returns"), expected);
    }
}

#[test]
fn a_configuration_of_any_size_arrives_as_it_was() {
    both(|kind| {
        // Within what a worker is told, at its border, and beyond: up to 8 MB.
        for len in [0, 10, 1_000, 1_020, 1_024, 1_030, 100_000, 1_000_000] {
            let pool = pool_of(kind, 2, len);
            is_whole(&pool, len);
        }
    });
}

#[test]
fn a_worker_that_comes_later_has_it_too() {
    processes(|| {
        const LEN: u64 = 500_000;
        let pool = pool_of(Kind::Process, 1, LEN);
        for _ in 0..3 {
            let bell = Doorbell::new().expect("a bell");
            let endless = pool.submit(|_: &Vec<u64>, door| rings_for_ever(door), bell.name());
            bell.await_ring().expect("it runs");
            kill(endless.pid().expect("it runs"));
            crash_of(join(endless));
            is_whole(&pool, LEN);
        }
        pool.pool().resize(3).expect("two more");
        is_whole(&pool, LEN);
        assert_eq!(pool.pool().stats().restarts, 3);
    });
}

#[test]
fn text_and_nested_values_are_configurations_too() {
    both(|kind| {
        let pages: Vec<(String, Option<u32>)> = (0..20_000)
            .map(|n| (format!("page {n} ").repeat(n as usize % 7), Some(n)))
            .collect();
        let pool = Pool::builder(kind).workers(2);
        let pool = pool
            .state(|pages: Vec<(String, Option<u32>)>| pages, pages.clone())
            .build()
            .expect("a pool");
        let looked = pool.map(
            |pages: &Vec<(String, Option<u32>)>, n: usize| pages[n].clone(),
            (0..20_000).step_by(97),
        );
        for (n, page) in (0..20_000).step_by(97).zip(looked) {
            assert_eq!(page.expect("returns"), pages[n]);
        }
    });
}

/// The files of a directory, and how long they are.
fn files(dir: &Path) -> Vec<(String, u64)> {
    fs::read_dir(dir)
        .expect("is there")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().expect("is there").len())
        })
        .collect()
}

#[test]
fn crash_files_keep_it_once() {
    processes(|| {
        const LEN: u64 = 200_000;
        let name = format!("brigade-large-state-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let pool = Pool::builder(Kind::Process).workers(1);
        let pool = pool.keep_crashes(&dir);
        let pool = pool.state(|table: Vec<u64>| table, table(LEN));
        let pool = pool.build().expect("a pool");
        for _ in 0..3 {
            let crash = crash_of(join(
                pool.submit(|_: &Vec<u64>, ()| -> u64 { std::process::abort() }, ()),
            ));
            let text = fs::read_to_string(crash.file().expect("a file")).expect("is text");
            assert!(text.contains("\nstate: context-"), "{text}");
            assert!(text.len() < 100_000, "the state is not in it");
        }
        let files = files(&dir);
        let kept: Vec<_> = files
            .iter()
            .filter(|(name, _)| name.starts_with("context-"))
            .collect();
        assert_eq!(kept.len(), 1, "{files:?}");
        assert!(kept[0].1 > LEN, "{files:?}");
        drop(pool);
        fs::remove_dir_all(dir).expect("removed");
    });
}
