//! Other programs, other processes, and memory that becomes code.

use std::io;
use std::process::Command;

use brigade::sandbox::Effect::Programs;

use super::{Escape, Outside, call};

const PLAIN_AS_CODE: &str = "a file in memory that is not to be executed, mapped as code";

pub(super) const ESCAPES: &[Escape] = &[
    Escape::new(Programs, "start a program", |_| {
        Command::new("/bin/true").status().map(drop)
    }),
    Escape::new(Programs, "become a program", |_| {
        let argv = [c"true".as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null::<libc::c_char>()];
        call!(
            SYS_execve,
            c"/bin/true".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr()
        )
        .map(drop)
    })
    // It succeeds, and nobody is left to say so.
    .privileged(),
    Escape::new(
        Programs,
        "become a program that is in memory",
        execute_memory,
    )
    .privileged(),
    Escape::new(Programs, "fork", |_| ended(fork)),
    Escape::new(Programs, "fork by clone3(2)", |_| ended(clone3)),
    #[cfg(target_arch = "x86_64")]
    Escape::new(Programs, "fork by fork(2)", |_| ended(|| call!(SYS_fork))),
    Escape::new(Programs, "memory to write to and execute", |_| {
        map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)
    }),
    Escape::new(Programs, "memory to execute, once written", |_| {
        let at = map(libc::PROT_READ | libc::PROT_WRITE)?;
        call!(SYS_mprotect, at, 4096, libc::PROT_READ | libc::PROT_EXEC).map(drop)
    }),
    Escape::new(Programs, "memory to execute, by pkey_mprotect(2)", |_| {
        let at = map(libc::PROT_READ | libc::PROT_WRITE)?;
        let code = libc::PROT_READ | libc::PROT_EXEC;
        call!(SYS_pkey_mprotect, at, 4096, code, -1).map(drop)
    })
    .of_x86_64(),
    Escape::new(Programs, "shared memory to execute", |_| {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let code = libc::PROT_READ | libc::PROT_EXEC;
        call!(SYS_mmap, 0, 4096, code, flags, -1, 0).map(drop)
    }),
    Escape::new(Programs, "a file in memory, mapped as code", |_| {
        let file = call!(SYS_memfd_create, c"code".as_ptr(), 0)?;
        call!(SYS_ftruncate, file, 4096)?;
        let code = libc::PROT_READ | libc::PROT_EXEC;
        call!(SYS_mmap, 0, 4096, code, libc::MAP_PRIVATE, file, 0).map(drop)
    }),
    Escape::new(Programs, PLAIN_AS_CODE, |_| {
        const NOEXEC_SEAL: u32 = 8;
        let file = match call!(SYS_memfd_create, c"code".as_ptr(), NOEXEC_SEAL) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                Err(io::Error::other("this kernel makes none"))
            }
            made => made,
        }?;
        call!(SYS_ftruncate, file, 4096)?;
        let code = libc::PROT_READ | libc::PROT_EXEC;
        call!(SYS_mmap, 0, 4096, code, libc::MAP_PRIVATE, file, 0).map(drop)
    })
    .privileged(),
    Escape::new(Programs, "all that can be read is code", |_| {
        const READ_IMPLIES_EXEC: libc::c_ulong = 0x0040_0000;
        call!(SYS_personality, READ_IMPLIES_EXEC).map(drop)
    }),
    Escape::new(Programs, "root by setuid(2)", |_| {
        call!(SYS_setresuid, 0, 0, 0).map(drop)
    })
    .privileged(),
    Escape::new(Programs, "a user namespace", |_| {
        call!(SYS_unshare, libc::CLONE_NEWUSER).map(drop)
    })
    .privileged(),
    Escape::new(Programs, "another handler of what is refused", |_| {
        let none = std::ptr::null::<u8>();
        let default = [0_u64; 4];
        call!(SYS_rt_sigaction, libc::SIGSYS, default.as_ptr(), none, 8).map(drop)
    }),
    Escape::new(Programs, "another filter", |_| {
        const GET_ACTION_AVAIL: i32 = 2;
        let action = 0x7fff_0000_u32;
        call!(SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action).map(drop)
    }),
    Escape::new(Programs, "outlive the program", |_| {
        call!(SYS_prctl, libc::PR_SET_PDEATHSIG, 0).map(drop)
    }),
    Escape::new(Programs, "be looked into by others", |_| {
        call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1).map(drop)
    }),
    Escape::new(Programs, "system calls that come back to it", |_| {
        const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
        call!(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0).map(drop)
    })
    .privileged(),
    Escape::new(Programs, "be its descendants' parent", |_| {
        call!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).map(drop)
    }),
    // A worker leads a process group.
    Escape::new(Programs, "a session of its own", |_| {
        call!(SYS_setsid).map(drop)
    })
    .privileged(),
    #[cfg(target_arch = "x86_64")]
    Escape::new(Programs, "a system call of 32 bits", |_| old_call())
        .privileged()
        .kills(),
    #[cfg(target_arch = "x86_64")]
    Escape::new(Programs, "a system call of x32", |_| {
        // SAFETY: getpid(2).
        let pid = unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) };
        super::said(pid).map(drop)
    })
    .privileged()
    .kills(),
];

fn fork() -> io::Result<i64> {
    // What is left of the process that forks: one thread, and calls that need no lock.
    call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)
}

fn clone3() -> io::Result<i64> {
    let mut arguments = [0_u64; 11];
    // The signal at its end: `struct clone_args`.
    arguments[4] = libc::SIGCHLD as u64;
    call!(SYS_clone3, arguments.as_mut_ptr(), size_of_val(&arguments))
}

/// Has a process made, which ends at once, and waits for it.
fn ended(make: fn() -> io::Result<i64>) -> io::Result<()> {
    let pid = make()?;
    if pid == 0 {
        // SAFETY: ends this copy.
        unsafe { libc::_exit(0) };
    }
    let none = std::ptr::null::<u8>();
    call!(SYS_wait4, pid, none, 0, none).map(drop)
}

fn execute_memory(_: &Outside) -> io::Result<()> {
    let file = call!(SYS_memfd_create, c"program".as_ptr(), 0)?;
    let program = std::fs::read("/bin/true").unwrap_or_else(|_| b"#!/bin/sh\n".to_vec());
    call!(SYS_write, file, program.as_ptr(), program.len())?;
    let argv = [c"true".as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    call!(
        SYS_execveat,
        file,
        c"".as_ptr(),
        argv.as_ptr(),
        envp.as_ptr(),
        libc::AT_EMPTY_PATH
    )
    .map(drop)
}

fn map(protection: i32) -> io::Result<i64> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    call!(SYS_mmap, 0, 4096, protection, flags, -1, 0)
}

#[cfg(target_arch = "x86_64")]
fn old_call() -> io::Result<()> {
    const GETPID: i64 = 20;
    let result: i64;
    // SAFETY: getpid(2) of 32 bits, which touches no memory.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") GETPID => result, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _);
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    Ok(())
}
