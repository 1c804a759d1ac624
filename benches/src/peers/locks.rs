//! POSIX mutexes, in memory that processes share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use brigade::{Shared, ShmSafe};

/// Room for a mutex of the C library's, and the count that it guards.
#[derive(Debug, ShmSafe)]
#[repr(align(64))]
struct Place {
    mutex: [AtomicU64; 8],
    count: AtomicU64,
}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= 64);

/// A mutex for processes, and a count.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Posix(Shared<Place>);

impl Posix {
    /// `robust`: who waits hears of the death of a holder.
    pub(crate) fn new(robust: bool) -> io::Result<Posix> {
        let place = Shared::new(Place {
            mutex: [const { AtomicU64::new(0) }; 8],
            count: AtomicU64::new(0),
        })?;
        let posix = Posix(place);
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: the attributes are made before they are used and ended after; the mutex has room
        // (asserted), is aligned, and no other thread or process has it yet.
        unsafe {
            let attributes = attributes.as_mut_ptr();
            checked(libc::pthread_mutexattr_init(attributes))?;
            checked(libc::pthread_mutexattr_setpshared(
                attributes,
                libc::PTHREAD_PROCESS_SHARED,
            ))?;
            if robust {
                checked(libc::pthread_mutexattr_setrobust(
                    attributes,
                    libc::PTHREAD_MUTEX_ROBUST,
                ))?;
            }
            checked(libc::pthread_mutex_init(posix.mutex(), attributes))?;
            checked(libc::pthread_mutexattr_destroy(attributes))?;
        }
        Ok(posix)
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.0.mutex[0].as_ptr().cast()
    }

    /// Counts one more under the lock.
    #[inline]
    pub(crate) fn add(&self) {
        // SAFETY: a mutex since `new`, mapped as long as `self` is.
        unsafe { libc::pthread_mutex_lock(self.mutex()) };
        // In two steps: only the lock keeps counts from being lost.
        let now = self.0.count.load(Ordering::Relaxed);
        self.0.count.store(now + 1, Ordering::Relaxed);
        // SAFETY: as above; locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.mutex()) };
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }
}

fn checked(error: i32) -> io::Result<()> {
    match error {
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(e)),
    }
}
