//! What each process has for itself: a fork makes its own, for its parent's may be locked by a
//! thread that the fork does not have.

use std::sync::atomic::{AtomicPtr, Ordering};

use super::original::Original;

/// What each process that has this makes for itself when it is first asked for: a fork makes its
/// own, and keeps its parent's, unused, until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnCell<T> {
    current: AtomicPtr<Own<T>>,
}

#[derive(Debug)]
struct Own<T> {
    by: Original,
    value: T,
    /// The parent's, or null. Threads of this process may still look at it.
    before: *mut Own<T>,
}

impl<T: Send + Sync> OwnCell<T> {
    pub(crate) const fn new() -> OwnCell<T> {
        OwnCell {
            current: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// This process's; made if there is none. What several threads make at once is one of theirs.
    pub(crate) fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let old = self.current.load(Ordering::Acquire);
        // SAFETY: null, or from below; it is freed by `drop` only, which has this for itself.
        let known = unsafe { old.as_ref() };
        if let Some(own) = known.filter(|own| own.by.is_this_process()) {
            return Ok(&own.value);
        }
        let new = Box::into_raw(Box::new(Own {
            by: Original::this_process(),
            value: make()?,
            before: old,
        }));
        match (self.current).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: made above, and freed by `drop` only.
            Ok(_) => Ok(&unsafe { &*new }.value),
            Err(theirs) => {
                // SAFETY: `new` was made above, and no other thread has seen it; dropping it leaves
                // `old` alone. `theirs` is as `old`, and not null, for another thread put its own
                // there.
                unsafe {
                    drop(Box::from_raw(new));
                    Ok(&(*theirs).value)
                }
            }
        }
    }
}

impl<T> Drop for OwnCell<T> {
    fn drop(&mut self) {
        let mut current = *self.current.get_mut();
        while !current.is_null() {
            // SAFETY: from `get_or_try_init`, each in the list of one cell, and once; and no other
            // code has this cell any more.
            let own = unsafe { Box::from_raw(current) };
            current = own.before;
        }
    }
}

/// A static that each process has for itself: a fork makes its own, for its parent's may be locked
/// by a thread that the fork does not have. The parent's is left as it is.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Made<T>>,
    make: fn() -> T,
}

#[derive(Debug)]
struct Made<T> {
    by: Original,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> PerProcess<T> {
        PerProcess {
            current: AtomicPtr::new(std::ptr::null_mut()),
            make,
        }
    }

    /// This process's, made if there is none. What several threads make at once is one of theirs.
    pub(crate) fn get(&'static self) -> &'static T {
        let old = self.current.load(Ordering::Acquire);
        // SAFETY: null, or from below, where it is never freed once others may see it.
        match unsafe { old.as_ref() } {
            Some(made) if made.by.is_this_process() => &made.value,
            _ => self.install(old),
        }
    }

    #[cold]
    fn install(&'static self, old: *mut Made<T>) -> &'static T {
        let by = Original::this_process();
        let value = (self.make)();
        let new = Box::into_raw(Box::new(Made { by, value }));
        match (self.current).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: made above, and never freed.
            Ok(_) => &unsafe { &*new }.value,
            Err(theirs) => {
                // SAFETY: `new` was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, for it took the place of what was there; never freed.
                &unsafe { &*theirs }.value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_static_is_made_once() {
        static ONE: PerProcess<AtomicU32> = PerProcess::new(|| AtomicU32::new(7));
        ONE.get().store(8, Ordering::Relaxed);
        std::thread::spawn(|| assert_eq!(ONE.get().load(Ordering::Relaxed), 8))
            .join()
            .expect("no panic");
    }
}
