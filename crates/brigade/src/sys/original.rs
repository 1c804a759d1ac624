//! Telling a process from its forks, without a system call: madvise(2), `MADV_WIPEONFORK`.
//!
//! A fork has the memory of all threads and only one of them: whatever another had locked at that
//! moment stays locked. So asking here takes no lock.

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
    // SAFETY: mapped above, and unmapped below only where no other thread has seen it.
    unsafe { &*mark }.store(1, Ordering::Relaxed);
    match PAGE.compare_exchange(old, mark, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it stays mapped.
        Ok(_) => Some(unsafe { &*mark }),
        Err(theirs) => {
            // SAFETY: `mark` was mapped above with this length, and no other thread has seen it;
            // `theirs` is not null, for it took the place of what was there, and stays mapped.
            unsafe {
                let _ = rustix::mm::munmap(mark.cast(), len);
                Some(&*theirs)
            }
        }
    }
}

/// How often this process was forked, and it itself from others, as far as fork(3) has told: one
/// that is made by the bare system call goes unnoticed, and so does one that only starts another
/// program (posix_spawn(3)). A process that finds it changed may have a copy in another process, or
/// be one.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// This process shares nothing with its forks that either would have to know of: see
/// [`share_nothing`].
static SHARES_NOTHING: AtomicBool = AtomicBool::new(false);

/// From now on, [`forks`] counts only in the forks of this process, and not in itself: to count is
/// to touch a page, which is copied after each fork. What they share is no concern of either.
pub(crate) fn share_nothing() {
    SHARES_NOTHING.store(true, Ordering::Relaxed);
}

/// From now on, [`forks`] counts, and `in_child` is run first thing in each fork of this process
/// and of those. It may do what is async-signal-safe (signal-safety(7)).
pub(crate) fn watch_forks(in_child: extern "C" fn()) {
    extern "C" fn count() {
        if !SHARES_NOTHING.load(Ordering::Relaxed) {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
    }
    extern "C" fn count_in_child() {
        SHARES_NOTHING.store(false, Ordering::Relaxed);
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // Taken over by forks, as their handlers are.
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the first two handlers use atomics; the third is the caller's, whose contract here
    // says what it may do. If there is no memory for them, copies have their parent's token, as
    // they have where fork(3) is not used.
    unsafe {
        libc::pthread_atfork(None, Some(count), Some(count_in_child));
        libc::pthread_atfork(None, None, Some(in_child));
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
}
