//! Words in memory that processes share, and how to sleep on them: std's and the kernel's, or
//! loom's when its models are run (`scripts/loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
pub(crate) use std::sync::atomic::fence;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Futexes, futex(2): shared ones; private ones where there are no processes.
pub(crate) mod futex {
    #[cfg(loom)]
    pub(crate) use crate::sim::loom_os::{wait, wait_either, wake_all, wake_one};
    pub(crate) use crate::sys::futex::Wake;
    #[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
    pub(crate) use crate::sys::futex::{
        wait_either, wait_shared as wait, wake_all_shared as wake_all, wake_shared as wake_one,
    };
    #[cfg(any(not(target_os = "linux"), brigade_portable))]
    pub(crate) use crate::sys::futex::{wake_all_private as wake_all, wake_one};
}

/// A full fence, right after an atomic read-modify-write: a swap, as that by which a lock is let go
/// of, a compare-and-swap that has exchanged, or an addition. On x86-64 that is one already (Intel's
/// manual, volume 3A, "Memory Ordering": no load or store is reordered with a locked instruction).
#[cfg(any(loom, all(target_os = "linux", not(brigade_portable))))]
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    if cfg!(all(target_arch = "x86_64", not(any(loom, miri)))) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Between two accesses that are `SeqCst`: nothing. Loom knows that order for fences only, so it
/// gets one.
#[inline]
pub(crate) fn fence_in_models() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Stores into a word that others change by compare-and-swap.
///
/// In models a swap, which no more than says that it comes after what was there: loom does not
/// conclude that a store which comes after what a compare-and-swap has read comes after what that
/// wrote, too, and reports a wake-up lost that cannot be.
#[inline]
pub(crate) fn store_over(word: &AtomicU32, value: u32, order: Ordering) {
    if cfg!(loom) {
        word.swap(value, order);
    } else {
        word.store(value, order);
    }
}

/// Functions that are `const`, but not in models: loom's atomics are made at run time.
macro_rules! const_but_in_models {
    ($($(#[$about:meta])* $visible:vis const fn $name:ident $($rest:tt)*)?) => {
        $(
            #[cfg(not(loom))]
            $(#[$about])*
            $visible const fn $name $($rest)*
            #[cfg(loom)]
            $(#[$about])*
            $visible fn $name $($rest)*
        )?
    };
}
