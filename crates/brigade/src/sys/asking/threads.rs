//! The threads of this process, where the program wants them to be asked: one after the other.
//!
//! 1. The asking thread writes which thread it asks into the [`Record`], and sends the signal.
//! 2. The handler of that thread takes the question (a step of the state that either side can
//!    make, and only one does), notes its calls and wakes the asking thread.
//! 3. An asking thread that has waited long enough takes the question back. A signal that comes
//!    later finds no question. A handler that had begun is waited for once more; if it does not
//!    come to an end either, the record is left to it for ever, and another is made.
//!
//! The handler runs on the thread's own stack: the alternate ones that the standard library gives
//! its threads are too small for a walk.

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{StackAnswer, ask, handle, signal, this_thread};
use crate::sys::blocked::{self, Look};
use crate::sys::per_process::PerProcess;
use crate::sys::{futex, signal as signals, unwind};

const CALLS: usize = 128;

/// Nothing is asked.
const IDLE: u32 = 0;
const ASKED: u32 = 1;
/// The thread notes its calls.
const ANSWERS: u32 = 2;
const ANSWERED: u32 = 3;

pub(super) struct Record {
    state: AtomicU32,
    thread: AtomicU32,
    len: AtomicUsize,
    calls: [AtomicUsize; CALLS],
}

/// The record of the last question, or null. None is ever freed: a handler may look at it.
static RECORD: AtomicPtr<Record> = AtomicPtr::new(std::ptr::null_mut());

fn record() -> Option<&'static Record> {
    // SAFETY: null, or leaked by `ask_thread`.
    unsafe { RECORD.load(Ordering::Acquire).as_ref() }
}

/// In the handler: whether this thread of this process is asked, or answers.
pub(super) fn asked_here() -> Option<&'static Record> {
    record().filter(|record| {
        let state = record.state.load(Ordering::Acquire);
        (state == ASKED || state == ANSWERS)
            && record.thread.load(Ordering::Relaxed) == this_thread()
    })
}

pub(super) static ANSWER: StackAnswer = StackAnswer {
    walk: |instruction| {
        let Some(record) = asked_here() else {
            return;
        };
        let taken =
            record
                .state
                .compare_exchange(ASKED, ANSWERS, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_err() {
            return;
        }
        record.calls[0].store(instruction, Ordering::Relaxed);
        let known = usize::from(instruction != 0);
        record.len.store(known, Ordering::Relaxed);
        let mut calls = [0; CALLS + 16];
        let len = unwind::walk(&mut calls);
        let calls = unwind::interrupted(&calls[..len], instruction);
        for (into, call) in record.calls.iter().zip(calls) {
            into.store(*call, Ordering::Relaxed);
        }
        let len = calls.len().min(CALLS).max(known);
        record.len.store(len, Ordering::Relaxed);
    },
    finish: || {
        let Some(record) = asked_here() else {
            return;
        };
        let answered =
            record
                .state
                .compare_exchange(ANSWERS, ANSWERED, Ordering::AcqRel, Ordering::Relaxed);
        if answered.is_ok() {
            futex::wake_all_private(&record.state);
        }
    },
};

/// One question at a time.
static ASKING: PerProcess<Mutex<()>> = PerProcess::new(Mutex::default);

/// In the program itself: from now on its threads answer.
///
/// # Errors
/// The program has a handler of its own for the signal, or ignores it.
pub(crate) fn begin_in_program() -> io::Result<()> {
    // In a worker, or in a fork, it is there already.
    if signals::is_handled_by(signal(), super::handler) {
        return Ok(());
    }
    if !signals::is_default(signal()) {
        let what = "threads cannot be asked for their stacks: the program has a handler of its own for the signal SIGRTMAX-9";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    }
    handle(0)
}

/// The calls that a thread of this process is in, innermost first, if it answers by then; and how
/// it looks from outside.
pub(crate) fn ask_thread(thread: u32, deadline: Instant) -> (Option<Vec<usize>>, Look) {
    let process = std::process::id();
    let look = blocked::look(process, thread);
    if look.cannot_answer.is_some() || thread == 0 {
        return (None, look);
    }
    let asking = ASKING.get();
    let _one = asking.lock().unwrap_or_else(PoisonError::into_inner);
    let record = record().filter(|record| record.state.load(Ordering::Acquire) == IDLE);
    let record = record.unwrap_or_else(|| {
        let new: &'static Record = Box::leak(Box::new(Record {
            state: AtomicU32::new(IDLE),
            thread: AtomicU32::new(0),
            len: AtomicUsize::new(0),
            calls: [const { AtomicUsize::new(0) }; CALLS],
        }));
        RECORD.store(std::ptr::from_ref(new).cast_mut(), Ordering::Release);
        new
    });
    record.thread.store(thread, Ordering::Relaxed);
    record.state.store(ASKED, Ordering::Release);
    if ask(process, thread) {
        wait(record, deadline);
    }
    let taken_back =
        (record.state).compare_exchange(ASKED, IDLE, Ordering::AcqRel, Ordering::Acquire);
    if taken_back == Err(ANSWERS) {
        // It is at it, and may be waiting for a processor.
        wait(record, Instant::now() + FINISH_ANSWER_WITHIN);
    }
    if record.state.load(Ordering::Acquire) != ANSWERED {
        return (None, look);
    }
    let len = record.len.load(Ordering::Relaxed).min(CALLS);
    let calls = record.calls[..len].iter();
    let calls = calls.map(|call| call.load(Ordering::Relaxed)).collect();
    fence(Ordering::Acquire);
    record.state.store(IDLE, Ordering::Release);
    (Some(calls), look)
}

/// How long a thread is waited for that has begun to answer.
const FINISH_ANSWER_WITHIN: Duration = Duration::from_millis(50);

fn wait(record: &Record, deadline: Instant) {
    loop {
        let state = record.state.load(Ordering::Acquire);
        if state == ANSWERED {
            return;
        }
        if futex::wait_private(&record.state, state, Some(deadline)) == futex::Wake::TimedOut {
            return;
        }
    }
}
