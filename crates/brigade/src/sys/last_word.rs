//! A word in shared memory that says that a thread has ended, before anything else does:
//! get_robust_list(2).
//!
//! However a thread ends, the kernel goes through its list of robust futexes first, and marks each
//! that bears its number. It closes the descriptors of the process after that. So a reader that
//! finds a pipe of its process hung up finds the mark, too.

#![expect(
    unsafe_code,
    reason = "a list that the kernel reads when the thread ends"
)]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error;
use super::process;

/// The kernel has marked it: `FUTEX_OWNER_DIED`.
const ENDED: u32 = 0x4000_0000;

/// `struct robust_list_head`, and the only entry of its list, which leads back to it.
#[repr(C)]
struct List {
    first: usize,
    /// From an entry to its futex.
    offset: isize,
    /// None is about to be added.
    pending: usize,
    entry: usize,
}

/// Has the kernel mark this word when the calling thread ends. The C library's list of robust
/// mutexes that the thread holds is not looked at any more; a child made by fork(3) has that again.
///
/// # Errors
/// It is refused.
pub(crate) fn leave(word: &'static AtomicU32) -> io::Result<()> {
    let thread = process::thread_number();
    let list: &'static mut List = Box::leak(Box::new(List {
        first: 0,
        offset: 0,
        pending: 0,
        entry: 0,
    }));
    let (head, entry) = (
        std::ptr::from_ref(list) as usize,
        &raw const list.entry as usize,
    );
    list.first = entry;
    list.entry = head;
    list.offset = (word.as_ptr() as usize).wrapping_sub(entry) as isize;
    const HEAD: usize = std::mem::offset_of!(List, entry);
    // SAFETY: the list is never freed, and neither is the word. The kernel writes to the word
    // alone.
    let set = unsafe { libc::syscall(libc::SYS_set_robust_list, std::ptr::from_ref(list), HEAD) };
    if set != 0 {
        return Err(error::last("set_robust_list(2)"));
    }
    word.store(thread, Ordering::Release);
    Ok(())
}

/// Whether the thread that left this word has ended.
#[inline]
pub(crate) fn is_left(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & ENDED != 0
}

#[cfg(all(test, not(miri)))]
mod tests {
    use rustix::event::{PollFd, PollFlags};

    use super::*;
    use crate::sys::fds;

    #[test]
    fn a_thread_that_ends_is_marked() {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let (end, ended) = rustix::pipe::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            leave(&WORD).expect("it is not refused");
            let seen = is_left(&WORD);
            fds::poll_until(&mut [PollFd::new(&end, PollFlags::HUP)], None).expect("it ends");
            seen
        });
        drop(ended);
        assert!(!thread.join().expect("no panic"));
        // The kernel wakes a thread that joins when it has done that.
        assert!(is_left(&WORD));
    }
}
