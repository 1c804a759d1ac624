//! Ways out of a sandbox, each as a task: it tries, and says whether it was let.

#![allow(
    unsafe_code,
    reason = "system calls, as a hostile task would make them"
)]

mod files;
mod memory;
mod network;
mod programs;
mod signals;

use std::io;

use brigade::sandbox::Effect;
use serde::{Deserialize, Serialize};

/// What there is outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outside {
    /// The program, and another worker of it.
    pub(crate) host: u32,
    pub(crate) sibling: u32,
    /// A word in the program's memory.
    pub(crate) secret: usize,
    /// A directory with a file `file` in it, which both are anybody's to write to.
    pub(crate) directory: String,
    /// Ports on the loopback address where the program listens.
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    /// The names of sockets of the program: of streams on a path, of streams without one, and of
    /// datagrams on a path.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) datagrams: String,
}

/// Tries one. An error: it was refused.
pub(crate) type Attempt = fn(&Outside) -> io::Result<()>;

/// A way out.
#[derive(Clone, Copy)]
pub(crate) struct Escape {
    pub(crate) name: &'static str,
    /// What it would break.
    pub(crate) effect: Effect,
    pub(crate) attempt: Attempt,
    /// Outside it succeeds for everybody; otherwise for root at the most.
    pub(crate) succeeds_outside: bool,
    /// The kernel ends the process, whatever the sandbox is told to do.
    pub(crate) always_kills: bool,
}

impl Escape {
    const fn new(effect: Effect, name: &'static str, attempt: Attempt) -> Escape {
        Escape {
            name,
            effect,
            attempt,
            succeeds_outside: true,
            always_kills: false,
        }
    }

    /// It takes privileges, or a feature that the kernel may lack, outside too.
    const fn privileged(mut self) -> Escape {
        self.succeeds_outside = false;
        self
    }

    /// Kernels for other processors may lack the call.
    const fn of_x86_64(mut self) -> Escape {
        self.succeeds_outside = cfg!(target_arch = "x86_64");
        self
    }

    const fn kills(mut self) -> Escape {
        self.always_kills = true;
        self
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Escape> {
    [
        files::ESCAPES,
        network::ESCAPES,
        programs::ESCAPES,
        signals::ESCAPES,
        memory::ESCAPES,
    ]
    .concat()
}

/// Tries the escape of this name. As a task, whose error is a number, or a text.
pub(crate) fn attempt((name, outside): (String, Outside)) -> Result<(), String> {
    let escape = all().into_iter().find(|escape| escape.name == name);
    let escape = escape.ok_or("there is no such escape")?;
    (escape.attempt)(&outside).map_err(|e| match e.raw_os_error() {
        Some(errno) => format!("errno {errno}"),
        None => e.to_string(),
    })
}

/// What a system call that gives -1 for an error has said.
fn said(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The system call `$call` of numbers and pointers.
macro_rules! call {
    ($call:ident $(, $argument:expr)*) => {{
        // SAFETY: the pointers are to what the call asks for, and outlive it; an attempt does
        // nothing with the memory of this process.
        crate::escapes::said(unsafe { libc::syscall(libc::$call $(, $argument)*) })
    }};
}
pub(crate) use call;

/// A string for a system call.
fn text(path: &str) -> std::ffi::CString {
    std::ffi::CString::new(path).expect("no zero byte")
}
