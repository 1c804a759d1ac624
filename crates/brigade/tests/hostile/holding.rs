//! What workers can make their host hold: results that nobody has asked for yet.

use std::fs::File;
use std::time::Duration;

use brigade::{Descriptor, JoinError, JoinHandle, Pool};

use crate::alone;

/// What this program may have.
const DESCRIPTORS: u64 = 512;
/// Of one result.
const EACH: usize = 50;
/// So large that it does not go through the mailbox.
const LARGE: usize = 40_000;

fn limit_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both write or read one `rlimit`, which is ours.
    let set = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = DESCRIPTORS;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(set, 0);
}

fn count_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn null() -> File {
    File::open("/dev/null").expect("a descriptor")
}

fn give_many(count: usize) -> Vec<Descriptor<File>> {
    (0..count).map(|_| Descriptor::from(null())).collect()
}

fn give_large(n: usize) -> Vec<u64> {
    vec![n as u64; LARGE / 8]
}

/// Until all have ended, and their results were taken from their workers; nobody has asked for one.
fn all_end<R>(handles: &[JoinHandle<R>]) {
    while !handles.iter().all(JoinHandle::is_finished) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "run by the one below, alone in a program of its own, whose limits it changes"]
fn inside_a_program_that_is_given_descriptors() {
    brigade::init();
    limit_descriptors();
    let pool = Pool::processes(2).expect("a pool");
    for _ in 0..3 {
        let before = count_descriptors();
        let handles: Vec<_> = (0..40).map(|_| pool.submit(give_many, EACH)).collect();
        all_end(&handles);
        // The other half is the program's own.
        let held = count_descriptors() - before;
        assert!(held <= DESCRIPTORS as usize / 2, "{held}");
        let own: Vec<_> = (0..100).map(|_| null()).collect();
        drop(own);
        let mut arrived = 0;
        for handle in handles {
            match handle.join() {
                Ok(given) => {
                    assert_eq!(given.len(), EACH);
                    arrived += 1;
                }
                Err(JoinError::Undeliverable(why)) => {
                    assert!(
                        why.contains("50 descriptors") && why.contains("256"),
                        "{why}"
                    );
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(arrived, 5);
        // What was asked for is counted no more.
        assert_eq!(
            pool.submit(give_many, EACH)
                .join()
                .expect("it arrives")
                .len(),
            EACH
        );
    }
    assert_eq!(pool.stats().restarts, 0);
}

#[test]
fn results_that_nobody_asks_for_leave_the_program_half_of_its_descriptors() {
    alone("holding::inside_a_program_that_is_given_descriptors");
}

#[test]
#[ignore = "run by the one below"]
fn inside_a_program_that_is_given_large_results() {
    brigade::init();
    limit_descriptors();
    let pool = Pool::processes(2).expect("a pool");
    let handles: Vec<_> = (0..1000).map(|n| pool.submit(give_large, n)).collect();
    all_end(&handles);
    assert!(count_descriptors() < DESCRIPTORS as usize * 3 / 4);
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.join().expect("it arrives"), give_large(n));
    }
}

#[test]
fn large_results_arrive_however_many_wait() {
    alone("holding::inside_a_program_that_is_given_large_results");
}
