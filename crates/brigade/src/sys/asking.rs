//! Asking a thread where it is: a real-time signal, whose handler walks the stack of the thread
//! that it interrupts. sigaction(2), signal(7).
//!
//! A task is not to notice. System calls go on where they were (`SA_RESTART`; those that signal(7)
//! names are not restarted by any handler: `poll`, `epoll_wait`, `nanosleep` and others return
//! EINTR), errno is as it was, and the handler runs on the alternate stack where there is one.
//!
//! The unwinder believes the stack that it walks. Where that is broken it may read where nothing
//! is: in a worker, whose faults are observed (`fault.rs`), such a fault ends the walk and not the
//! worker. The observer of faults asks [`abandon`] first.

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests;
mod threads;

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence};

use super::error;
use super::signal::{self, FATAL};
pub(crate) use threads::{ask_thread, begin_in_program};

/// What is done with an interrupted thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackAnswer {
    /// Walks the stack. Given the instruction at which the thread was interrupted, or 0 where the
    /// registers are not read. It may only touch memory that is there already.
    pub(crate) walk: fn(usize),
    /// After that, and also where the walk was broken off.
    pub(crate) finish: fn(),
}

static ANSWER: OnceLock<StackAnswer> = OnceLock::new();

/// The signal. Programs that have uses of their own for real-time signals mostly take the first or
/// the last.
pub(crate) fn signal() -> i32 {
    libc::SIGRTMAX() - 9
}

/// In a process that is to be a worker: from now on its first thread answers so, on the alternate
/// stack.
pub(crate) fn begin(answer: StackAnswer) -> io::Result<()> {
    if ANSWER.set(answer).is_err() {
        return Ok(());
    }
    handle(libc::SA_ONSTACK)
}

/// Signals that are not blocked in the handler.
pub(super) const LET_THROUGH: [i32; 8] = FATAL;

fn handle(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: a zeroed action is a valid one; `handler` has the type that SA_SIGINFO asks for.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | flags;
        // Others wait until the walk is over, but for faults.
        libc::sigfillset(&raw mut action.sa_mask);
        for fault in LET_THROUGH {
            libc::sigdelset(&raw mut action.sa_mask, fault);
        }
        libc::sigaction(signal(), &raw const action, std::ptr::null_mut())
    };
    if set == -1 {
        return Err(error::last("sigaction(2)"));
    }
    Ok(())
}

/// A thread that walks, and the context that its handler returns to; 0: none.
struct Walker {
    thread: AtomicU32,
    context: AtomicUsize,
}

/// Those that walk. They are no more than two, mostly: the first thread of a worker, which its host
/// asks, and the one that a pool of threads asks, in the same process. One that found no place here
/// would not survive a fault in its walk.
static WALKERS: [Walker; 8] = [const {
    Walker {
        thread: AtomicU32::new(0),
        context: AtomicUsize::new(0),
    }
}; 8];

impl Walker {
    /// This thread walks from now on.
    fn enter(context: usize) -> Option<&'static Walker> {
        let thread = this_thread();
        let walker = WALKERS.iter().find(|walker| {
            (walker.thread)
                .compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })?;
        walker.context.store(context, Ordering::Relaxed);
        Some(walker)
    }

    /// The one of this thread, if it walks.
    fn here() -> Option<&'static Walker> {
        let thread = this_thread();
        WALKERS.iter().find(|walker| {
            walker.thread.load(Ordering::Relaxed) == thread
                && walker.context.load(Ordering::Relaxed) != 0
        })
    }

    fn leave(&self) {
        self.context.store(0, Ordering::Relaxed);
        self.thread.store(0, Ordering::Release);
    }
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the C library's own, of this thread.
    let errno = unsafe { *libc::__errno_location() };
    let answer = threads::asked_here().map_or_else(|| ANSWER.get(), |_| Some(&threads::ANSWER));
    if let Some(answer) = answer {
        // SAFETY: the kernel gives the interrupted context, with SA_SIGINFO.
        let (instruction, _) = unsafe { signal::registers(context) };
        let walker = Walker::enter(context as usize);
        compiler_fence(Ordering::SeqCst);
        (answer.walk)(instruction);
        compiler_fence(Ordering::SeqCst);
        if let Some(walker) = walker {
            walker.leave();
        }
        (answer.finish)();
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn this_thread() -> u32 {
    // SAFETY: gettid(2) takes nothing, and cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as u32
}

/// In the handler of a fault of the kernel's making, with its context: whether this thread walked
/// its stack, which has gone wrong. Then the walk is broken off: when the fault's handler returns,
/// the thread goes on where it was asked.
pub(super) fn abandon(context: *mut libc::c_void) -> bool {
    let Some(walker) = Walker::here() else {
        return false;
    };
    let asked = walker.context.load(Ordering::Relaxed);
    // SAFETY: the kernel gave `context` to the handler that calls this, on this thread.
    if !unsafe { return_from(context.cast(), asked) } {
        return false;
    }
    walker.leave();
    match threads::asked_here() {
        Some(_) => (threads::ANSWER.finish)(),
        None => {
            if let Some(answer) = ANSWER.get() {
                (answer.finish)();
            }
        }
    }
    true
}

/// Has a fault's handler return to the end of the handler that it interrupted, whose context was
/// `asked`. `false`: not on this processor.
///
/// # Safety
/// `context` is what the kernel gave to the running handler, and `asked` what it gave to the one
/// that this has interrupted.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn return_from(context: *mut libc::ucontext_t, asked: usize) -> bool {
    /// rt_sigreturn(2) finds the interrupted registers, signal mask and alternate stack in the
    /// frame that the kernel made, which it takes to be where the stack pointer is. That began with
    /// a return address, which the handler's own return would have taken off; the context follows
    /// it.
    unsafe extern "C" fn sigreturn(frame: usize) -> ! {
        // SAFETY: by the word of the code that set the registers so that this is called.
        unsafe {
            std::arch::asm!(
                "mov rsp, {frame}",
                "mov eax, 15",
                "syscall",
                "ud2",
                frame = in(reg) frame,
                options(noreturn),
            )
        }
    }
    // As at a call: the stack pointer is 8 below a multiple of 16. What is below the frame was the
    // interrupted handler's.
    let stack = (asked - 128) / 16 * 16 - 8;
    // SAFETY: by the caller's word.
    unsafe {
        let registers = &mut (*context).uc_mcontext.gregs;
        registers[libc::REG_RDI as usize] = asked as i64;
        registers[libc::REG_RSP as usize] = stack as i64;
        registers[libc::REG_RIP as usize] = sigreturn as *const () as i64;
    }
    true
}

/// As above: a frame begins with the `siginfo_t`, and the context follows it.
///
/// # Safety
/// As above.
#[cfg(all(target_arch = "aarch64", not(miri)))]
unsafe fn return_from(context: *mut libc::ucontext_t, asked: usize) -> bool {
    unsafe extern "C" fn sigreturn(frame: usize) -> ! {
        // SAFETY: by the word of the code that set the registers so that this is called.
        unsafe {
            std::arch::asm!(
                "mov sp, {frame}",
                "mov x8, #139",
                "svc #0",
                "brk #0",
                frame = in(reg) frame,
                options(noreturn),
            )
        }
    }
    let frame = asked - size_of::<libc::siginfo_t>();
    // SAFETY: by the caller's word.
    unsafe {
        let registers = &mut (*context).uc_mcontext;
        registers.regs[0] = frame as u64;
        registers.sp = ((frame - 128) / 16 * 16) as u64;
        registers.pc = sigreturn as *const () as u64;
    }
    true
}

/// Unknown.
///
/// # Safety
/// None is needed.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
unsafe fn return_from(_: *mut libc::ucontext_t, _: usize) -> bool {
    false
}

/// Asks a thread of a process. It is certain to be that one's if the process is a child of this one
/// that is not reaped meanwhile, or this one. tgkill(2).
pub(crate) fn ask(process: u32, thread: u32) -> bool {
    // SAFETY: numbers only.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            process as libc::pid_t,
            thread as libc::pid_t,
            signal(),
        )
    };
    sent == 0
}
