//! Telling a process from its forks, without a system call: madvise(2), `MADV_WIPEONFORK`.
//!
//! A fork has the memory of all threads and only one of them: whatever another had locked at that
//! moment stays locked. So who asks here takes no lock.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// The process that made this, and no fork of it.
#[derive(Clone, Debug)]
pub(crate) struct Original(Mark);

#[derive(Clone, Debug)]
enum Mark {
    /// In a page that is all zero in a forked child.
    Page(&'static AtomicU32),
    /// The kernel would not, and its number has to be asked for.
    Pid(u32),
}

impl Original {
    pub(crate) fn this_process() -> Original {
        Original(page().map_or_else(|| Mark::Pid(std::process::id()), Mark::Page))
    }

    /// Whether that is the process that asks.
    pub(crate) fn is_this_process(&self) -> bool {
        match self.0 {
            Mark::Page(mark) => mark.load(Ordering::Relaxed) != 0,
            Mark::Pid(pid) => pid == std::process::id(),
        }
    }
}

/// One page for all that this process makes: they say the same. A fork of it gets its own.
fn page() -> Option<&'static AtomicU32> {
    static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
    let old = PAGE.load(Ordering::Acquire);
    // SAFETY: null, or a page from below, which is never unmapped.
    let known = unsafe { old.as_ref() };
    if known.is_some_and(|mark| mark.load(Ordering::Relaxed) != 0) {
        return known;
    }
    let len = rustix::param::page_size();
    // SAFETY: the kernel chooses a range that was free. All zero is a valid atomic.
    let mark = unsafe {
        let at = rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            len,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE,
        )
        .ok()?;
        if libc::madvise(at, len, libc::MADV_WIPEONFORK) == -1 {
            let _ = rustix::mm::munmap(at, len);
            return None;
        }
        at.cast::<AtomicU32>()
    };
    // SAFETY: mapped above, and unmapped below only where nobody else has seen it.
    unsafe { &*mark }.store(1, Ordering::Relaxed);
    match PAGE.compare_exchange(old, mark, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it stays mapped.
        Ok(_) => Some(unsafe { &*mark }),
        Err(theirs) => {
            // SAFETY: `mark` was mapped above with this length, and nobody has seen it; `theirs` is
            // not null, for it took the place of what was there, and stays mapped.
            unsafe {
                let _ = rustix::mm::munmap(mark.cast(), len);
                Some(&*theirs)
            }
        }
    }
}

/// How often this process was forked, and it itself from others, as far as fork(3) has told: one
/// that is made by the bare system call goes unnoticed, and so does one that only starts another
/// program (posix_spawn(3)). Who finds it changed may have a copy in another process, or be one.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// From now on, [`forks`] counts, and `in_child` is run first thing in each fork of this process
/// and of those. It may do what is async-signal-safe (signal-safety(7)).
pub(crate) fn watch_forks(in_child: extern "C" fn()) {
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // Taken over by forks, as their handlers are.
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the first two handlers add to an atomic; the third is the caller's, who is told what
    // it may do. If there is no memory for them, copies have their parent's token, as they have
    // where fork(3) is not used.
    unsafe {
        libc::pthread_atfork(None, Some(count), Some(count));
        libc::pthread_atfork(None, None, Some(in_child));
    }
}

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
                // SAFETY: `new` was made above, and nobody has seen it; dropping it leaves `old`
                // alone. `theirs` is as `old`, and not null, for another thread put its own there.
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
            // SAFETY: from `get_or_try_init`, each in the list of one cell, and once; and nobody
            // else has this cell any more.
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
                // SAFETY: `new` was made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, for it took the place of what was there; never freed.
                &unsafe { &*theirs }.value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself() {
        let original = Original::this_process();
        assert!(original.is_this_process());
        assert!(matches!(original.0, Mark::Page(_)), "Linux 4.14 has it");
    }

    #[test]
    fn a_static_is_made_once() {
        static ONE: PerProcess<AtomicU32> = PerProcess::new(|| AtomicU32::new(7));
        ONE.get().store(8, Ordering::Relaxed);
        std::thread::spawn(|| assert_eq!(ONE.get().load(Ordering::Relaxed), 8))
            .join()
            .expect("no panic");
    }
}
