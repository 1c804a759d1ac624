//! Threads whose stacks cannot be walked.

use std::arch::asm;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{ask, ask_thread, this_thread};
use crate::process;
use crate::sys::futex;

/// Where nothing is.
const NOWHERE: usize = 0x8000;

/// Runs without a stack until `end` is not 0: a walk of it meets a fault.
fn run_without_stack(end: &AtomicU32) {
    // SAFETY: nothing is pushed meanwhile, and both registers are put back. A signal's handler runs
    // on the alternate stack, which the caller has seen to.
    unsafe {
        asm!(
            "mov {stack}, rsp",
            "mov {frame}, rbp",
            "mov rsp, {nowhere}",
            "mov rbp, {nowhere}",
            "2:",
            "pause",
            "cmp dword ptr [{end}], 0",
            "je 2b",
            "mov rsp, {stack}",
            "mov rbp, {frame}",
            stack = out(reg) _,
            frame = out(reg) _,
            nowhere = in(reg) NOWHERE,
            end = in(reg) end.as_ptr(),
        );
    }
}

/// Gives this thread an alternate stack that a walk has room on.
fn take_alternate_stack() {
    let memory = Box::leak(vec![0_u8; 256 * 1024].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is never freed.
    let taken = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert_eq!(taken, 0);
}

static END: AtomicU32 = AtomicU32::new(0);
static FIRST: AtomicU32 = AtomicU32::new(0);
static SECOND: AtomicU32 = AtomicU32::new(0);
static ANSWERS: AtomicUsize = AtomicUsize::new(0);

/// In a worker: its first thread is asked all the time, as by its host, and another one as by a
/// pool of threads.
fn two_are_asked(times: usize) -> usize {
    FIRST.store(this_thread(), Ordering::SeqCst);
    std::thread::spawn(|| {
        take_alternate_stack();
        SECOND.store(this_thread(), Ordering::SeqCst);
        run_without_stack(&END);
    });
    let first = FIRST.load(Ordering::SeqCst);
    std::thread::spawn(move || {
        while END.load(Ordering::SeqCst) == 0 {
            // As many as may wait for it at a time.
            ask(std::process::id(), first);
            futex::rest(Duration::from_micros(10));
        }
    });
    std::thread::spawn(move || {
        while SECOND.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..times {
            let soon = Instant::now() + Duration::from_secs(1);
            let (calls, _) = ask_thread(SECOND.load(Ordering::SeqCst), soon);
            ANSWERS.fetch_add(usize::from(calls.is_some()), Ordering::SeqCst);
        }
        END.store(1, Ordering::SeqCst);
    });
    run_without_stack(&END);
    ANSWERS.load(Ordering::SeqCst)
}

#[test]
fn faults_in_two_walks_at_once_end_neither_thread() {
    crate::init();
    let times = 300;
    let asked = process::spawn(two_are_asked, times).expect("starts");
    let answers = asked.join().expect("it goes on");
    assert!(answers > 0, "of {times}");
}
