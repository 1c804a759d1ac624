//! The atomics of everything that is shared: std's, or loom's when its models are run (`scripts/loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Between two accesses that are `SeqCst`: nothing. Loom knows that order for fences only, so it gets one.
#[inline]
pub(crate) fn fence_in_models() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
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
