//! What a worker tells is nonsense, or it dies while it is asked.

use std::time::Duration;

use brigade::{JoinError, Kind, Pool};

use crate::{join, tasks, timed, timeout_of};

/// The last page of this worker's mailbox, where it notes its calls.
fn record() -> &'static mut [u64] {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
    let mailbox = maps.lines().find(|line| line.contains("brigade-mailbox"));
    let range = mailbox
        .and_then(|line| line.split_once(' '))
        .expect("mapped")
        .0;
    let end = range.split_once('-').expect("a range").1;
    let end = usize::from_str_radix(end, 16).expect("an address");
    // SAFETY: the page is mapped for as long as the worker lives; that others write there too is
    // what this is about.
    unsafe { std::slice::from_raw_parts_mut((end - 4096) as *mut u64, 512) }
}

/// Has another thread write over what this one tells.
fn scribbles(word: u64) {
    std::thread::spawn(move || {
        loop {
            for (at, into) in record().iter_mut().enumerate() {
                let value = word.wrapping_add(at as u64);
                // SAFETY: as in `record`.
                unsafe { std::ptr::from_mut(into).write_volatile(value) };
            }
        }
    });
    tasks::spins(());
}

#[test]
fn what_it_writes_over_does_no_harm() {
    let pool = timed().build().expect("a pool");
    for word in [0, 1, 0x1_0000_0001, u64::MAX / 2, u64::MAX - 7] {
        let timeout = timeout_of(join(pool.submit(scribbles, word)));
        // Whatever it says.
        let _ = (timeout.backtrace(), timeout.to_string(), timeout.blocked());
    }
    assert_eq!(join(pool.submit(|n: u32| n + 1, 1)).expect("it goes on"), 2);
}

/// Is killed from outside at about the time at which it is asked.
fn killed_after(micros: u64) {
    let pid = std::process::id();
    std::thread::spawn(move || {
        let _ = rustix::thread::nanosleep(&rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: (micros * 1000) as i64,
        });
        brigade_test_support::signal::kill(pid);
    });
    tasks::spins(());
}

#[test]
fn one_that_is_killed_at_that_moment_ends_once() {
    brigade::init();
    let time = Duration::from_millis(30);
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(time)
        .build();
    let pool = pool.expect("a pool");
    for n in 0..60 {
        match join(pool.submit(killed_after, 29_000 + n * 100)) {
            Err(JoinError::TimedOut(timeout)) => {
                if let Some(backtrace) = timeout.backtrace() {
                    assert!(backtrace.contains("tasks::spin_until"), "{backtrace}");
                }
            }
            Err(JoinError::Crashed(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let stats = pool.stats();
    assert_eq!(stats.failed(), 60, "{stats:?}");
}
