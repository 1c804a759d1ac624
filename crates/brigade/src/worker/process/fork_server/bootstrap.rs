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
//! bytes. Where the program has more privilege than the user that started it (setuid, setgid, file
//! capabilities: `AT_SECURE`, getauxval(3)), that would be a way to get at it: there the marker is
//! refused, and nothing is started ([`start::check`]).

#![expect(unsafe_code, reason = "a constructor, and a descriptor by number")]

use std::ffi::{OsStr, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

use rustix::fs::FileType;

use crate::sys::image::ProgramImage;
use crate::sys::program_file::ProgramNote;
use crate::sys::{environment, fds, opened, process};
use crate::worker::process::fork_server::event_loop;
use crate::worker::process::fork_server::exec;
use crate::worker::process::fork_server::start::{self, Role};
use crate::worker::process::ipc::protocol::{MARKER, PROGRAM_MARKER, SPOKEN};

/// The program knows how its processes are started. `true`: it has just learnt it.
pub(crate) fn initialize() -> bool {
    start::declare(constructor)
}

/// By this a host tells that this program can be its workers' before it starts it.
// SAFETY: notes are read by the loader and by programs that look at the file, as what `ProgramNote`
// lays out: the two lengths, a type, an owner and a text, aligned by four, elf(5).
#[used]
#[unsafe(link_section = ".note.brigade")]
static NOTE: ProgramNote = ProgramNote::new(SPOKEN, env!("CARGO_PKG_VERSION"));

// SAFETY: a function of the type that the loader calls the entries of this section with; the static
// is only ever read by the loader.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: crate::sys::image::Constructor = constructor;

extern "C" fn constructor(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    start::note_constructed();
    // The linker is not to leave it out: it is what a host of this program looks for.
    std::hint::black_box(&NOTE);
    // The usual case costs two looks through the environment.
    let Some(name) = [MARKER, PROGRAM_MARKER]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some())
    else {
        return;
    };
    // A shared library with a copy of this code of its own (a plugin, an extension module), which
    // is loaded before the program begins: the marker is for the copy in the program.
    if ProgramImage::this()
        .offset_of(constructor as *const () as usize)
        .is_none()
    {
        return;
    }
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
        // The variable came from somewhere else. Going on would start a second copy of the program.
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

/// Reads the value of the marker. `None`: it is not one of ours.
fn adopt(marker: &OsStr) -> Option<(Role, OwnedFd)> {
    let (name, number) = marker.to_str()?.split_once(':')?;
    let (role, _) = Role::ALL.into_iter().find(|(_, its)| *its == name)?;
    // SAFETY: the host has left this number open over the exec, so what constructors have opened
    // since then has others, unless one of them has closed this. A marker that no host of ours has
    // set may name a number that a constructor owns: then what is behind it is no socket, and it is
    // closed and this process ends; or it is one, whose owner loses it to the fork server that the
    // user that set the marker has asked for.
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
