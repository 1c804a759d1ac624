//! What a poisoned frame does to the worker that draws it.

#![expect(unsafe_code, reason = "it is a real fault of a real C function")]

use std::ffi::c_char;

/// A mistake in C: the length of a text where there is none.
pub(crate) fn read_nowhere() {
    let nowhere = std::ptr::without_provenance::<c_char>(std::hint::black_box(0x10));
    // SAFETY: there is none. It is the mistake that processes are there for.
    let len = unsafe { libc::strlen(nowhere) };
    std::hint::black_box(len);
}
