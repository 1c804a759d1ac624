//! How the program becomes its own fork server, or a worker.
//!
//! The fork server is the same program, started again; so is a worker of a fork server that cannot
//! fork ([`exec`]). Such a start must be told apart from the program
//! proper before any of the program's own code runs, or there would be a second copy of it: with
//! `main` reading the same arguments and opening the same files; or a whole test harness, whose
//! `main` is not ours to change. So it is a constructor, which the loader runs before `main`, that
//! looks for the marker; where it finds it, it never returns. Other constructors that come after it
//! (a C++ library's, a registry's) are run first.
//!
//! The program that sets the marker chooses which function of the program is called with which
//! bytes. Where the program has more privilege than who started it (setuid, setgid, file
//! capabilities: `AT_SECURE`, getauxval(3)), that would be a way to get at it: there the marker is
//! refused, and nothing is started ([`check`]).

#![expect(unsafe_code, reason = "a constructor, and a descriptor by number")]

use std::ffi::{CString, OsStr, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use crate::sys::error::Call;
use crate::sys::privilege::Privilege;
use crate::sys::program_file::{Note, ProgramFile};
use crate::sys::{environment, fds, futex, launch, opened, process};
use crate::worker::process::fork_server::event_loop;
use crate::worker::process::fork_server::exec;
use crate::worker::process::fork_server::main_program;
use crate::worker::process::inheritance::Inheritance;
use crate::worker::process::ipc::protocol::{MARKER, PROGRAM_MARKER, SPOKEN};

/// This program, as itself and its copies can name it.
const OWN: &str = "/proc/self/exe";

/// How long a program may be open for writing that is to be started, and how soon it is tried
/// again.
const BUSY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// Set by the constructor, in the program itself: the proof that it is linked in.
static CONSTRUCTED: AtomicBool = AtomicBool::new(false);
/// Set by [`initialize`].
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// The program knows how its processes are started. `true`: it has just learnt it.
pub(crate) fn initialize() -> bool {
    !INITIALIZED.swap(true, Ordering::AcqRel)
}

/// By this a host tells that this program can be its workers' before it starts it.
// SAFETY: notes are read by the loader and by programs that look at the file, as what `Note` lays
// out: the two lengths, a type, an owner and a text, aligned by four, elf(5).
#[used]
#[unsafe(link_section = ".note.brigade")]
static NOTE: Note = Note::new(SPOKEN, env!("CARGO_PKG_VERSION"));

// SAFETY: a function of the type that the loader calls the entries of this section with; the static
// is only ever read by the loader.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: crate::sys::image::Constructor = constructor;

extern "C" fn constructor(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    CONSTRUCTED.store(true, Ordering::Release);
    // The linker is not to leave it out: it is what a host of this program looks for.
    std::hint::black_box(&NOTE);
    // The usual case costs two looks through the environment.
    let Some(name) = [MARKER, PROGRAM_MARKER]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some())
    else {
        return;
    };
    if process::is_privileged() {
        // Nor may `main` run: if it was this program that set the marker, that would be its second
        // copy.
        refuse(b"brigade: this program has more privilege than the user who started it, so it does not act as a fork server\n");
    }
    occupy_standard_streams();
    // SAFETY: this is the constructor itself, before `main`, and from here on this process never
    // goes on to the next one by itself.
    unsafe { crate::sys::image::run_constructors_after(constructor, argc, argv, envp) };
    let marker = environment::take_variable(name);
    let Some((role, socket)) = marker.and_then(|marker| adopt(&marker)) else {
        // The variable came from somewhere else. Going on would be the second copy that nobody
        // wants.
        refuse(b"brigade: BRIGADE_FORK_SERVER is set, but not by brigade; this variable is for its own use\n")
    };
    // A program that is a fork server has done what `init` asks for, and its workers may start
    // processes of their own.
    initialize();
    // Where a constructor has started a thread, that may use what it has opened. What others had
    // open was closed by the exec, unless the kernel is older than that (see `sys/launch.rs`).
    if process::one_thread() {
        fds::close_all_but(&[socket.as_raw_fd()]);
    }
    match role {
        Role::ForkServer => event_loop::serve(socket),
        Role::Worker => exec::begin(&socket),
    }
}

/// What a start of the program is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    ForkServer,
    Worker,
}

impl Role {
    const ALL: [(Role, &'static str); 2] = [(Role::ForkServer, "server"), (Role::Worker, "worker")];

    /// The marker: what it is to be, and the number of its socket.
    fn marker(self, variable: &str, socket: BorrowedFd<'_>) -> io::Result<CString> {
        let (_, name) = Role::ALL[self as usize];
        let marker = format!("{variable}={name}:{}", socket.as_raw_fd());
        CString::new(marker).map_err(io::Error::other)
    }
}

/// Reads the value of the marker. `None`: it is not one of ours.
fn adopt(marker: &OsStr) -> Option<(Role, OwnedFd)> {
    let (name, number) = marker.to_str()?.split_once(':')?;
    let (role, _) = Role::ALL.into_iter().find(|(_, its)| *its == name)?;
    // SAFETY: the host has left this number open over the exec, so what constructors have opened
    // since then has others, unless one of them has closed this. A marker that no host of ours has
    // set may name a number that a constructor owns: then what is behind it is no socket, and it is
    // closed and this process ends; or it is one, whose owner loses it to the fork server that the
    // user who set the marker has asked for.
    let socket = unsafe { fds::adopt(number.parse().ok()?) }.ok()?;
    is_socket(&socket).then_some((role, socket))
}

/// By either of two calls, for one may be denied.
fn is_socket(fd: impl AsFd) -> bool {
    match rustix::fs::fstat(&fd) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Socket,
        Err(_) => rustix::net::sockopt::socket_type(&fd).is_ok(),
    }
}

/// Ends the process, and says why if the host can hear it.
fn refuse(why: &[u8]) -> ! {
    let _ = rustix::io::write(rustix::stdio::stderr(), why);
    process::exit_now(70)
}

/// A host without a stdin, stdout or stderr has a fork server without them: what is opened next
/// would take their numbers, and tasks would print into it.
fn occupy_standard_streams() {
    while let Ok(null) = opened::null() {
        if null.as_raw_fd() > 2 {
            return;
        }
        fds::keep_over_exec(null.into_raw_fd());
    }
}

/// Why this program cannot start processes, if it cannot.
pub(crate) fn check() -> io::Result<()> {
    let unsupported = |why: &str| Err(io::Error::new(io::ErrorKind::Unsupported, why.to_owned()));
    if !INITIALIZED.load(Ordering::Acquire) {
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
    let code = constructor as crate::sys::image::Constructor as usize;
    if let Some(why) = main_program::why_not_startable(code)? {
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
    // Then the kernel heeds neither bit: PR_SET_NO_NEW_PRIVS(2const). It still looks at the
    // capabilities.
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
    let inherit = |mut program: launch::Program| {
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
            inherit(launch::Program {
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
    launch: impl FnOnce(launch::Program) -> io::Result<u32>,
) -> io::Result<u32> {
    let argv: Vec<CString> = std::env::args_os()
        .filter_map(|a| CString::new(a.into_vec()).ok())
        .collect();
    let mut envp = environment::environment();
    envp.push(role.marker(marker, socket)?);
    launch(launch::Program {
        path: CString::new(OWN)?,
        argv,
        envp,
        carried: privilege.to_carry_over(),
    })
}
