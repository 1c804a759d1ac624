//! Shared memory and locks: a region is passed, not its bytes, whichever the kind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::shm::Buffer;
use brigade::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use brigade::{JoinError, Kind, Shared, ShmSafe, process};

use crate::both;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(ShmSafe)]
struct Tally {
    sum: AtomicU64,
    weights: [u32; 4],
}

fn add((tally, times): (Shared<Tally>, u64)) -> Shared<Tally> {
    for n in 0..times {
        let weight = tally.weights[n as usize % 4];
        tally.sum.fetch_add(u64::from(weight), Ordering::Relaxed);
    }
    tally
}

#[test]
fn a_region_is_the_same_for_all_and_comes_back_as_itself() {
    both(|kind| {
        let tally = Shared::new(Tally {
            sum: AtomicU64::new(0),
            weights: [1, 2, 3, 4],
        })
        .expect("a region");
        let tasks: Vec<_> = (0..4)
            .map(|_| kind.spawn(add, (tally.clone(), 1000)).expect("starts"))
            .collect();
        for task in tasks {
            let back = task.join().expect("returns");
            assert!(Shared::ptr_eq(&back, &tally));
        }
        assert_eq!(tally.sum.load(Ordering::Relaxed), 4 * 2500);
    });
}

fn fill(len: usize) -> Shared<[u8]> {
    let mut buffer = Buffer::zeroed(len).expect("a region");
    for (i, byte) in buffer.iter_mut().step_by(4096).enumerate() {
        *byte = i as u8;
    }
    buffer.into_shared().expect("sealed")
}

fn check(bytes: Shared<[u8]>) -> (usize, bool) {
    let right = bytes
        .iter()
        .step_by(4096)
        .enumerate()
        .all(|(i, &byte)| byte == i as u8);
    (bytes.len(), right)
}

#[test]
fn large_values_come_and_go_without_a_copy() {
    both(|kind| {
        for len in [0, 1, 4096, 5000, 64 << 20] {
            let bytes = kind.spawn(fill, len).expect("starts").join();
            let bytes = bytes.expect("returns");
            assert_eq!(bytes.len(), len);
            assert!(bytes.is_sealed());
            let checked = kind.spawn(check, bytes).expect("starts").join();
            assert_eq!(checked.expect("returns"), (len, true));
        }
    });
}

fn store_and_abort(slots: Shared<[AtomicU64]>) {
    slots[1].store(7, Ordering::Release);
    std::process::abort();
}

#[test]
fn what_a_process_wrote_before_it_died_stays() {
    brigade::init();
    let slots = Shared::<[AtomicU64]>::zeroed(3).expect("a region");
    let ended = process::spawn(store_and_abort, slots.clone())
        .expect("starts")
        .join();
    assert!(matches!(ended, Err(JoinError::Crashed(_))));
    assert_eq!(slots[1].load(Ordering::Acquire), 7);
}

/// One of each, in one region.
#[derive(ShmSafe)]
struct Locks {
    mutex: Mutex<[u64; 2]>,
    grown: Condvar,
    table: RwLock<[u64; 8]>,
    permits: Semaphore,
    inside: AtomicU64,
    start: Barrier,
    once: Once,
    prepared: AtomicU64,
}

const WORKERS: usize = 3;
const ROUNDS: u64 = 300;

fn use_all(locks: Shared<Locks>) -> bool {
    locks.start.wait().expect("all come");
    locks.once.call_once(|| {
        locks.prepared.fetch_add(1, Ordering::Relaxed);
    });
    let mut right = locks.prepared.load(Ordering::Relaxed) == 1;
    for n in 0..ROUNDS {
        let mut both = locks.mutex.lock().expect("nobody dies");
        right &= both[0] == both[1];
        both[0] += 1;
        both[1] += 1;
        drop(both);
        locks.grown.notify_all();
        if n % 8 == 0 {
            let mut table = locks.table.write().expect("nobody dies");
            let next = table[0] + 1;
            *table = [next; 8];
        } else {
            let table = locks.table.read().expect("nobody dies");
            right &= table.iter().all(|&v| v == table[0]);
        }
        let permit = locks.permits.acquire();
        right &= locks.inside.fetch_add(1, Ordering::SeqCst) < 2;
        locks.inside.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    }
    right
}

#[test]
fn every_lock_holds_between_workers_of_either_kind_and_the_program() {
    both(|kind| {
        let locks = Shared::new(Locks {
            mutex: Mutex::new([0; 2]),
            grown: Condvar::new(),
            table: RwLock::new([0; 8]),
            permits: Semaphore::new(2),
            inside: AtomicU64::new(0),
            start: Barrier::new(WORKERS),
            once: Once::new(),
            prepared: AtomicU64::new(0),
        })
        .expect("a region");
        let tasks: Vec<_> = (0..WORKERS)
            .map(|_| kind.spawn(use_all, locks.clone()).expect("starts"))
            .collect();
        // The program itself waits for them with the condition variable.
        let all = WORKERS as u64 * ROUNDS;
        let count = locks.mutex.lock().expect("nobody dies");
        let (count, timed) = locks
            .grown
            .wait_timeout_while(count, LIMIT, |count| count[0] < all)
            .expect("nobody dies");
        assert!(!timed.timed_out(), "{count:?}");
        assert_eq!(*count, [all; 2]);
        drop(count);
        for task in tasks {
            assert!(task.join().expect("returns"));
        }
        assert_eq!(locks.permits.available_permits(), 2);
        assert_eq!(locks.prepared.load(Ordering::Relaxed), 1);
    });
}

fn lock_and_panic(mutex: Shared<Mutex<u64>>) {
    let _held = mutex.lock().expect("not poisoned yet");
    panic!("with the lock");
}

#[test]
fn a_panic_poisons_for_everybody() {
    both(|kind| {
        let mutex = Shared::new(Mutex::new(5)).expect("a region");
        let ended = kind
            .spawn(lock_and_panic, mutex.clone())
            .expect("starts")
            .join();
        assert!(matches!(ended, Err(JoinError::Panicked(_))));
        let poisoned = mutex.lock().expect_err("poisoned");
        assert_eq!(*poisoned.into_inner(), 5);
    });
}

fn make((): ()) -> Shared<u64> {
    Shared::new(3).expect("a region")
}

#[test]
fn regions_from_nowhere_are_refused() {
    brigade::init();
    for kind in Kind::ALL {
        assert_eq!(
            *kind
                .spawn(make, ())
                .expect("starts")
                .join()
                .expect("returns"),
            3
        );
    }
    let shared = Shared::new(3_u64).expect("a region");
    assert!(
        postcard::to_stdvec(&shared).is_err(),
        "bytes cannot carry it"
    );
}
