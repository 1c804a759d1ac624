//! Filters of system calls, seccomp(2): some calls give an error, or end the process; all others
//! are let through.

use std::io;

/// A call, or, of one that does several things, that thing of it.
#[derive(Clone, Copy, Debug)]
pub struct DeniedCall {
    /// The call's number: `SYS_…`.
    pub number: libc::c_long,
    /// An argument, and the value of it that is denied.
    pub argument: Option<(u32, libc::c_int)>,
}

impl From<libc::c_long> for DeniedCall {
    fn from(number: libc::c_long) -> DeniedCall {
        DeniedCall {
            number,
            argument: None,
        }
    }
}

/// From here on these calls fail with that error, in this process and in all that it starts.
///
/// # Errors
/// The kernel refuses the filter.
pub fn deny(calls: &[DeniedCall], errno: libc::c_int) -> io::Result<()> {
    refuse(calls, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// From here on these calls end the process that makes them, this one or any that it starts, by
/// SIGSYS.
///
/// # Errors
/// The kernel refuses the filter.
pub fn kill(calls: &[DeniedCall]) -> io::Result<()> {
    refuse(calls, libc::SECCOMP_RET_KILL_PROCESS)
}

fn refuse(calls: &[DeniedCall], action: u32) -> io::Result<()> {
    // Places in `struct seccomp_data`; an argument's lower half, on a little-endian machine.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let load = |at| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, at);
    // Goes on if they are equal; otherwise over the next so many.
    let equal = |k, over| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, over, k);
    let give = |k| instruction(libc::BPF_RET | libc::BPF_K, 0, k);
    let refusal = give(action);
    let mut program = Vec::new();
    for call in calls {
        let number = call.number as u32;
        program.push(load(NUMBER));
        match call.argument {
            None => program.extend([equal(number, 1), refusal]),
            Some((index, value)) => program.extend([
                equal(number, 3),
                load(ARGUMENTS + 8 * index),
                equal(value as u32, 1),
                refusal,
            ]),
        }
    }
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

/// `over`: how many are jumped over where a comparison fails.
fn instruction(code: u32, over: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: over,
        k,
    }
}
