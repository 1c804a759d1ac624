//! What tests of locks and channels need: a thread that is known to wait.

use std::fs;
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// More than any machine takes to let a thread run up to its wait: only what hangs takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `f` in a thread, and comes back when it sleeps on a word of a lock. It may be woken again,
/// and look, at any time: any test's death does that.
pub(crate) fn waiting<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    waiting_in(scope, is_on_a_lock, f)
}

/// As [`waiting`], for a thread that sleeps until a descriptor is ready.
pub(crate) fn polling<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    waiting_in(scope, |number, _| number == libc::SYS_ppoll, f)
}

fn waiting_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    is_asleep: fn(i64, &str) -> bool,
    f: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    let (tell, hear) = mpsc::channel();
    let thread = scope.spawn(move || {
        let _ = tell.send(rustix::thread::gettid());
        f()
    });
    let tid = hear.recv().expect("the thread tells who it is");
    let path = format!("/proc/self/task/{}/syscall", tid.as_raw_nonzero());
    let began = Instant::now();
    loop {
        // The number, in decimal, then the arguments, in hexadecimal; or "running":
        // proc_pid_syscall(5).
        let call = fs::read_to_string(&path).unwrap_or_default();
        let (number, arguments) = call.split_once(' ').unwrap_or_default();
        if number.parse().is_ok_and(|n| is_asleep(n, arguments)) {
            return thread;
        }
        assert!(!thread.is_finished(), "it ended, and should have waited");
        assert!(began.elapsed() < LIMIT, "it neither ends nor waits");
        std::thread::yield_now();
    }
}

/// Whether this is the system call in which a lock sleeps. std and the allocator sleep too, but on
/// private words.
fn is_on_a_lock(number: i64, arguments: &str) -> bool {
    match number {
        libc::SYS_futex_waitv => true,
        libc::SYS_futex => arguments
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|operation| i32::from_str_radix(operation.trim_start_matches("0x"), 16).ok())
            .is_some_and(|operation| {
                operation & libc::FUTEX_PRIVATE_FLAG == 0
                    && matches!(
                        operation & libc::FUTEX_CMD_MASK,
                        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET
                    )
            }),
        _ => false,
    }
}
