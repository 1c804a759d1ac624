//! How much of this thread's stack is left (pthread_getattr_np(3)).

use std::cell::Cell;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;

/// The lowest and the highest address of a stack.
#[derive(Clone, Copy)]
struct Bounds {
    low: usize,
    high: usize,
}

thread_local! {
    /// Looked up once for each thread: for the main thread, glibc reads /proc/self/maps. No
    /// destructor.
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
}

/// The bytes of the calling thread's stack that are left. `None`: unknown, because the system does
/// not tell, or because the caller runs on a stack that is not its thread's own (a coroutine).
pub(crate) fn left() -> Option<usize> {
    let here = pointer();
    let bounds = match BOUNDS.get() {
        Some(bounds) => bounds,
        None => {
            // An unknown stack is noted as an empty range, so that it is not asked for twice.
            let bounds = bounds().unwrap_or(Bounds { low: 0, high: 0 });
            BOUNDS.set(Some(bounds));
            bounds
        }
    };
    (bounds.low..bounds.high)
        .contains(&here)
        .then(|| here - bounds.low)
}

/// The stack pointer. AddressSanitizer may put locals elsewhere, so that the address of one says
/// nothing.
#[inline(always)]
fn pointer() -> usize {
    let here: usize;
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: it copies one register into another.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: it copies one register into another.
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) here, options(nomem, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        let local = 0_u8;
        here = std::ptr::from_ref(&local) as usize;
    }
    here
}

#[cfg(target_os = "linux")]
fn bounds() -> Option<Bounds> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: `attributes` is writable; pthread_getattr_np initializes it where it returns 0.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let mut base = std::ptr::null_mut();
    let (mut size, mut guard) = (0, 0);
    // SAFETY: `attributes` was initialized above; the out pointers are to locals. It is destroyed
    // once, and not used again.
    let told = unsafe {
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut base, &raw mut size);
        libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        told
    };
    if told != 0 {
        return None;
    }
    let base = base as usize;
    let bounds = Bounds {
        // Older versions of glibc count the guard as part of the stack.
        low: base.checked_add(guard)?,
        high: base.checked_add(size)?,
    };
    match of_first_thread(bounds.high) {
        Some(low) => Some(Bounds { low, ..bounds }),
        None => Some(bounds),
    }
}

/// The lowest address that the program's first thread may come to, if its stack is the one that
/// ends at `high`. Musl tells how far it has grown, which is no bound. The kernel lets it grow to
/// its limit, and keeps more than this free below what is mapped: getrlimit(2), getauxval(3).
#[cfg(target_os = "linux")]
fn of_first_thread(high: usize) -> Option<usize> {
    /// More than the strings that are above, and less than the way to the next stack. `high` may be
    /// that of the whole page, and so above them.
    const FAR: usize = 64 << 20;
    /// Where there is no limit.
    const USUAL: u64 = 8 << 20;
    // SAFETY: no memory is involved. It is where the program's name is, the last on the last page.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
    let top = name.next_multiple_of(4096);
    if !cfg!(target_env = "musl") || top.abs_diff(high) >= FAR {
        return None;
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the two numbers.
    if unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) } == -1 {
        return None;
    }
    let limit = if limit.rlim_cur == libc::RLIM_INFINITY {
        USUAL
    } else {
        limit.rlim_cur
    };
    top.checked_sub(usize::try_from(limit).ok()?)
}

/// pthread_get_stackaddr_np(3): the highest address.
#[cfg(target_vendor = "apple")]
fn bounds() -> Option<Bounds> {
    // SAFETY: both read what the thread's own handle says.
    let (high, size) = unsafe {
        let this = libc::pthread_self();
        (
            libc::pthread_get_stackaddr_np(this) as usize,
            libc::pthread_get_stacksize_np(this),
        )
    };
    Some(Bounds {
        low: high.checked_sub(size)?,
        high,
    })
}

/// GetCurrentThreadStackLimits, of kernel32.dll.
#[cfg(windows)]
fn bounds() -> Option<Bounds> {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetCurrentThreadStackLimits(low: *mut usize, high: *mut usize);
    }
    let (mut low, mut high) = (0, 0);
    // SAFETY: the two are written to.
    unsafe { GetCurrentThreadStackLimits(&raw mut low, &raw mut high) };
    // The lowest pages are guards, which are committed as the stack grows.
    Some(Bounds {
        low: low.checked_add(GUARD)?,
        high,
    })
}

/// What is not used of a stack's lowest end.
#[cfg(windows)]
const GUARD: usize = 64 << 10;

#[cfg(not(any(target_os = "linux", target_vendor = "apple", windows)))]
fn bounds() -> Option<Bounds> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_frame_further_down_has_less_left() {
        #[inline(never)]
        fn further_down() -> Option<usize> {
            let filled = std::hint::black_box([0_u8; 4096]);
            let left = super::left();
            std::hint::black_box(filled);
            left
        }
        let here = super::left().expect("a test's thread has a stack of its own");
        assert!(further_down().expect("the same stack") < here);
    }

    #[test]
    fn a_small_stack_is_known_to_be_small() {
        let left = std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(super::left)
            .expect("a thread")
            .join()
            .expect("joined");
        assert!((1..256 << 10).contains(&left.expect("known")));
    }
}
