//! Why a worker died: the wait status, held against what the worker noted, what it wrote last, and
//! what the kernel counted.
//!
//! The status comes from the kernel and is believed. The note comes from the worker, in memory that
//! it could write: it can only refine what the status says, and a note that does not agree with it
//! is dropped.

use std::sync::{Arc, OnceLock};

use crate::Timeout;
use crate::sys::process::Ended;
use crate::task::crash::{Cause, Crash, Death, Phase};
use crate::task::name::TaskName;
use crate::task::symbols::{Frames, Symbols};
use crate::task::time_limit::TimeLimit;
use crate::task::whereabouts::Whereabouts;
use crate::worker::process::fork_server::streams::last_lines;
use crate::worker::process::ipc::exit_table::ExitRecord;
use crate::worker::process::ipc::mailbox::{Mailbox, RecordedFault};
use crate::worker::process::ipc::streams::without_marks;

/// Everything that is known of a death.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) pid: u32,
    pub(crate) phase: Phase,
    pub(crate) exit_record: ExitRecord,
    pub(crate) noted: Option<RecordedFault>,
    /// What its sandbox has refused, or will have: what it was ended by then.
    pub(crate) refused: Option<String>,
    /// Where it was when it was asked, before it was ended: its calls, innermost first. The
    /// worker's word.
    pub(crate) calls: Option<Vec<usize>>,
}

impl Evidence {
    /// Of a worker that has ended, from what the fork server says of it and what it has left in its
    /// mailbox.
    pub(crate) fn gather(pid: u32, mailbox: &Mailbox, mut exit_record: ExitRecord) -> Evidence {
        exit_record.forget_stderr_before(mailbox.stderr_before_task());
        Evidence {
            pid,
            phase: mailbox.phase(),
            exit_record,
            noted: mailbox.noted(),
            refused: mailbox.refused(),
            calls: None,
        }
    }

    /// Whether it ended by what it did itself, and not by a signal from outside.
    pub(crate) fn is_of_its_own(&self) -> bool {
        match self.exit_record.ended {
            Some(Ended::Exited(_)) => true,
            Some(Ended::Signaled(signal)) => self.noted.as_ref().is_some_and(|noted| {
                noted.signal == signal && noted.sender.is_none_or(|sender| sender == self.pid)
            }),
            None => false,
        }
    }

    fn last_stderr(&self) -> String {
        let lines = last_lines(&self.exit_record.stderr);
        String::from_utf8_lossy(&without_marks(lines.as_bytes())).into_owned()
    }

    pub(crate) fn into_crash(self, task: TaskName, symbols: &Arc<Symbols>) -> Crash {
        let stderr = self.last_stderr();
        let mut exit_record = self.exit_record;
        if let Some(noted) = self
            .noted
            .as_ref()
            .filter(|n| !n.whole && exit_record.ended == Some(Ended::Signaled(libc::SIGALRM)))
        {
            // It hung while it noted its fault, and its own alarm ended it.
            exit_record.ended = Some(Ended::Signaled(noted.signal));
        }
        let noted = self
            .noted
            .as_ref()
            .filter(|n| exit_record.ended == Some(Ended::Signaled(n.signal)));
        let out_of_memory = || {
            says_out_of_memory(&stderr)
                || noted.is_some_and(|n| {
                    Frames::new(symbols, n.calls.clone()).pass_through(is_allocation_failure)
                })
        };
        let cause = match cause(self.pid, &exit_record, noted, out_of_memory) {
            Cause::Signal(libc::SIGSYS) => {
                (self.refused).map_or(Cause::Signal(libc::SIGSYS), Cause::Sandbox)
            }
            cause => cause,
        };
        let address = noted
            .filter(|n| n.sender.is_none() && matches!(cause, Cause::Signal(_)))
            .map(|n| n.address);
        let calls = noted.map(|n| n.calls.clone()).unwrap_or_default();
        Crash(Box::new(Death {
            cause,
            pid: self.pid,
            task,
            phase: self.phase,
            stderr,
            address,
            frames: Frames::new(symbols, calls),
            backtrace: OnceLock::new(),
            file: None,
            file_error: None,
        }))
    }

    /// The timeout of a worker that was ended because its task ran over its time.
    pub(crate) fn into_timeout(
        self,
        task: TaskName,
        limit: TimeLimit,
        symbols: &Arc<Symbols>,
    ) -> Timeout {
        let stderr = self.last_stderr();
        let (pid, phase) = (Some(self.pid), Some(self.phase));
        let look = self.exit_record.look.unwrap_or_default();
        let place = Whereabouts::asked(pid, phase, symbols, self.calls, look);
        Timeout::at(task, limit, place, stderr)
    }

    /// The protocol was broken: whatever the status says came of that.
    pub(crate) fn into_lost(mut self, task: TaskName, symbols: &Arc<Symbols>) -> Crash {
        self.noted = None;
        let mut crash = self.into_crash(task, symbols);
        crash.0.cause = Cause::Lost;
        crash
    }
}

fn cause(
    pid: u32,
    exit_record: &ExitRecord,
    noted: Option<&RecordedFault>,
    out_of_memory: impl Fn() -> bool,
) -> Cause {
    let signal = match exit_record.ended {
        None => return Cause::Lost,
        Some(Ended::Exited(status)) => return Cause::Exit(status),
        Some(Ended::Signaled(signal)) => signal,
    };
    match (signal, noted) {
        // Nothing of ours kills without knowing it: a cancelled or timed-out task never comes here.
        (libc::SIGKILL, _) if exit_record.oom_killed => Cause::OutOfMemory,
        (libc::SIGKILL, _) => Cause::Killed(signal),
        (libc::SIGXCPU, _) => Cause::CpuLimit,
        (_, Some(n)) if n.overflow => Cause::StackOverflow,
        (libc::SIGABRT, _) if out_of_memory() => Cause::OutOfMemory,
        // kill(2) from outside; abort(3) and raise(3) send from inside.
        (_, Some(n)) if n.sender.is_some_and(|sender| sender != pid) => Cause::Killed(signal),
        (libc::SIGABRT, _) => Cause::Abort,
        _ if is_fault(signal) => Cause::Signal(signal),
        _ => Cause::Killed(signal),
    }
}

fn is_fault(signal: i32) -> bool {
    crate::sys::signal::FATAL.contains(&signal)
}

/// What Rust and C++ say before they abort for lack of memory.
fn says_out_of_memory(stderr: &str) -> bool {
    stderr.lines().rev().take(8).any(|line| {
        (line.contains("memory allocation of ") && line.contains(" bytes failed"))
            || line.contains("std::bad_alloc")
    })
}

/// The functions that Rust calls when an allocation has failed, for when a long backtrace has
/// pushed the line out of what is kept.
fn is_allocation_failure(function: &str) -> bool {
    function.ends_with("alloc::handle_alloc_error")
        || function.ends_with("alloc::rust_oom")
        || function.ends_with("__rust_alloc_error_handler")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 77;

    fn died(
        ended: Option<Ended>,
        noted: Option<RecordedFault>,
        stderr: &str,
        oom_killed: bool,
    ) -> Cause {
        cause(
            PID,
            &ExitRecord {
                ended,
                unstarted: None,
                oom_killed,
                stderr: Vec::new(),
                written: 0,
                look: None,
            },
            noted.as_ref(),
            || says_out_of_memory(stderr),
        )
    }

    fn noted(signal: i32, sender: Option<u32>, overflow: bool) -> Option<RecordedFault> {
        Some(RecordedFault {
            signal,
            sender,
            overflow,
            address: 0,
            calls: Vec::new(),
            whole: true,
        })
    }

    #[test]
    fn each_death_has_its_name() {
        let signaled = |s| Some(Ended::Signaled(s));
        let oom = "memory allocation of 1099511627776 bytes failed
";
        for (found, expected) in [
            (died(None, None, "", false), Cause::Lost),
            (
                died(Some(Ended::Exited(0)), None, "", false),
                Cause::Exit(0),
            ),
            (
                died(
                    signaled(libc::SIGSEGV),
                    noted(libc::SIGSEGV, None, false),
                    "",
                    false,
                ),
                Cause::Signal(libc::SIGSEGV),
            ),
            (
                died(
                    signaled(libc::SIGSEGV),
                    noted(libc::SIGSEGV, None, true),
                    "",
                    false,
                ),
                Cause::StackOverflow,
            ),
            (
                died(
                    signaled(libc::SIGSEGV),
                    noted(libc::SIGSEGV, Some(1), false),
                    "",
                    false,
                ),
                Cause::Killed(libc::SIGSEGV),
            ),
            (
                died(
                    signaled(libc::SIGSEGV),
                    noted(libc::SIGSEGV, Some(PID), false),
                    "",
                    false,
                ),
                Cause::Signal(libc::SIGSEGV),
            ),
            (
                died(signaled(libc::SIGSEGV), None, "", false),
                Cause::Signal(libc::SIGSEGV),
            ),
            (
                died(
                    signaled(libc::SIGABRT),
                    noted(libc::SIGABRT, Some(PID), false),
                    "",
                    false,
                ),
                Cause::Abort,
            ),
            (
                died(
                    signaled(libc::SIGABRT),
                    noted(libc::SIGABRT, Some(1), false),
                    "",
                    false,
                ),
                Cause::Killed(libc::SIGABRT),
            ),
            (
                died(
                    signaled(libc::SIGABRT),
                    noted(libc::SIGABRT, Some(PID), false),
                    oom,
                    false,
                ),
                Cause::OutOfMemory,
            ),
            (
                died(signaled(libc::SIGKILL), None, "", false),
                Cause::Killed(libc::SIGKILL),
            ),
            (
                died(signaled(libc::SIGKILL), None, "", true),
                Cause::OutOfMemory,
            ),
            (
                died(signaled(libc::SIGTERM), None, "", false),
                Cause::Killed(libc::SIGTERM),
            ),
            (
                died(
                    signaled(libc::SIGXCPU),
                    noted(libc::SIGXCPU, None, false),
                    "",
                    false,
                ),
                Cause::CpuLimit,
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}
