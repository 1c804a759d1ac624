//! POSIX's own mutex and semaphore, made to be shared: they live on a board, and threads and
//! processes use them alike.
//!
//! Kept in one place because every step is unsafe: they are C objects at an address.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::board::Mapping;
use crate::fail::Failure;

/// Where on the board the two objects are: behind the first cells.
const MUTEX_AT: usize = 2048;
const SEMAPHORE_AT: usize = 3072;

/// Bytes a board needs for the locks and the sixteen cells before them.
pub(crate) const BYTES: usize = 4096;

/// Both locks of one board.
#[derive(Debug, Clone)]
pub(crate) struct Locks {
    memory: Arc<Mapping>,
}

fn checked(what: &str, result: libc::c_int) -> Result<(), Failure> {
    match result {
        0 => Ok(()),
        error => Err(Failure::new(format!(
            "{what}: {}",
            std::io::Error::from_raw_os_error(error)
        ))),
    }
}

impl Locks {
    /// Makes them. Once per board, by the host, before any worker has the board.
    pub(crate) fn make(memory: Arc<Mapping>) -> Result<Self, Failure> {
        let locks = Self { memory };
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the call initialises what it is pointed at.
        checked("pthread_mutexattr_init", unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr())
        })?;
        // SAFETY: initialised by the call above.
        checked("pthread_mutexattr_setpshared", unsafe {
            libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            )
        })?;
        // SAFETY: the place is ours alone (no worker has the board yet), aligned, and large enough;
        // the attributes are initialised.
        checked("pthread_mutex_init", unsafe {
            libc::pthread_mutex_init(locks.mutex().as_ptr(), attributes.as_ptr())
        })?;
        // SAFETY: as for the mutex; the second argument says "shared between processes", the third
        // "free".
        if unsafe { libc::sem_init(locks.semaphore().as_ptr(), 1, 1) } != 0 {
            return Err(Failure::new(format!(
                "sem_init: {}",
                std::io::Error::last_os_error()
            )));
        }
        Ok(locks)
    }

    /// Those that [`Locks::make`] made on this board, seen from a task.
    pub(crate) fn of(memory: Arc<Mapping>) -> Self {
        Self { memory }
    }

    fn mutex(&self) -> NonNull<libc::pthread_mutex_t> {
        self.memory
            .bytes(MUTEX_AT, size_of::<libc::pthread_mutex_t>())
            .cast()
    }

    fn semaphore(&self) -> NonNull<libc::sem_t> {
        self.memory
            .bytes(SEMAPHORE_AT, size_of::<libc::sem_t>())
            .cast()
    }

    /// Runs `step` while holding the mutex.
    pub(crate) fn with_mutex(&self, step: impl FnOnce()) -> Result<(), Failure> {
        // SAFETY: initialised by `make` before the board was passed on, and mapped as long as
        // `self`.
        checked("pthread_mutex_lock", unsafe {
            libc::pthread_mutex_lock(self.mutex().as_ptr())
        })?;
        step();
        // SAFETY: as above, and this thread holds it.
        checked("pthread_mutex_unlock", unsafe {
            libc::pthread_mutex_unlock(self.mutex().as_ptr())
        })
    }

    /// Runs `step` while holding the semaphore's one permit.
    pub(crate) fn with_semaphore(&self, step: impl FnOnce()) -> Result<(), Failure> {
        // SAFETY: initialised by `make` before the board was passed on, and mapped as long as
        // `self`.
        while unsafe { libc::sem_wait(self.semaphore().as_ptr()) } != 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(Failure::new(format!("sem_wait: {error}")));
            }
        }
        step();
        // SAFETY: as above.
        match unsafe { libc::sem_post(self.semaphore().as_ptr()) } {
            0 => Ok(()),
            _ => Err(Failure::new(format!(
                "sem_post: {}",
                std::io::Error::last_os_error()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::board::Board;

    #[test]
    fn both_keep_two_threads_apart() {
        let board = Board::with_len(BYTES).unwrap();
        let locks = Locks::make(Arc::clone(board.mapping())).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for index in 0..2_000 {
                        let step = || {
                            let counter = board.mapping().counter(index % 2);
                            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                        };
                        if index % 2 == 0 {
                            locks.with_mutex(step)
                        } else {
                            locks.with_semaphore(step)
                        }
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(board.mapping().counter(0).load(Ordering::Relaxed), 2_000);
        assert_eq!(board.mapping().counter(1).load(Ordering::Relaxed), 2_000);
    }
}
