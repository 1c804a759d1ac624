//! Calls that the filter neither allows nor refuses at once come here, in a signal handler: SIGSYS,
//! seccomp(2) `SECCOMP_RET_TRAP`.
//!
//! - Some are done in another way, which Landlock can judge: a file's metadata is read through the
//!   opened file, so that it can be had for what may be opened.
//! - The others end the worker; what it tried is noted.
//!
//! The handler is no wall: a hostile task can do what the handler does, and so no call is allowed
//! for its sake that would not be allowed to the task. It does not change its handler, nor
//! the mask under which it runs: SIGSYS is blocked in it, and a call that is trapped while the
//! signal is blocked ends the process.

#![expect(
    unsafe_code,
    reason = "a signal handler; system calls with a task's own pointers"
)]

use std::ffi::c_void;
use std::io;
use std::sync::OnceLock;

use libc::{c_int, c_long};

use super::calls;
use super::text::CallText;
use crate::sys::error;
use crate::sys::fault::Fault;
use crate::sys::signal;

/// What the handler does with a call that it cannot do in another way: it notes where that was, and
/// what.
pub(super) type NoteRefusal = fn(&Fault, &str);

/// How calls are to be handled.
#[derive(Debug)]
pub(super) struct Handling {
    /// Files may be opened, as far as Landlock lets them.
    pub(super) opens: bool,
    /// What is refused ends the worker.
    pub(super) kills: bool,
    pub(super) note: NoteRefusal,
}

static HANDLING: OnceLock<Handling> = OnceLock::new();

/// A call that was trapped.
struct Trapped {
    number: c_long,
    arguments: [usize; 6],
}

/// Has trapped calls come here. Once for a process, while it has one thread.
pub(super) fn handle(handling: Handling) -> io::Result<()> {
    let _ = HANDLING.set(handling);
    // SAFETY: a zeroed action is one without flags and mask; `handler` has the type that SA_SIGINFO
    // asks for.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    if set == -1 {
        return Err(error::last("sigaction(2)"));
    }
    Ok(())
}

/// `si_code` of a call that a filter trapped: sigaction(2).
const SYS_SECCOMP: c_int = 1;

extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel gives both, with SA_SIGINFO; nothing else in this process uses them.
    let (code, context) = unsafe { ((*info).si_code, &mut *context) };
    if code != SYS_SECCOMP {
        // Another process sent it. There is nothing to refuse.
        return;
    }
    // SAFETY: the C library's own, of this thread.
    let errno = unsafe { *libc::__errno_location() };
    let call = trapped(context);
    let result = match HANDLING.get() {
        Some(handling) => handle_call(handling, &call, context),
        None => REFUSED,
    };
    set_result(context, result);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_arch = "x86_64")]
fn trapped(context: &libc::ucontext_t) -> Trapped {
    let registers = &context.uc_mcontext.gregs;
    let of = |register: c_int| registers[register as usize] as usize;
    Trapped {
        number: of(libc::REG_RAX) as c_long,
        arguments: [
            of(libc::REG_RDI),
            of(libc::REG_RSI),
            of(libc::REG_RDX),
            of(libc::REG_R10),
            of(libc::REG_R8),
            of(libc::REG_R9),
        ],
    }
}

#[cfg(target_arch = "x86_64")]
fn set_result(context: &mut libc::ucontext_t, result: isize) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result as i64;
}

#[cfg(target_arch = "aarch64")]
fn trapped(context: &libc::ucontext_t) -> Trapped {
    let registers = &context.uc_mcontext.regs;
    Trapped {
        number: registers[8] as c_long,
        arguments: std::array::from_fn(|i| registers[i] as usize),
    }
}

#[cfg(target_arch = "aarch64")]
fn set_result(context: &mut libc::ucontext_t, result: isize) {
    context.uc_mcontext.regs[0] = result as u64;
}

/// A system call with a task's own arguments: its result, or an error's number below zero.
fn raw(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    // SAFETY: the task made this very call, or one of those in `instead`, with these pointers; what
    // the kernel reads and writes there is what it would have without a filter.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        // SAFETY: the C library's own, of this thread.
        return -(unsafe { *libc::__errno_location() } as isize);
    }
    result as isize
}

/// Of the old calls, which name no directory; aarch64 has none of them.
#[cfg(target_arch = "x86_64")]
const AT_FDCWD: usize = libc::AT_FDCWD as usize;
const REFUSED: isize = -(libc::EACCES as isize);

/// The result of a call; or this process's end.
fn handle_call(handling: &Handling, call: &Trapped, context: &mut libc::ucontext_t) -> isize {
    let result = instead(handling, call);
    // To ask what may be done with a file is no violation.
    let asks = result.is_some() && calls::asks_for_access(call.number);
    if !handling.kills || asks || result != Some(REFUSED) && result.is_some() {
        return result.unwrap_or(REFUSED);
    }
    let mut text = CallText::default();
    calls::describe(call.number, call.arguments, &mut text);
    // SAFETY: the interrupted context, as the kernel gave it.
    let (instruction, stack) = unsafe { signal::registers(std::ptr::from_mut(context).cast()) };
    let fault = Fault {
        signal: libc::SIGSYS,
        address: 0,
        instruction,
        stack,
        sender: None,
    };
    (handling.note)(&fault, text.as_str());
    // Trapped again, while the signal is blocked: the kernel ends the process with it.
    raw(call.number, call.arguments)
}

/// Does a call in another way, if there is one. Gives its result.
fn instead(handling: &Handling, call: &Trapped) -> Option<isize> {
    let [a, b, c, d, ..] = call.arguments;
    if call.number == libc::SYS_newfstatat && d as c_int & libc::AT_EMPTY_PATH != 0 && is_empty(b) {
        return Some(raw(libc::SYS_fstat, [a, c, 0, 0, 0, 0]));
    }
    if !handling.opens {
        return None;
    }
    let open = |directory, path, flags: usize, mode| {
        let is_lent = mode as libc::mode_t & (libc::S_ISUID | libc::S_ISGID) != 0;
        if flags as c_int & libc::O_PATH != 0 || is_lent && calls::makes_file(flags as c_int) {
            // Landlock has no say in these.
            return REFUSED;
        }
        open(directory, path, flags, mode)
    };
    let metadata = |directory, path, into, follow: bool| {
        let link = if follow { 0 } else { libc::O_NOFOLLOW };
        let flags = link | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        match opened(|access| open(directory, path, (access | flags) as usize, 0)) {
            Ok(file) => and_close(raw(libc::SYS_fstat, [file, into, 0, 0, 0, 0]), file),
            Err(error) => error,
        }
    };
    let access = |directory, path, mode: usize| {
        let wanted = mode as c_int;
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let try_open = |access| open(directory, path, (access | flags) as usize, 0);
        let tried = if wanted & libc::W_OK != 0 {
            let written = try_open(libc::O_WRONLY);
            usize::try_from(written).map_err(|_| written)
        } else {
            opened(try_open)
        };
        match tried {
            Ok(file) => and_close(0, file),
            Err(error) => error,
        }
    };
    Some(match call.number {
        libc::SYS_newfstatat => metadata(a, b, c, d as c_int & libc::AT_SYMLINK_NOFOLLOW == 0),
        libc::SYS_faccessat => access(a, b, c),
        libc::SYS_openat => open(a, b, c, d),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat => metadata(AT_FDCWD, a, b, true),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat => metadata(AT_FDCWD, a, b, false),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access => access(AT_FDCWD, a, b),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => open(AT_FDCWD, a, b, c),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            open(AT_FDCWD, a, flags as usize, b)
        }
        _ => return None,
    })
}

/// Opens a file, in a way that is not trapped again.
fn open(directory: usize, path: usize, flags: usize, mode: usize) -> isize {
    let flags = flags | calls::HANDLED as usize;
    raw(libc::SYS_openat, [directory, path, flags, mode, 0, 0])
}

/// Opens a file for what may be done with it: for reading, or for writing.
fn opened(open: impl Fn(c_int) -> isize) -> Result<usize, isize> {
    let mut result = open(libc::O_RDONLY);
    if result == REFUSED {
        result = open(libc::O_WRONLY);
    }
    match usize::try_from(result) {
        Ok(file) => Ok(file),
        // A directory that may only be written to. A symbolic link itself stays ELOOP: it is no
        // violation to ask for it.
        Err(_) if result == -(libc::EISDIR as isize) => Err(REFUSED),
        Err(_) => Err(result),
    }
}

fn and_close(result: isize, file: usize) -> isize {
    raw(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
    result
}

/// Whether this pointer of a task is to an empty string, or to none.
fn is_empty(path: usize) -> bool {
    // SAFETY: the task passed it as a string to a system call. If it is none, this is the task's
    // own fault of memory, and told as such.
    path == 0 || unsafe { *(path as *const u8) } == 0
}
