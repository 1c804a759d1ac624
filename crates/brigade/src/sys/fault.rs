//! Fatal signals, in worker processes only: they are caught, noted, and then end the process as if
//! there were no handler. sigaction(2), sigaltstack(2).

use std::io;
use std::sync::OnceLock;

use super::asking;
use super::error::{self, Call};
use super::signal::{self, FATAL};

/// What the kernel says of a fatal signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) signal: i32,
    /// The address that was accessed, for faults of memory and arithmetic; otherwise 0.
    pub(crate) address: usize,
    /// Where the thread was, and where its stack was; 0 on processors whose registers we do not
    /// read.
    pub(crate) instruction: usize,
    pub(crate) stack: usize,
    /// The process that sent it, where one did.
    pub(crate) sender: Option<u32>,
}

static OBSERVER: OnceLock<fn(&Fault)> = OnceLock::new();

/// Has `observer` called, on a stack of its own, when a fatal signal comes; the signal then ends
/// the process as if there were no handler.
///
/// `observer` runs in a signal handler: it may only touch memory that is there already. Should it
/// hang all the same, an alarm ends the process. The stack is that of the calling thread and of
/// processes forked from it.
pub(crate) fn observe_faults(observer: fn(&Fault)) -> io::Result<()> {
    const STACK: usize = 64 * 1024;
    if OBSERVER.set(observer).is_err() {
        return Ok(());
    }
    // Fresh pages, which were never touched: a fork has nothing to copy.
    // SAFETY: the kernel chooses a range that was free.
    let stack = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            STACK,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE,
        )
    }
    .call("mmap(2)")?;
    // SAFETY: the stack is never unmapped, so it is there for as long as the process is.
    unsafe {
        let alternate = libc::stack_t {
            ss_sp: stack,
            ss_flags: 0,
            ss_size: STACK,
        };
        if libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) == -1 {
            return Err(error::last("sigaltstack(2)"));
        }
    }
    if !catch(&FATAL) {
        return Err(error::last("sigaction(2)"));
    }
    Ok(())
}

/// Has `handler` called for these signals. `false`: it is refused.
fn catch(signals: &[i32]) -> bool {
    // SAFETY: a zeroed action is a valid one; `handler` has the type that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(_, _, _) as usize;
        // Not blocked meanwhile: see `handler`.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&raw mut action.sa_mask);
        // One that dies is asked nothing: what is on its stack is ours.
        libc::sigaddset(&raw mut action.sa_mask, asking::signal());
        let mut all = signals.iter();
        all.all(|&signal| libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0)
    }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `info` with SA_SIGINFO.
    let is_of_the_kernel = unsafe { (*info).si_code > 0 };
    // The limit of processor time comes from the kernel too, at any instruction.
    let is_fault = is_of_the_kernel && signal != libc::SIGXCPU;
    if is_fault && asking::abandon(context) {
        // It was not the program's. The next may be, or that of another thread meanwhile: so the
        // handler stays (no `SA_RESETHAND`).
        return;
    }
    // Once only: a fault in here ends the process at once.
    // SAFETY: no memory is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    arm_alarm();
    // SAFETY: the kernel gives a valid `info` with SA_SIGINFO, all of whose bytes are written, so
    // that each field of its union can be read. Which one means something depends on `si_code`; one
    // that does not is a wrong number in a report.
    let (sender, address) = unsafe {
        // Zero and below: sent by a process (SI_USER, SI_TKILL, SI_QUEUE), not by the kernel for a
        // fault.
        match (*info).si_code {
            ..=0 => (Some((*info).si_pid() as u32), 0),
            _ => (None, (*info).si_addr() as usize),
        }
    };
    // SAFETY: the kernel gives the interrupted context, with SA_SIGINFO.
    let (instruction, stack, is_own) = unsafe {
        let (instruction, stack) = signal::registers(context);
        (instruction, stack, sends(context, signal))
    };
    // Where a user has as many signals queued as RLIMIT_SIGPENDING says, they come without a
    // sender, which is 0 then; so is one of an outer pid namespace.
    let sender = match sender {
        Some(0) if is_own => Some(std::process::id()),
        sender => sender,
    };
    if let Some(observer) = OBSERVER.get() {
        observer(&Fault {
            signal,
            address,
            instruction,
            stack,
            sender,
        });
    }
    // SAFETY: no memory is involved. The action is the default now, so this ends the process with
    // the same signal.
    unsafe { libc::raise(signal) };
}

/// Ends the process in half a second, whatever it does: the observer walks a stack that may be
/// broken.
fn arm_alarm() {
    // SAFETY: async-signal-safe calls (signal-safety(7); setitimer is a plain system call), with
    // values on this stack.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        let timer = libc::itimerval {
            it_interval: libc::timeval {
                tv_sec: 0,
                tv_usec: 0,
            },
            it_value: libc::timeval {
                tv_sec: 0,
                tv_usec: 500_000,
            },
        };
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null_mut::<libc::itimerval>(),
        );
    }
}

/// Whether the interrupted thread has just sent this signal to itself: raise(3), abort(3), by
/// tgkill(2) or tkill(2).
///
/// # Safety
/// As of [`registers`](signal::registers).
#[allow(
    clippy::allow_attributes,
    unused_variables,
    reason = "not on all processors"
)]
unsafe fn sends(context: *mut libc::c_void, signal: libc::c_int) -> bool {
    let context = context.cast::<libc::ucontext_t>();
    let is = |number: u64, arguments: [u64; 3]| {
        number as libc::c_long == libc::SYS_tgkill && arguments[2] == signal as u64
            || number as libc::c_long == libc::SYS_tkill && arguments[1] == signal as u64
    };
    // A system call leaves its arguments as they were; on x86-64 its number is gone, and the
    // address behind it is in another register.
    // SAFETY: by the caller's word.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let registers = &(*context).uc_mcontext.gregs;
        let of = |register: libc::c_int| registers[register as usize] as u64;
        let arguments = [of(libc::REG_RDI), of(libc::REG_RSI), of(libc::REG_RDX)];
        let called = of(libc::REG_RCX) == of(libc::REG_RIP) && of(libc::REG_RAX) == 0;
        called
            && [libc::SYS_tgkill, libc::SYS_tkill]
                .iter()
                .any(|&number| is(number as u64, arguments))
    }
    // SAFETY: by the caller's word.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let registers = &(*context).uc_mcontext.regs;
        is(registers[8], [registers[0], registers[1], registers[2]])
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// The main thread's stack, lowest address first; learnt once, before any fault.
static MAIN_STACK: OnceLock<std::ops::Range<usize>> = OnceLock::new();

/// Learns where this thread's stack ends, for [`is_stack_overflow`]. pthread_getattr_np(3).
pub(crate) fn learn_stack() {
    // SAFETY: the attributes are initialised by the first call, read by the second, and destroyed.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) == 0 {
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            if libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size) == 0
            {
                let _ = MAIN_STACK.set(low as usize..low as usize + size);
            }
            libc::pthread_attr_destroy(&raw mut attributes);
        }
    }
}

/// Whether a fault is a stack's end: an access close to the stack pointer, or just below the main
/// thread's stack.
///
/// Rust touches a large frame page by page, so it faults next to the stack pointer; C may skip a
/// few pages.
pub(crate) fn is_stack_overflow(fault: &Fault) -> bool {
    const NEAR: usize = 64 * 1024;
    const GUARD: usize = 1024 * 1024;
    if fault.sender.is_some()
        || !(fault.signal == libc::SIGSEGV || fault.signal == libc::SIGBUS)
        || fault.address == 0
    {
        return false;
    }
    let near = fault.stack != 0 && fault.address.abs_diff(fault.stack) <= NEAR;
    let below = MAIN_STACK
        .get()
        .is_some_and(|s| (s.start.saturating_sub(GUARD)..s.start + NEAR).contains(&fault.address));
    near || below
}
