//! Sleeping on a word of memory: futex(2), `futex_waitv` (Linux 5.16).

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};

/// How long one sleep may last when the kernel cannot wait on two words at once: a bound on how
/// late the second word is seen.
const SLICE: Duration = Duration::from_millis(5);

/// Why a wait came back. Every wait may come back early: look at the condition again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A wake-up came, the word had changed already, or a signal came.
    Look,
    /// The deadline has passed.
    TimedOut,
}

fn timespec(left: Duration) -> futex::Timespec {
    futex::Timespec {
        tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

fn wait_flags(word: &AtomicU32, expected: u32, deadline: Option<Instant>, flags: Flags) -> Wake {
    let timeout = match deadline {
        None => None,
        Some(at) => match at.checked_duration_since(Instant::now()) {
            None | Some(Duration::ZERO) => return Wake::TimedOut,
            Some(left) => Some(timespec(left)),
        },
    };
    match futex::wait(word, flags, expected, timeout.as_ref()) {
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        // EAGAIN: the word had changed; EINTR: a signal. Both mean "look again", as a wake does.
        _ => Wake::Look,
    }
}

/// Sleeps while `word` is `expected`; for words in memory that only this process has.
pub(crate) fn wait_private(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
    wait_flags(word, expected, deadline, Flags::PRIVATE)
}

/// Wakes all that sleep on a word of this process.
pub(crate) fn wake_all_private(word: &AtomicU32) {
    // The address is valid for as long as the borrow; a wake cannot fail otherwise.
    let _ = futex::wake(word, Flags::PRIVATE, i32::MAX as u32);
}

/// Sleeps while `word`, in memory shared between processes, is `expected`.
pub(crate) fn wait_shared(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
    wait_flags(word, expected, deadline, Flags::empty())
}

/// Wakes one that sleeps on a word shared between processes.
pub(crate) fn wake_shared(word: &AtomicU32) {
    // As above; memory that is shared is a sealed file's, which cannot shrink.
    let _ = futex::wake(word, Flags::empty(), 1);
}

/// Wakes all that sleep on a word shared between processes.
pub(crate) fn wake_all_shared(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

/// Sleeps for this long, and for nothing else.
pub(crate) fn rest(time: Duration) {
    let word = AtomicU32::new(0);
    wait_private(&word, 0, Instant::now().checked_add(time));
}

/// Sleeps while *both* shared words are as expected.
///
/// The first is in memory that a worker can write, and so may lie; the second only the host and its
/// fork server can write. Waiting on both at once means that a worker that scribbles over the first
/// cannot make its own death unseen. Kernels before 5.16 cannot do it: there the wait is cut into
/// slices of 5 ms.
pub(crate) fn wait_either(
    a: (&AtomicU32, u32),
    b: (&AtomicU32, u32),
    deadline: Option<Instant>,
) -> Wake {
    if has_waitv_cached() {
        return waitv(&[a, b], deadline);
    }
    wait_in_slices(&[a, b], deadline)
}

/// `struct futex_waitv` of `<linux/futex.h>`.
#[repr(C)]
struct Waiter {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
}

const FUTEX_32: u32 = 2;

/// Whether the kernel knows the call: an empty list is EINVAL where it does, ENOSYS where it does
/// not.
pub(crate) fn has_waitv() -> bool {
    // SAFETY: no pointer is given and the count is zero, so the kernel reads nothing.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            std::ptr::null::<Waiter>(),
            0,
            0,
            std::ptr::null::<libc::timespec>(),
            0,
        )
    };
    r == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// As many words as one sleep can be for: `FUTEX_WAITV_MAX`, less some.
pub(crate) const MOST: usize = 120;

/// Sleeps while *all* of these shared words are as expected, at most [`MOST`] of them. Where the
/// kernel cannot wait for several, it sleeps on the first, and sees what happens to the others 5 ms
/// late.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Option<Instant>) -> Wake {
    match words {
        [one] => return wait_shared(one.0, one.1, deadline),
        [a, b] => return wait_either(*a, *b, deadline),
        _ => {}
    }
    if has_waitv_cached() {
        return waitv(words, deadline);
    }
    wait_in_slices(words, deadline)
}

/// Where the kernel cannot wait for several.
fn wait_in_slices(words: &[(&AtomicU32, u32)], deadline: Option<Instant>) -> Wake {
    let now = Instant::now();
    // First, as the kernel has it: a peer that changes a word all the time does not keep us.
    if deadline.is_some_and(|at| at <= now) {
        return Wake::TimedOut;
    }
    if words
        .iter()
        .any(|(word, expected)| word.load(std::sync::atomic::Ordering::Acquire) != *expected)
    {
        return Wake::Look;
    }
    let slice = now + SLICE;
    let (word, expected) = words[0];
    match deadline {
        Some(at) if at <= slice => wait_shared(word, expected, deadline),
        _ => {
            wait_shared(word, expected, Some(slice));
            Wake::Look
        }
    }
}

fn has_waitv_cached() -> bool {
    static HAS_WAITV: OnceLock<bool> = OnceLock::new();
    *HAS_WAITV.get_or_init(has_waitv)
}

fn waitv(words: &[(&AtomicU32, u32)], deadline: Option<Instant>) -> Wake {
    let mut waiters = [const {
        Waiter {
            val: 0,
            uaddr: 0,
            flags: 0,
            reserved: 0,
        }
    }; MOST];
    let waiters = &mut waiters[..words.len()];
    for (waiter, (word, val)) in waiters.iter_mut().zip(words) {
        *waiter = Waiter {
            val: u64::from(*val),
            uaddr: word.as_ptr() as u64,
            flags: FUTEX_32,
            reserved: 0,
        };
    }
    // The call takes an absolute time.
    let until = match deadline {
        None => None,
        Some(at) => match at.checked_duration_since(Instant::now()) {
            None | Some(Duration::ZERO) => return Wake::TimedOut,
            Some(left) => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let nanos = now.tv_nsec + i64::from(left.subsec_nanos());
                Some(libc::timespec {
                    tv_sec: now
                        .tv_sec
                        .saturating_add(left.as_secs().min(i64::MAX as u64) as i64)
                        .saturating_add(nanos / 1_000_000_000),
                    tv_nsec: nanos % 1_000_000_000,
                })
            }
        },
    };
    let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `waiters` and `until` live across the call, the words are borrowed for it, and the
    // kernel only reads them.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            waiters.len(),
            0,
            until,
            libc::CLOCK_MONOTONIC,
        )
    };
    if r == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT) {
        return Wake::TimedOut;
    }
    Wake::Look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_has_changed_keeps_nobody_beyond_the_deadline() {
        let words = [const { AtomicU32::new(1) }; 3];
        let words = words.each_ref();
        let changed = words.map(|word| (word, 0));
        let past = Instant::now();
        let later = past + Duration::from_secs(60);
        for wait in [wait_any, wait_in_slices] {
            assert_eq!(wait(&changed, Some(past)), Wake::TimedOut);
            assert_eq!(wait(&changed, Some(later)), Wake::Look);
        }
        let same = words.map(|word| (word, 1));
        let soon = Some(Instant::now() + Duration::from_millis(2));
        assert_eq!(wait_in_slices(&same, soon), Wake::TimedOut);
        assert_eq!(wait_in_slices(&same, Some(later)), Wake::Look, "a slice");
    }
}
