//! Starting the program again: clone(2), execve(2).
//!
//! Problem: the program that starts it may have any number of threads, a heap of any size, and its
//! own ideas about its children. So: no `fork`, which is dear with a large heap, and which leaves
//! only async-signal-safe code legal where there are threads. As in posix_spawn(3), the new process
//! shares the memory of the one that makes it and holds up its thread (`CLONE_VM | CLONE_VFORK`)
//! until it is the program.

#![expect(unsafe_code, reason = "processes that share this one's memory")]

use std::ffi::CString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};

use super::error::{self, Call};
use super::signal::Blocked;

/// How a program is started: this one again, or another.
#[derive(Debug)]
pub(crate) struct ProgramStart {
    /// The file, as the new process can name it.
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) envp: Vec<CString>,
    /// Capabilities of this thread that it keeps over the exec, as ambient ones: capabilities(7).
    pub(crate) carried: u64,
}

/// What the process needs that is about to become the program, and what it has to say. It is in one
/// place, so that it can be left there.
struct LaunchArgs {
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// What the pointers point to.
    program: ProgramStart,
    keep: libc::c_int,
    /// The process leads a process group, and is killed when its parent ends.
    is_worker: bool,
    /// Two stacks, one above the other, for two processes at most.
    stacks: Vec<u128>,
    pid: libc::c_int,
    errno: libc::c_int,
}

const STACK: usize = 64 * 1024;

impl LaunchArgs {
    fn new(program: ProgramStart, keep: impl AsFd, is_worker: bool) -> Box<LaunchArgs> {
        fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        }
        Box::new(LaunchArgs {
            argv: pointers(&program.argv),
            envp: pointers(&program.envp),
            program,
            keep: keep.as_fd().as_raw_fd(),
            is_worker,
            stacks: vec![0; 2 * STACK / size_of::<u128>()],
            pid: -1,
            errno: 0,
        })
    }

    /// Where the stack of the first process begins, or of the second; it grows down from there.
    ///
    /// # Safety
    /// `launch` points to one that is there.
    unsafe fn stack(launch: *mut LaunchArgs, second: bool) -> *mut libc::c_void {
        // SAFETY: by the caller's word; both ends lie in `stacks`, or just behind it.
        unsafe {
            let base = (*launch).stacks.as_mut_ptr().cast::<u8>();
            base.add(if second { STACK } else { 2 * STACK }).cast()
        }
    }

    /// As it is now: it was written through a pointer by processes that have ended, or have left
    /// this memory.
    fn outcome(&self) -> io::Result<u32> {
        // SAFETY: two numbers of this very struct.
        let (pid, errno) = unsafe {
            (
                std::ptr::read_volatile(&raw const self.pid),
                std::ptr::read_volatile(&raw const self.errno),
            )
        };
        match (pid, errno) {
            (1.., 0) => Ok(pid as u32),
            (1.., errno) => Err(error::as_if("execve(2)", errno)),
            // The one in between was killed.
            (_, 0) => Err(error::as_if("clone(2)", libc::EAGAIN)),
            (_, errno) => Err(error::as_if("clone(2)", errno)),
        }
    }
}

/// The process that becomes the program.
extern "C" fn real(launch: *mut libc::c_void) -> libc::c_int {
    let launch = launch.cast::<LaunchArgs>();
    // SAFETY: `launch` is that of the thread that is held up until this process is another program
    // or ends; the vectors end with a null pointer, and their strings outlive the call. System
    // calls only: no allocation, no lock.
    //
    // A SIGKILL to the process in between lets the host's thread go on while this process still
    // reads `launch` and stands on its stack: `launch_detached` leaves both where they are then.
    unsafe {
        // What others in this program have left open without close-on-exec is not for it:
        // close_range(2). Where the kernel does not know that (before 5.11), it closes them itself.
        let all = (3 as libc::c_uint, libc::c_uint::MAX);
        libc::syscall(libc::SYS_close_range, all.0, all.1, CLOSE_RANGE_CLOEXEC);
        libc::fcntl((*launch).keep, libc::F_SETFD, 0);
        if (*launch).is_worker {
            libc::setpgid(0, 0);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        make_ambient((*launch).program.carried);
        libc::execve(
            (*launch).program.path.as_ptr(),
            (*launch).argv.as_ptr(),
            (*launch).envp.as_ptr(),
        );
        (*launch).errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Starts a program as a child of this process that is a worker: the leader of a process
/// group, killed when the calling thread ends. Gives its process id.
///
/// `keep` stays open in it, under the same number, beside the standard streams.
pub(crate) fn launch_worker(program: ProgramStart, keep: impl AsFd) -> io::Result<u32> {
    let mut launch = LaunchArgs::new(program, keep, true);
    let at = &raw mut *launch;
    // A handler must not run in a process that shares this one's memory.
    let _blocked = Blocked::all();
    // SAFETY: the child runs `real` on a stack of its own while this thread stands still, and
    // touches `launch` only.
    let pid = unsafe {
        libc::clone(
            real,
            LaunchArgs::stack(at, false),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            at.cast(),
        )
    };
    if pid == -1 {
        return Err(error::last("clone(2)"));
    }
    launch.pid = pid;
    launch.outcome()
}

/// Starts a program as a process that is *not* a child of this one, and returns its process
/// id.
///
/// `keep` stays open in it, under the same number, beside the standard streams.
///
/// No SIGCHLD, and nothing for a `waitpid(-1)` to find: an intermediate process has no exit signal,
/// so that the kernel does not tell this one of it and only `__WALL` finds it; it starts the real
/// one in the same way, and ends. The real one, whose parent is gone, belongs to the init process
/// or to the nearest subreaper.
pub(crate) fn launch_detached(program: ProgramStart, keep: impl AsFd) -> io::Result<u32> {
    extern "C" fn intermediate(launch: *mut libc::c_void) -> libc::c_int {
        let launch = launch.cast::<LaunchArgs>();
        // SAFETY: `launch` is that of the thread that is held up until this process ends; `stack`
        // is one that only the process made here uses. System calls only from here on: no
        // allocation, no lock.
        unsafe {
            let pid = libc::clone(
                real,
                LaunchArgs::stack(launch, true),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                launch.cast(),
            );
            if pid == -1 {
                (*launch).errno = *libc::__errno_location();
            }
            (*launch).pid = pid;
            libc::_exit(0)
        }
    }

    // Not freed by itself: see the end.
    let mut launch = ManuallyDrop::new(LaunchArgs::new(program, keep, false));
    let at = &raw mut **launch;
    // A handler of the host must not run in a process that shares the host's memory.
    let _blocked = Blocked::all();
    // SAFETY: the child runs `intermediate` on a stack of its own while this thread stands still,
    // and touches `launch` only.
    let pid = unsafe {
        libc::clone(
            intermediate,
            LaunchArgs::stack(at, false),
            libc::CLONE_VM | libc::CLONE_VFORK,
            at.cast(),
        )
    };
    if pid == -1 {
        return Err(error::last("clone(2)"));
    }
    let mut status = 0;
    // SAFETY: waits for exactly the process made above.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1 {
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            Some(libc::EINTR) => {}
            // The host waits for whatever there is, and was quicker.
            Some(libc::ECHILD) => break,
            _ => {
                let e = Err(error::named("waitpid(2)", e));
                return e.needed_to("reap the fork server's parent");
            }
        }
    }
    let outcome = launch.outcome();
    // SAFETY: as in `outcome`.
    if unsafe { std::ptr::read_volatile(&raw const launch.pid) } != -1 {
        drop(ManuallyDrop::into_inner(launch));
    }
    // Else the one in between was killed, perhaps while it was held up by the other: that one may
    // be on its stack still, so the memory stays. It finds no peer at its socket, and ends.
    outcome
}

/// Makes capabilities of this thread ambient, which an execve(2) then leaves in force: capset(2),
/// PR_CAP_AMBIENT(2const). System calls only. One that fails leaves the new program with fewer,
/// which it tells.
///
/// # Safety
/// In a process that is about to become another program.
unsafe fn make_ambient(capabilities: u64) {
    const VERSION_3: u32 = 0x2008_0522;
    if capabilities == 0 {
        return;
    }
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable: the lower halves, then the upper ones.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads the header, and reads or writes the sets: capget(2). Numbers
    // otherwise.
    unsafe {
        if libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) == -1 {
            return;
        }
        sets[0][2] |= capabilities as u32 & sets[0][1];
        sets[1][2] |= (capabilities >> 32) as u32 & sets[1][1];
        libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr());
        for capability in super::privilege::bits(capabilities) {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                capability,
                0,
                0,
            );
        }
    }
}
