//! What must hold whatever the order in which threads take their steps, and whatever they see of
//! one another's stores: run by `scripts/loom`.
//!
//! Each thread is a process of its own. One that dies does so by doing no more: it leaves what it
//! had as it is, and is marked dead.

#![expect(
    unsafe_code,
    reason = "what a lock guards is touched as its user would"
)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::raw_lock::{Acquired, RawLock, WaitedFor};
use super::raw_rwlock::RawRwLock;
use super::{Barrier, Condvar, Mutex, Once, Semaphore};
use crate::sim::loom_os::{be, mark_dead};

/// A lock and a count that only its holder may touch: loom fails where two might.
struct Guarded {
    lock: RawLock,
    count: UnsafeCell<u32>,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            lock: RawLock::new(),
            count: UnsafeCell::new(0),
        })
    }

    fn add(&self) {
        // SAFETY: called with the lock held; that no other thread does so is what the model checks.
        self.count.with_mut(|count| unsafe { *count += 1 });
    }

    fn count(&self) -> u32 {
        // SAFETY: as above.
        self.count.with(|count| unsafe { *count })
    }
}

/// Runs `f` as a process of its own.
fn process<R: 'static>(n: u32, f: impl FnOnce() -> R + 'static) -> thread::JoinHandle<R> {
    thread::spawn(move || {
        be(n);
        f()
    })
}

fn all<R>(handles: impl IntoIterator<Item = thread::JoinHandle<R>>) -> Vec<R> {
    handles
        .into_iter()
        .map(|h| h.join().expect("a thread of the model"))
        .collect()
}

#[test]
fn loom_raw_lock_excludes_and_wakes() {
    loom::model(|| {
        let guarded = Guarded::new();
        let locks = [2, 3].map(|n| {
            let guarded = guarded.clone();
            process(n, move || {
                assert_eq!(guarded.lock.acquire(None), Some(Acquired::Clean));
                guarded.add();
                guarded.lock.release();
            })
        });
        assert_eq!(guarded.lock.acquire(None), Some(Acquired::Clean));
        guarded.add();
        guarded.lock.release();
        all(locks);
        assert_eq!(guarded.lock.acquire(None), Some(Acquired::Clean));
        assert_eq!(guarded.count(), 3);
    });
}

#[test]
fn loom_raw_lock_is_taken_over_from_the_dead_by_one() {
    loom::model(|| {
        let guarded = Guarded::new();
        {
            // The dead one, which got as far as the lock.
            let guarded = guarded.clone();
            all([process(4, move || {
                guarded.lock.acquire(None);
                guarded.add();
            })]);
        }
        let waits = [2, 3].map(|n| {
            let guarded = guarded.clone();
            process(n, move || {
                let acquired = guarded.lock.acquire(None);
                guarded.add();
                guarded.lock.release();
                acquired == Some(Acquired::OwnerDied)
            })
        });
        mark_dead(4);
        assert_eq!(all(waits).into_iter().filter(|dead| *dead).count(), 1);
    });
}

#[test]
fn loom_raw_lock_survives_a_death_before_the_wake() {
    loom::model(|| {
        let guarded = Guarded::new();
        guarded.lock.acquire(None);
        let waits = [2, 3].map(|n| {
            let guarded = guarded.clone();
            process(n, move || {
                guarded.lock.acquire(None).expect("no deadline");
                guarded.add();
                guarded.lock.release();
            })
        });
        // Let go of, and dead before it wakes the next.
        guarded.lock.release_without_wake();
        mark_dead(4);
        all(waits);
    });
}

#[test]
fn loom_raw_lock_is_looked_at_until_free() {
    loom::model(|| {
        let guarded = Guarded::new();
        guarded.lock.acquire(None);
        let looks = [2, 3].map(|n| {
            let guarded = guarded.clone();
            process(n, move || guarded.lock.wait_until_free(None))
        });
        guarded.lock.release_to_all();
        assert_eq!(all(looks), [Some(WaitedFor::LetGo); 2]);
    });
}

/// A count that writers change and readers look at.
struct Looked {
    readers: RawRwLock,
    count: UnsafeCell<u32>,
}

impl Looked {
    fn new() -> Arc<Looked> {
        Arc::new(Looked {
            readers: RawRwLock::new(),
            count: UnsafeCell::new(0),
        })
    }

    fn read(&self) -> u32 {
        let slot = self.readers.read(None).expect("no deadline");
        // SAFETY: no writer is inside; that is what the model checks.
        let count = self.count.with(|count| unsafe { *count });
        self.readers.leave(slot);
        count
    }

    fn write(&self) {
        self.readers.write(None).expect("no deadline");
        // SAFETY: no other thread is inside; that is what the model checks.
        self.count.with_mut(|count| unsafe { *count += 1 });
        self.readers.leave_writer();
    }
}

#[test]
fn loom_rwlock_a_reader_and_a_writer() {
    loom::model(|| {
        let looked = Looked::new();
        let other = looked.clone();
        let reads = process(2, move || other.read());
        looked.write();
        assert!(all([reads])[0] <= 1);
        assert_eq!(looked.read(), 1);
    });
}

#[test]
fn loom_rwlock_two_writers_and_a_reader() {
    loom::model(|| {
        let looked = Looked::new();
        let (a, b) = (looked.clone(), looked.clone());
        let writes = process(2, move || a.write());
        let reads = process(3, move || {
            b.read();
        });
        looked.write();
        all([writes, reads]);
        assert_eq!(looked.read(), 2);
    });
}

#[test]
fn loom_rwlock_a_reader_dies() {
    loom::model(|| {
        let looked = Looked::new();
        let dies = looked.clone();
        all([process(4, move || {
            dies.readers.read(None);
        })]);
        let other = looked.clone();
        let writes = process(2, move || other.write());
        mark_dead(4);
        all([writes]);
        assert!(!looked.readers.poison.is_set());
    });
}

#[test]
fn loom_rwlock_a_writer_dies() {
    loom::model(|| {
        let looked = Looked::new();
        let dies = looked.clone();
        all([process(4, move || {
            dies.readers.write(None);
        })]);
        let (a, b) = (looked.clone(), looked.clone());
        let uses = [
            process(2, move || {
                a.read();
            }),
            process(3, move || b.write()),
        ];
        mark_dead(4);
        all(uses);
        assert!(looked.readers.poison.is_set());
    });
}

#[test]
fn loom_rwlock_who_finds_no_slot_gets_one() {
    loom::model(|| {
        // Two slots, three processes.
        let looked = Looked::new();
        let others = [2, 3].map(|n| {
            let looked = looked.clone();
            process(n, move || looked.read())
        });
        looked.read();
        all(others);
    });
}

#[test]
fn loom_condvar_loses_no_notification() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = [2, 3].map(|n| {
            let shared = shared.clone();
            process(n, move || {
                let guard = shared.0.lock().expect("not poisoned");
                drop(shared.1.wait_while(guard, |ready| !*ready));
            })
        });
        *shared.0.lock().expect("not poisoned") = true;
        shared.1.notify_all();
        all(waits);
    });
}

#[test]
fn loom_condvar_one_each() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(0u32), Condvar::new()));
        let other = shared.clone();
        let takes = process(2, move || {
            let guard = other.0.lock().expect("not poisoned");
            let mut guard = other
                .1
                .wait_while(guard, |n| *n == 0)
                .expect("not poisoned");
            *guard -= 1;
        });
        *shared.0.lock().expect("not poisoned") += 1;
        shared.1.notify_one();
        all([takes]);
        assert_eq!(*shared.0.lock().expect("not poisoned"), 0);
    });
}

#[test]
fn loom_semaphore_gives_each_permit_once() {
    loom::model(|| {
        let shared = Arc::new((Semaphore::new(1), UnsafeCell::new(0u32)));
        let enter = |shared: &(Semaphore, UnsafeCell<u32>)| {
            let permit = shared.0.acquire();
            // SAFETY: there is one permit; that no other thread has it is what the model checks.
            shared.1.with_mut(|count| unsafe { *count += 1 });
            drop(permit);
        };
        let other = shared.clone();
        let enters = process(2, move || enter(&other));
        enter(&shared);
        all([enters]);
        assert_eq!(shared.0.available_permits(), 1);
    });
}

#[test]
fn loom_semaphore_a_holder_dies() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let dies = semaphore.clone();
        all([process(4, move || {
            let _kept = std::mem::ManuallyDrop::new(dies.acquire());
        })]);
        let other = semaphore.clone();
        let waits = process(2, move || drop(other.acquire()));
        mark_dead(4);
        all([waits]);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn loom_barrier_lets_all_go() {
    loom::model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let other = barrier.clone();
        let waits = process(2, move || other.wait().expect("not broken").is_leader());
        let leads = barrier.wait().expect("not broken").is_leader();
        assert!(all([waits])[0] != leads);
    });
}

#[test]
fn loom_once_runs_once() {
    loom::model(|| {
        let shared = Arc::new((Once::new(), UnsafeCell::new(0u32)));
        let run = |shared: &(Once, UnsafeCell<u32>)| {
            // SAFETY: it runs once; that is what the model checks.
            shared
                .0
                .call_once(|| shared.1.with_mut(|n| unsafe { *n += 1 }));
            // SAFETY: no thread changes it any more; that is what the model checks.
            assert_eq!(shared.1.with(|n| unsafe { *n }), 1);
        };
        let (a, b) = (shared.clone(), shared.clone());
        let others = [process(2, move || run(&a)), process(3, move || b.0.wait())];
        run(&shared);
        all(others);
    });
}
