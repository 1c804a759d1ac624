//! Locks whose memory a peer has written over.

use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SOON, Script, meanwhile, shared_memory};
use crate::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use crate::sys::mapping::Mapping;

/// What is in a lock's words, as a peer may have left it, and as it changes. Only calls that wait
/// for a time.
pub fn locks(data: &[u8]) {
    const LEN: usize = 4096;
    let mut script = Script(data);
    let Some((file, mapping, raw)) = shared_memory(LEN) else {
        return;
    };
    let which = script.byte();
    let steps = script.bytes(16);
    let writes: Vec<_> = (0..script.below(4))
        .map(|_| (script.below(80) as u64 * 8, script.word()))
        .collect();
    let _ = raw.write_all_at(&script.0[..script.0.len().min(LEN)], 0);
    meanwhile(&file, &writes, || {
        for step in steps {
            match which % 6 {
                0 => mutex(there(&mapping), *step),
                1 => rwlock(there(&mapping), *step),
                2 => semaphore(there(&mapping), *step),
                3 => barrier(there(&mapping), *step),
                4 => once(there(&mapping), *step),
                _ => {
                    let mutex = Mutex::new(());
                    if let Ok(guard) = mutex.lock_timeout(SOON) {
                        let condvar: &Condvar = there(&mapping);
                        let _ = condvar.wait_timeout(guard, SOON);
                        condvar.notify_one();
                        condvar.notify_all();
                    }
                }
            }
        }
    });
}

#[expect(unsafe_code, reason = "as Shared does it")]
fn there<T: crate::ShmSafe>(mapping: &Mapping) -> &T {
    assert!(size_of::<T>() <= mapping.len() && align_of::<T>() <= 4096);
    // SAFETY: in bounds and aligned (asserted; a mapping begins at a page); whatever is shared is
    // valid whatever its bytes are.
    unsafe { mapping.at().cast().as_ref() }
}

fn mutex(mutex: &Mutex<u64>, step: u8) {
    match step % 3 {
        0 => drop(mutex.try_lock()),
        1 => drop(mutex.lock_timeout(SOON)),
        _ => mutex.clear_poison(),
    }
}

fn rwlock(lock: &RwLock<u64>, step: u8) {
    match step % 5 {
        0 => drop(lock.try_read()),
        1 => drop(lock.try_write()),
        2 => drop(lock.read_timeout(SOON)),
        3 => drop(lock.write_timeout(SOON)),
        _ => {
            let one = lock.read_timeout(SOON);
            drop(lock.read_timeout(SOON));
            drop(one);
        }
    }
}

/// A step on a semaphore, whose permits are kept: to give one back takes the semaphore's lock, and
/// waits as long as a live process has that, or is said to have it. So do `available_permits` and
/// `add_permits`, which are left out.
fn semaphore(semaphore: &Semaphore, step: u8) {
    let _kept = ManuallyDrop::new(match step % 3 {
        0 => semaphore.try_acquire_many(u32::from(step)),
        1 => semaphore.acquire_timeout(SOON),
        _ => semaphore.acquire_many_timeout(u32::from(step / 4), SOON),
    });
}

fn barrier(barrier: &Barrier, step: u8) {
    match step % 2 {
        0 => {
            barrier.is_broken();
        }
        _ => {
            let _ = barrier.wait_timeout(SOON);
        }
    }
}

/// A step on a `Once`, which panics where it is poisoned: that is what it is to do. [`PANICS`] says
/// so to the fuzzer's own hook.
fn once(once: &Once, step: u8) {
    PANICS.store(true, Ordering::SeqCst);
    let _ = std::panic::catch_unwind(|| match step % 3 {
        0 => once.is_completed(),
        1 => once.wait_timeout(SOON),
        _ => once.call_once_timeout(SOON, || ()),
    });
    PANICS.store(false, Ordering::SeqCst);
}

/// A panic now is as it should be.
pub static PANICS: AtomicBool = AtomicBool::new(false);
