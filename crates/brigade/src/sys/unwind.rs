//! Walking the stack: `_Unwind_Backtrace` of the C++ ABI, which std links already. Addresses only:
//! names are found elsewhere, later.

use std::ffi::c_void;

use serde::Serializer;

use super::image;

/// The calls on a stack, innermost first, by their addresses in the process whose stack it is.
pub(crate) type Calls = Vec<usize>;

/// Those on this thread's stack.
pub(crate) fn calls() -> Calls {
    let mut calls = [0; 128];
    let len = walk(&mut calls);
    calls[..len].to_vec()
}

/// Calls travel as addresses in the fork server of the process that they were found in.
pub(crate) fn serialize<S: Serializer>(calls: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(|&call| image::as_there(call)))
}

#[repr(C)]
struct UnwindContext {
    _opaque: [u8; 0],
}

type FrameCallback = unsafe extern "C" fn(*mut UnwindContext, *mut c_void) -> i32;

const GO_ON: i32 = 0;
const END_OF_STACK: i32 = 5;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: FrameCallback, data: *mut c_void) -> i32;
    fn _Unwind_GetIPInfo(context: *mut UnwindContext, before: *mut i32) -> usize;
}

struct Walk<'a> {
    into: &'a mut [usize],
    len: usize,
}

unsafe extern "C" fn step(context: *mut UnwindContext, data: *mut c_void) -> i32 {
    // SAFETY: `data` is the `Walk` that `walk` lends for the whole traversal.
    let walk = unsafe { &mut *data.cast::<Walk<'_>>() };
    let mut before = 0;
    // SAFETY: the unwinder gives a context that is valid for this call.
    let ip = unsafe { _Unwind_GetIPInfo(context, &raw mut before) };
    if ip == 0 || walk.len == walk.into.len() {
        return END_OF_STACK;
    }
    // A return address is after the call; the frame that a signal interrupted is at its very
    // instruction.
    walk.into[walk.len] = if before == 0 { ip - 1 } else { ip };
    walk.len += 1;
    GO_ON
}

/// Fills `into` with the addresses of the calls on this thread's stack, innermost first, and says
/// how many there are. Allocates nothing.
pub(crate) fn walk(into: &mut [usize]) -> usize {
    let mut walk = Walk { into, len: 0 };
    // SAFETY: `step` is called only during this call, with the `walk` that lives across it, and
    // does not unwind. In the handler of a fault the stack may be broken, and the unwinder may read
    // where nothing is, or go on for ever: then a second fault, or the alarm of `sys/fault.rs`,
    // ends the worker, which was ending.
    unsafe { _Unwind_Backtrace(step, std::ptr::from_mut(&mut walk).cast()) };
    walk.len
}

/// Of the calls on the stack of a signal's handler, those of the code that it interrupted at this
/// instruction. Empty: the handler's caller was not found, or the instruction is not known.
pub(crate) fn interrupted(calls: &[usize], instruction: usize) -> &[usize] {
    let at = calls.iter().position(|&call| call == instruction);
    at.map_or(&[], |at| &calls[at..])
}
