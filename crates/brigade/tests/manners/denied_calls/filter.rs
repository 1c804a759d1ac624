//! A filter of system calls, seccomp(2): one call gives an error, all others are let through.

use std::io;

/// A call, or, of one that does several things, that thing of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    pub(super) number: libc::c_long,
    /// An argument, and the value of it that is denied.
    pub(super) argument: Option<(u32, libc::c_int)>,
}

/// From here on the call fails, in this process and in all that it starts.
pub(super) fn deny(call: Which, errno: u32) -> io::Result<()> {
    // Places in `struct seccomp_data`; an argument's lower half, on a little-endian machine.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let load = |at| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: at,
    };
    // Goes on if they are equal; otherwise over the next so many.
    let equal = |k, over| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: over,
        k,
    };
    let give = |k| libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let number = call.number as u32;
    let mut program = match call.argument {
        None => vec![load(NUMBER), equal(number, 1)],
        Some((index, value)) => vec![
            load(NUMBER),
            equal(number, 3),
            load(ARGUMENTS + 8 * index),
            equal(value as u32, 1),
        ],
    };
    program.push(give(libc::SECCOMP_RET_ERRNO | errno));
    program.push(give(libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which lives across the call.
    let denied = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter,
            ) == 0
    };
    if denied {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
