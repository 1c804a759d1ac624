//! Starting the program once more, as a fork server or as a worker; and why that cannot be done.
//! [`bootstrap`](super::bootstrap) says what comes of such a start.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::sys::error::Call;
use crate::sys::image::Constructor;
use crate::sys::privilege::Privilege;
use crate::sys::program_file::ProgramFile;
use crate::sys::{environment, futex, launch, process};
use crate::worker::process::Inheritance;
use crate::worker::process::fork_server::main_program;
use crate::worker::process::ipc::protocol::{MARKER, PROGRAM_MARKER};

/// This program, as itself and its copies can name it.
const OWN: &str = "/proc/self/exe";

/// How long a program may be open for writing that is to be started, and how soon it is tried
/// again.
const BUSY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// Set by the constructor, in the program itself: the proof that it is linked in.
static CONSTRUCTED: AtomicBool = AtomicBool::new(false);
/// The address of the constructor, set by [`declare`]; 0 before.
static DECLARED: AtomicUsize = AtomicUsize::new(0);

/// The constructor has run.
pub(super) fn note_constructed() {
    CONSTRUCTED.store(true, Ordering::Release);
}

/// The program knows how its processes are started: by this constructor. `true`: it has just learnt
/// it.
pub(super) fn declare(constructor: Constructor) -> bool {
    DECLARED.swap(constructor as usize, Ordering::AcqRel) == 0
}

/// What a start of the program is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    ForkServer,
    Worker,
}

impl Role {
    pub(super) const ALL: [(Role, &'static str); 2] =
        [(Role::ForkServer, "server"), (Role::Worker, "worker")];

    /// The marker: what it is to be, and the number of its socket.
    fn marker(self, variable: &str, socket: BorrowedFd<'_>) -> io::Result<CString> {
        let (_, name) = Role::ALL[self as usize];
        let marker = format!("{variable}={name}:{}", socket.as_raw_fd());
        CString::new(marker).map_err(io::Error::other)
    }
}

/// Why this program cannot start processes, if it cannot.
pub(crate) fn check() -> io::Result<()> {
    let unsupported = |why: &str| Err(io::Error::new(io::ErrorKind::Unsupported, why.to_owned()));
    let constructor = DECLARED.load(Ordering::Acquire);
    if constructor == 0 {
        return unsupported(
            "brigade::init() was not called: call it first in `main`, before the first process is started",
        );
    }
    check_privilege()?;
    if !CONSTRUCTED.load(Ordering::Acquire) {
        return unsupported(
            "this program was linked without brigade's constructor (section .init_array), so it cannot be started as a fork server",
        );
    }
    if let Some(why) = main_program::why_not_startable(constructor)? {
        return unsupported(&why);
    }
    check_start("this program", OWN)
}

/// Why this program cannot have workers of another one, if it cannot.
pub(crate) fn check_program(file: &ProgramFile) -> io::Result<()> {
    check_privilege()?;
    check_start("it", &file.proc_path())
}

fn check_privilege() -> io::Result<()> {
    if !process::is_privileged() {
        return Ok(());
    }
    let why = "this program has more privilege than the user who started it (it is setuid or setgid, or its file has capabilities): it gets no processes, as that user could choose what they run";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Refuses a program whose start gains privileges.
fn check_start(what: &str, path: &str) -> io::Result<()> {
    if !gains_privilege(path).needed_to("see whether a new start gains privileges")? {
        return Ok(());
    }
    let why = format!(
        "{what} is setuid or setgid, or its file has capabilities: started again for a process, it would get a privilege that it does not have now"
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Whether a start of the program at this path would have a user, a group or capabilities that it
/// does not have now, by the file's bits: execve(2), capabilities(7).
fn gains_privilege(path: &str) -> io::Result<bool> {
    // With `no_new_privs` execve(2) ignores the set-user-ID and set-group-ID bits:
    // PR_SET_NO_NEW_PRIVS(2const). The file's capabilities are looked at below all the same.
    let heeded = !rustix::thread::no_new_privs().call("prctl(PR_GET_NO_NEW_PRIVS)")?;
    let exe = std::fs::metadata(path).call("stat(2)")?;
    let (mode, user) = (exe.mode(), process::effective_user());
    let of_user = heeded && mode & libc::S_ISUID != 0 && exe.uid() != user;
    // Without the group's x it means something else.
    let group = libc::S_ISGID | libc::S_IXGRP;
    let of_group = heeded && mode & group == group && exe.gid() != process::effective_group();
    // Root has them all anyway.
    let of_file = user != 0
        && matches!(
            rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64][..]),
            Ok(_) | Err(rustix::io::Errno::RANGE)
        );
    Ok(of_user || of_group || of_file)
}

/// Starts the fork server, with `socket` as its end of the line: of this program, or of the one in
/// this file. Gives its process id.
pub(crate) fn launch(
    socket: impl AsFd,
    privilege: &Privilege,
    inheritance: Inheritance,
    file: Option<&ProgramFile>,
) -> io::Result<u32> {
    let role = Role::ForkServer;
    let inherit = |mut program: launch::ProgramStart| {
        if inheritance == Inheritance::Nothing {
            program.argv.truncate(1);
            program.envp.retain(|entry| is_needed(entry.as_bytes()));
        }
        launch::launch_detached(program, &socket)
    };
    let Some(file) = file else {
        return start(role, MARKER, socket.as_fd(), privilege, inherit)
            .needed_to("start this program again as a fork server");
    };
    let path = CString::new(file.proc_path())?;
    let argv = CString::new(file.path().as_os_str().as_bytes())?;
    let started = || {
        start(role, PROGRAM_MARKER, socket.as_fd(), privilege, |program| {
            inherit(launch::ProgramStart {
                path: path.clone(),
                // Its arguments are not this program's.
                argv: vec![argv.clone()],
                ..program
            })
        })
    };
    // A process that some thread of this program is starting has a copy of what another had open to
    // write the file, until it is executed: ETXTBSY.
    let deadline = Instant::now() + BUSY;
    loop {
        match started() {
            Err(e)
                if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline =>
            {
                futex::rest(PAUSE);
            }
            started => return started.needed_to("start the program as a fork server"),
        }
    }
}

/// Whether a variable is needed to start the program as it was started: for the loader, ld.so(8);
/// and what says that it is a fork server.
fn is_needed(entry: &[u8]) -> bool {
    ["LD_", "GLIBC_TUNABLES=", MARKER, PROGRAM_MARKER]
        .iter()
        .any(|start| entry.starts_with(start.as_bytes()))
}

/// Starts a worker by executing the program. Gives its process id.
pub(in crate::worker::process) fn launch_worker(
    socket: impl AsFd,
    privilege: &Privilege,
) -> io::Result<u32> {
    let launch = |program| launch::launch_worker(program, &socket);
    start(Role::Worker, MARKER, socket.as_fd(), privilege, launch)
}

fn start(
    role: Role,
    marker: &str,
    socket: BorrowedFd<'_>,
    privilege: &Privilege,
    launch: impl FnOnce(launch::ProgramStart) -> io::Result<u32>,
) -> io::Result<u32> {
    let argv: Vec<CString> = std::env::args_os()
        .filter_map(|a| CString::new(a.into_vec()).ok())
        .collect();
    let mut envp = environment::environment();
    envp.push(role.marker(marker, socket)?);
    launch(launch::ProgramStart {
        path: CString::new(OWN)?,
        argv,
        envp,
        carried: privilege.to_carry_over(),
    })
}
