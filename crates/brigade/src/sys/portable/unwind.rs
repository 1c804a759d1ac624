//! The calls on a stack, as the crate `backtrace` finds them.

use serde::Serializer;

/// Innermost first, by their addresses.
pub(crate) type Calls = Vec<usize>;

/// No more are noted.
#[cfg(feature = "backtrace")]
const MAX_FRAMES: usize = 128;

/// Those on this thread's stack.
#[cfg(feature = "backtrace")]
pub(crate) fn calls() -> Calls {
    let mut calls = Vec::new();
    backtrace::trace(|frame| {
        // A return address is after the call.
        calls.push((frame.ip() as usize).saturating_sub(1));
        calls.len() < MAX_FRAMES
    });
    calls
}

/// Calls would have no names.
#[cfg(not(feature = "backtrace"))]
pub(crate) fn calls() -> Calls {
    Vec::new()
}

/// Calls stay in this process.
pub(crate) fn serialize<S: Serializer>(calls: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls)
}
