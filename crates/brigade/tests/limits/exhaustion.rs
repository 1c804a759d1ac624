//! A worker that takes all it can get takes it from itself.

use std::time::{Duration, Instant};

use brigade::process::{Builder, Limit, limited_by};
use brigade::{Kind, Pool};
use libtest_mimic::Trial;

use crate::{LIMIT, MIB};

pub(crate) fn trials() -> Vec<Trial> {
    trials![the_program_answers_while_a_worker_exhausts_everything]
}

/// Forks for ever, in each process that comes of it, and takes memory in each.
fn exhaust((): ()) {
    loop {
        // SAFETY: what a child does is system calls: they map memory of its own, which nothing
        // refers to.
        unsafe {
            libc::fork();
            let (access, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
            );
            libc::mmap(std::ptr::null_mut(), MIB as usize, access, flags, -1, 0);
        }
    }
}

fn the_program_answers_while_a_worker_exhausts_everything() {
    if ![Limit::Memory, Limit::Processes]
        .map(limited_by)
        .iter()
        .all(|by| by.is_enforced())
    {
        return;
    }
    let limited = Builder::new().memory_limit(64 * MIB).processes_limit(24);
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .build()
        .expect("a pool");
    // For a second each, without and with it.
    let (alone, _) = longest_answer(&pool, &mut || 0);
    let mut bomb = limited.spawn(exhaust, ()).expect("a worker");
    let (beside, ends) = longest_answer(&pool, &mut || {
        if !bomb.is_finished() {
            return 0;
        }
        bomb = limited.spawn(exhaust, ()).expect("a worker");
        1
    });
    bomb.cancel();
    assert!(bomb.join().is_err());
    println!("the longest answer took {alone:?}, and {beside:?} while {ends} such workers ended");
    assert!(beside < LIMIT, "{beside:?}");
    assert_eq!(pool.stats().restarts, 0);
}

fn longest_answer(pool: &Pool, meanwhile: &mut dyn FnMut() -> u32) -> (Duration, u32) {
    let begun = Instant::now();
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while begun.elapsed() < Duration::from_secs(1) {
        count += meanwhile();
        let asked = Instant::now();
        assert_eq!(pool.submit(|n: u32| n + 1, 1).join().expect("an answer"), 2);
        longest = longest.max(asked.elapsed());
    }
    (longest, count)
}
