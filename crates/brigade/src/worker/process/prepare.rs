//! What a start of the program does to itself to become a fork server, and what its workers inherit.

use std::io;

use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child;
use crate::sys::{opened, process, signal};

/// Makes a process that was meant to become the program fit to be a fork server. Gives the limit of descriptors as it was.
pub(crate) fn prepare() -> io::Result<Rlimit> {
    // What the program's own start sets up, a worker's start sets up too: Rust's `main` ignores SIGPIPE.
    signal::set_default(libc::SIGCHLD);
    signal::set_ignored(libc::SIGPIPE);
    // Not in the host's process group: a terminal's Ctrl-C is for the host, which decides what becomes of its workers. Being in the
    // background must not stop those that write to a terminal with `tostop`.
    let _ = rustix::process::setpgid(None, None);
    signal::set_ignored(libc::SIGTTOU);
    signal::learn_stack();
    signal::observe_faults(child::note_fault)?;
    process::adopt_orphans();
    // A core file would be something named that is left behind; a task that wants one raises the limit.
    let mut cores = getrlimit(Resource::Core);
    cores.current = Some(0);
    let _ = setrlimit(Resource::Core, cores);
    let open_files = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: open_files.maximum,
            maximum: open_files.maximum,
        },
    );

    let null = opened::file("/dev/null", OFlags::RDWR)?;
    rustix::stdio::dup2_stdin(&null)?;
    // What constructors have left in the buffers of stdout would be written by every worker: it is written once, by the program.
    let stdout = opened::copy(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdout(&null)?;
    let _ = io::Write::flush(&mut io::stdout());
    process::flush_c_streams();
    rustix::stdio::dup2_stdout(&stdout)?;
    Ok(open_files)
}
