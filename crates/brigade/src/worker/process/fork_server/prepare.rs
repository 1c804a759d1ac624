//! What a start of the program does to itself to become a fork server, and what its workers
//! inherit.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::sys::error::Call;
use crate::sys::{asking, c_streams, fault, fds, opened, process, signal};
use crate::worker::process::child::this_worker;

/// Makes a process that was meant to become the program fit to be a fork server. Gives the limit of
/// descriptors as it was, if that can be known.
pub(crate) fn prepare() -> io::Result<Option<Rlimit>> {
    // A session of its own, which has no terminal: a terminal's Ctrl-C and Ctrl-Z are for the host,
    // which decides what becomes of its workers; and a worker that reads /dev/tty, or writes to a
    // terminal with `tostop`, gets an error, or its output appears, and is not stopped, which would
    // not be noticed. Workers lead a process group each, but no session, so that opening a terminal
    // makes none of them its owner. A process that was just made leads no group, so that it may.
    rustix::process::setsid()
        .call("setsid(2)")
        .needed_to("have no terminal stop workers")?;
    process::try_calls()?;
    process::adopt_orphans()?;
    // A core file would be something named that is left behind; a task that wants one raises the
    // limit. Any process may lower a limit, or raise it to the maximum, unless it is denied
    // altogether: then there are core files where the program itself leaves some, and fewer
    // descriptors, whose lack is reported.
    if let Some(mut cores) = process::limit(Resource::Core) {
        cores.current = Some(0);
        let _ = setrlimit(Resource::Core, cores);
    }
    let open_files = process::limit(Resource::Nofile);
    if let Some(Rlimit { maximum, .. }) = open_files {
        let current = maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
    prepare_program()?;
    Ok(open_files)
}

/// Sets up signals and the fault handler. A worker that is executed does this too; one that is
/// forked has it from the fork server.
pub(crate) fn prepare_program() -> io::Result<()> {
    // What the program's own start sets up, a worker's start sets up too: Rust's `main` ignores
    // SIGPIPE.
    signal::set_default(libc::SIGCHLD);
    signal::set_ignored(libc::SIGPIPE);
    fault::learn_stack();
    fault::observe_faults(this_worker::note_fault).needed_to("tell what a worker died of")?;
    asking::begin(this_worker::ANSWER).needed_to("tell where a worker is")?;
    standard_streams().needed_to("give a process its standard streams")?;
    c_streams::write_stdout_by_lines();
    Ok(())
}

/// Workers have the program's stdout, and nothing to read from.
fn standard_streams() -> io::Result<()> {
    let null = opened::above(opened::null)?;
    fds::become_stdin(&null)?;
    // What constructors have left in the buffers of stdout would be written by every worker: it is
    // written once, by the program.
    let stdout = opened::copy(rustix::stdio::stdout())?;
    fds::become_stdout(&null)?;
    let _ = io::Write::flush(&mut io::stdout());
    c_streams::flush_all();
    fds::become_stdout(&stdout)
}
