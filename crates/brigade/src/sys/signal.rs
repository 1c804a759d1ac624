//! Signals: blocking them (pthread_sigmask(3)), and what is done at one (sigaction(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::error;
use super::opened;

/// All signals blocked in this thread, until dropped.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// `None`: it was refused, which leaves nothing to put back.
    before: Option<libc::sigset_t>,
}

impl Blocked {
    pub(crate) fn all() -> Blocked {
        // SAFETY: both sets are written before they are read.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            let result = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Blocked {
                before: (result == 0).then_some(before),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let Some(before) = &self.before else {
            return;
        };
        // SAFETY: restores the set that was read above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
    }
}

/// Blocks SIGCHLD and gives a descriptor that is readable when one is pending: signalfd(2). All
/// other signals are let through.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset; the descriptor is new and ours.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) == -1 {
            return Err(error::last("sigprocmask(2)"));
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd == -1 {
            return Err(error::last("signalfd(2)"));
        }
        opened::lifted(OwnedFd::from_raw_fd(fd))
    }
}

/// Lets all signals through. In a child of a process that may change its mask, so that it may too.
///
/// By the bare call, sigprocmask(2): in a process that was just forked each page of the C library
/// that is used is a fault, and its functions for that are on two that nothing else uses.
pub(crate) fn unblock_all() {
    let none = 0_u64;
    // SAFETY: reads a set of the size that is given, in which there is no signal.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            size_of_val(&none),
        )
    };
    if done == 0 {
        return;
    }
    // There are more signals where the size is another.
    // SAFETY: the set is initialised by sigemptyset.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Gives `signal` its default action, or has it ignored. Both are what a child inherits, also
/// through exec.
pub(crate) fn set_default(signal: i32) {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// See [`set_default`].
pub(crate) fn set_ignored(signal: i32) {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The signals that end a worker by a fault of its own.
pub(crate) const FATAL: [i32; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGXCPU,
];

/// The instruction pointer and the stack pointer of an interrupted context.
///
/// # Safety
/// `context` is what the kernel gave to a handler with SA_SIGINFO.
pub(crate) unsafe fn registers(context: *mut libc::c_void) -> (usize, usize) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: by the caller's word.
    #[cfg(target_arch = "x86_64")]
    let (ip, sp) = unsafe {
        let registers = &(*context).uc_mcontext.gregs;
        (
            registers[libc::REG_RIP as usize] as usize,
            registers[libc::REG_RSP as usize] as usize,
        )
    };
    // SAFETY: by the caller's word.
    #[cfg(target_arch = "aarch64")]
    let (ip, sp) = unsafe {
        (
            (*context).uc_mcontext.pc as usize,
            (*context).uc_mcontext.sp as usize,
        )
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (ip, sp) = {
        let _ = context;
        (0, 0)
    };
    (ip, sp)
}

/// What SA_SIGINFO asks for.
pub(super) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Whether this handler is called for a signal.
pub(super) fn is_handled_by(signal: i32, handler: Handler) -> bool {
    // SAFETY: as in `is_default`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == handler as usize
    }
}

/// Whether a signal does what it does by default.
pub(crate) fn is_default(signal: i32) -> bool {
    // SAFETY: a zeroed action is a valid one to be written to; nothing is changed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_DFL
    }
}

/// Runs `write` so that a SIGPIPE that it causes is taken back: the thread blocks the signal
/// meanwhile, and then takes the one that came, unless one was pending before. A SIGPIPE goes to
/// the thread that writes. sigtimedwait(2).
pub(crate) fn without_sigpipe<R>(write: impl FnOnce() -> R) -> R {
    // SAFETY: the sets are this function's, and are filled before they are read; the mask that was
    // there is put back.
    unsafe {
        let (mut pipe, mut before, mut pending) = (
            std::mem::zeroed::<libc::sigset_t>(),
            std::mem::zeroed::<libc::sigset_t>(),
            std::mem::zeroed::<libc::sigset_t>(),
        );
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::sigpending(&raw mut pending);
        let was_pending = libc::sigismember(&raw const pending, libc::SIGPIPE) == 1;
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        let result = write();
        if !was_pending {
            let now = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            libc::sigtimedwait(&raw const pipe, std::ptr::null_mut(), &raw const now);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        result
    }
}
