//! What the tests of the locks need: a thread that is known to wait.

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
    let (tell, hear) = mpsc::channel();
    let thread = scope.spawn(move || {
        let _ = tell.send(rustix::thread::gettid());
        f()
    });
    let tid = hear.recv().expect("the thread tells who it is");
    let path = format!("/proc/self/task/{}/syscall", tid.as_raw_nonzero());
    let began = Instant::now();
    while !is_asleep(&fs::read_to_string(&path).unwrap_or_default()) {
        assert!(!thread.is_finished(), "it ended, and should have waited");
        assert!(began.elapsed() < LIMIT, "it neither ends nor waits");
        std::thread::yield_now();
    }
    thread
}

/// Whether this is the system call in which a lock sleeps; proc_pid_syscall(5). std and the
/// allocator sleep too, but on private words.
fn is_asleep(call: &str) -> bool {
    let mut fields = call.split_ascii_whitespace();
    // The number, in decimal, then the arguments, in hexadecimal; or "running".
    let Some(number) = fields.next().and_then(|n| n.parse().ok()) else {
        return false;
    };
    match number {
        libc::SYS_futex_waitv => true,
        libc::SYS_futex => fields
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
