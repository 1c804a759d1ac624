//! Which worker this process is: for its signal handlers, and for code that may run in a child of
//! its task as well.

use std::sync::OnceLock;

use crate::sys::fault::{self, Fault};
use crate::sys::{asking, process};
#[cfg(feature = "tracing")]
use crate::task::crash::Phase;
use crate::worker::process::ipc::mailbox::Mailbox;

/// This worker's identity; the signal handler's way to the crash record.
static WORKER: OnceLock<WorkerIdentity> = OnceLock::new();

#[derive(Debug)]
struct WorkerIdentity {
    /// A process that the task forked has all of this too, and another number.
    pid: u32,
    mailbox: Mailbox,
}

impl WorkerIdentity {
    fn is_this_process(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// From here on this process is the worker that this mailbox belongs to.
pub(in crate::worker::process) fn become_the_worker_of(mailbox: Mailbox) -> &'static Mailbox {
    let identity = WORKER.get_or_init(|| WorkerIdentity {
        pid: std::process::id(),
        mailbox,
    });
    &identity.mailbox
}

pub(in crate::worker::process) fn is_the_worker() -> bool {
    WORKER.get().is_some_and(WorkerIdentity::is_this_process)
}

/// Which of all tasks that this worker was given, counted from 0, it runs; also asked in a child of
/// that task.
#[cfg(feature = "tracing")]
pub(in crate::worker::process::child) fn task() -> Option<u32> {
    let mailbox = &WORKER.get()?.mailbox;
    let runs = matches!(
        mailbox.phase(),
        Phase::Decoding | Phase::Running | Phase::Encoding
    );
    runs.then(|| mailbox.handoff().claims.begun_last())
}

/// Says that this worker is about to do something else than it is.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn set_phase_of_this_worker(phase: crate::task::crash::Phase) {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.set_phase(phase);
    }
}

/// Says that this worker has not begun what it runs.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn unsay_begun() {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.handoff().claims.unsay();
    }
}

/// Says that this worker has taken `bytes` bytes out of its ring, after its setup.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn pretend_to_have_taken(bytes: u64) {
    if let Some(worker) = WORKER.get() {
        worker.mailbox.pretend_to_have_taken(bytes);
    }
}

/// How many tasks this worker has that it has not begun.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) fn offered_ahead() -> u32 {
    let worker = WORKER.get();
    worker.map_or(0, |worker| worker.mailbox.handoff().claims.ahead())
}

/// The observer of fatal signals: in the fork server, and in a child of a task, it does nothing.
pub(crate) fn note_fault(fault: &Fault) {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note(fault, fault::is_stack_overflow(fault));
    }
}

/// What a worker does when it is asked where it is.
pub(crate) const ANSWER: asking::StackAnswer = asking::StackAnswer {
    walk: |instruction| {
        if let Some(worker) = worker_in_its_thread() {
            worker.mailbox.begin_answer(instruction);
        }
    },
    finish: || {
        if worker_in_its_thread().is_some_and(|worker| worker.mailbox.finish_answer()) {
            // What it has started is ended by the fork server, which hears of it.
            process::kill(std::process::id(), libc::SIGKILL);
        }
    },
};

/// This worker, in the thread that runs tasks: in the fork server, in a child of a task and in
/// threads that a task has started there is nothing to tell.
fn worker_in_its_thread() -> Option<&'static WorkerIdentity> {
    let worker = WORKER.get().filter(|worker| worker.is_this_process());
    worker.filter(|worker| process::thread_number() == worker.pid)
}

/// What this worker's sandbox will have refused if it ends the worker and cannot say what it was:
/// the kernel does it alone where a thread has blocked the signal, and for calls of another
/// processor's kind.
#[cfg(feature = "sandbox")]
pub(in crate::worker::process::child) fn note_sandbox() {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note_refused("a system call");
    }
}

/// The handler of what a sandbox refuses: as [`note_fault`], with what it was.
#[cfg(feature = "sandbox")]
pub(in crate::worker::process::child) fn note_refused(fault: &Fault, what: &str) {
    if let Some(worker) = WORKER.get().filter(|w| w.is_this_process()) {
        worker.mailbox.note_refused(what);
        worker.mailbox.note(fault, false);
    }
}
