//! What signals are called: signal(7).

/// A signal's name, of those that end a process. `None`: it is called by its number.
#[cfg(unix)]
pub(crate) fn of(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGSEGV => "a segmentation fault (SIGSEGV)",
        libc::SIGBUS => "a bus error (SIGBUS)",
        libc::SIGILL => "an illegal instruction (SIGILL)",
        libc::SIGFPE => "an arithmetic fault (SIGFPE)",
        libc::SIGTRAP => "a trap (SIGTRAP)",
        libc::SIGSYS => "a forbidden system call (SIGSYS)",
        libc::SIGABRT => "SIGABRT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return None,
    })
}

/// Here there are none.
#[cfg(not(unix))]
pub(crate) fn of(_: i32) -> Option<&'static str> {
    None
}
