//! Signals to others, and what others are told to do.

use std::os::fd::AsRawFd;

use brigade::sandbox::Effect::Signals;

use super::{Escape, call};

pub(super) const ESCAPES: &[Escape] = &[
    Escape::new(Signals, "a signal to the program", |o| {
        call!(SYS_kill, o.host, 0).map(drop)
    }),
    Escape::new(Signals, "a signal to a sibling", |o| {
        call!(SYS_kill, o.sibling, 0).map(drop)
    }),
    Escape::new(Signals, "a signal to its process group", |_| {
        call!(SYS_kill, 0, 0).map(drop)
    }),
    Escape::new(Signals, "a signal to everybody", |_| {
        call!(SYS_kill, -1, 0).map(drop)
    }),
    Escape::new(Signals, "a signal to a thread of the program", |o| {
        call!(SYS_tgkill, o.host, o.host, 0).map(drop)
    }),
    Escape::new(Signals, "a signal to a thread, by tkill(2)", |o| {
        call!(SYS_tkill, o.host, 0).map(drop)
    }),
    Escape::new(Signals, "a signal by a descriptor", |o| {
        let process = call!(SYS_pidfd_open, o.host, 0)?;
        let none = std::ptr::null::<u8>();
        call!(SYS_pidfd_send_signal, process, 0, none, 0).map(drop)
    }),
    Escape::new(Signals, "a signal with a value", |o| {
        let mut info = [0_i32; 32];
        // `si_code`: sent by sigqueue(3).
        info[2] = -1;
        call!(SYS_rt_sigqueueinfo, o.host, 0, info.as_ptr()).map(drop)
    }),
    Escape::new(Signals, "a signal when a pipe can be read", |o| {
        let mut ends = [0_i32; 2];
        call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
        call!(SYS_fcntl, ends[0], libc::F_SETOWN, o.host).map(drop)
    }),
    Escape::new(Signals, "a signal with a value to a thread", |o| {
        let mut info = [0_i32; 32];
        info[2] = -1;
        call!(SYS_rt_tgsigqueueinfo, o.host, o.host, 0, info.as_ptr()).map(drop)
    }),
    Escape::new(
        Signals,
        "a signal to a thread when a pipe can be read",
        |o| {
            let mut ends = [0_i32; 2];
            call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
            // `struct f_owner_ex`: a process, and its number.
            let owner = [1, o.host as i32];
            const F_SETOWN_EX: i32 = 15;
            call!(SYS_fcntl, ends[0], F_SETOWN_EX, owner.as_ptr()).map(drop)
        },
    ),
    Escape::new(Signals, "another signal when a pipe can be read", |_| {
        let mut ends = [0_i32; 2];
        call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
        const F_SETSIG: i32 = 10;
        call!(SYS_fcntl, ends[0], F_SETSIG, libc::SIGKILL).map(drop)
    }),
    Escape::new(Signals, "a signal when a socket can be read", |o| {
        const FIOSETOWN: u64 = 0x8901;
        let (one, _other) = std::os::unix::net::UnixStream::pair()?;
        let owner = o.host as i32;
        call!(SYS_ioctl, one.as_raw_fd(), FIOSETOWN, &raw const owner).map(drop)
    }),
    Escape::new(Signals, "how the program is scheduled", |o| {
        let policy = call!(SYS_sched_getscheduler, o.host)?;
        let none = [0_i32; 1];
        call!(SYS_sched_setscheduler, o.host, policy, none.as_ptr()).map(drop)
    }),
    Escape::new(Signals, "the program's turn at its disks", |o| {
        const PROCESS: i32 = 1;
        // As it was: best effort.
        const BEST_EFFORT: i32 = 2 << 13 | 4;
        call!(SYS_ioprio_set, PROCESS, o.host, BEST_EFFORT).map(drop)
    }),
    Escape::new(Signals, "priority of its process group", |_| {
        let nice = 20 - call!(SYS_getpriority, libc::PRIO_PROCESS, 0)?;
        call!(SYS_setpriority, libc::PRIO_PGRP, 0, nice).map(drop)
    }),
    Escape::new(Signals, "the memory of a process that dies", |o| {
        /// process_mrelease(2).
        const PROCESS_MRELEASE: libc::c_long = 448;
        let process = call!(SYS_pidfd_open, o.sibling, 0)?;
        // SAFETY: numbers. It does not die, so that this is an error at the end.
        super::said(unsafe { libc::syscall(PROCESS_MRELEASE, process, 0) }).map(drop)
    })
    .privileged(),
    Escape::new(Signals, "limits of the program", |o| {
        let mut limit = [0_u64; 2];
        let none = std::ptr::null::<u64>();
        let files = libc::RLIMIT_NOFILE;
        call!(SYS_prlimit64, o.host, files, none, limit.as_mut_ptr())?;
        call!(SYS_prlimit64, o.host, files, limit.as_ptr(), none).map(drop)
    }),
    Escape::new(Signals, "processors of the program", |o| {
        let mut set = [0_u64; 128];
        let len = size_of_val(&set);
        call!(SYS_sched_getaffinity, o.host, len, set.as_mut_ptr())?;
        call!(SYS_sched_setaffinity, o.host, len, set.as_ptr()).map(drop)
    }),
    Escape::new(Signals, "priority of the program", |o| {
        let nice = 20 - call!(SYS_getpriority, libc::PRIO_PROCESS, o.host)?;
        call!(SYS_setpriority, libc::PRIO_PROCESS, o.host, nice).map(drop)
    }),
    Escape::new(Signals, "input for a terminal", |_| on_terminal(0x5412)).privileged(),
    Escape::new(Signals, "input for a console", |_| on_terminal(0x541c)).privileged(),
];

/// TIOCSTI and TIOCLINUX, ioctl_tty(2), on a terminal of its own.
fn on_terminal(request: u64) -> std::io::Result<()> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let opened = call!(SYS_openat, libc::AT_FDCWD, c"/dev/ptmx".as_ptr(), flags, 0);
    // In a sandbox there is none: the number is tried on what there is.
    let terminal = opened.unwrap_or(1);
    call!(SYS_ioctl, terminal, request, c"x".as_ptr()).map(drop)
}
