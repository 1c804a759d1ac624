//! Programs that have a terminal: it is theirs, and not their workers'.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::{Pool, process};
use brigade_test_support::procfs::has_ended;
use brigade_test_support::wait::until;

use crate::Host;
use crate::processes::{Child, listen, say};
use crate::tasks::{flag, is_set, join, until_let};

pub(crate) const HOSTS: &[(&str, Host)] =
    &[("reads-terminal", reads), ("gets-signals", gets_signals)];

pub(crate) const TRIALS: &[(&str, fn())] = &[
    ("a_worker_that_reads_the_terminal_is_not_stopped", || {
        let (_terminal, host) = in_terminal("reads-terminal");
        host.ends_well();
    }),
    ("a_terminals_signals_are_for_the_program", || {
        let (mut terminal, mut host) = in_terminal("gets-signals");
        assert_eq!(host.line(), "ready");
        // Ctrl-C, which the program catches.
        terminal.write_all(&[3]).expect("written");
        assert_eq!(host.line(), "interrupted");
        host.tell();
        host.ends_well();
    }),
];

/// A host that leads a session with a terminal of its own. Gives the terminal's other end.
fn in_terminal(name: &'static str) -> (File, Child) {
    // SAFETY: the descriptor is new, and nobody else's; the name is copied before another call
    // could change it.
    let (terminal, path) = unsafe {
        let terminal = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(terminal >= 0, "there are pseudo-terminals");
        assert_eq!(libc::grantpt(terminal), 0);
        assert_eq!(libc::unlockpt(terminal), 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(terminal, name.as_mut_ptr(), name.len()), 0);
        let path = std::ffi::CStr::from_ptr(name.as_ptr()).to_owned();
        (OwnedFd::from_raw_fd(terminal), path)
    };
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    // SAFETY: system calls alone.
    unsafe {
        command.pre_exec(move || {
            // The first terminal that the leader of a session opens is its.
            if libc::setsid() == -1 || libc::open(path.as_ptr(), libc::O_RDWR) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    (File::from(terminal), Child::start(name, command))
}

/// Reads the terminal. Gives the error's number.
fn read_terminal((): ()) -> i32 {
    let open = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let read = open.and_then(|mut tty| tty.read(&mut [0]));
    read.expect_err("it has none").raw_os_error().unwrap_or(0)
}

fn reads() {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .expect("the program has one");
    let handle = process::spawn(read_terminal, ()).expect("a process");
    assert_eq!(join(handle).expect("it is not stopped"), libc::ENXIO);
    let pool = Pool::processes(1).expect("a pool");
    assert_eq!(
        join(pool.submit(read_terminal, ())).expect("it is not stopped"),
        libc::ENXIO
    );
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

fn gets_signals() {
    extern "C" fn count(_: i32) {
        INTERRUPTS.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: the handler counts.
    unsafe { libc::signal(libc::SIGINT, count as extern "C" fn(i32) as usize) };
    let pool = Pool::processes(1).expect("a pool");
    let gate = flag();
    let begun = [flag(), flag()];
    let one = process::spawn(until_let, (begun[0].clone(), gate.clone())).expect("a process");
    let other = pool.submit(until_let, (begun[1].clone(), gate.clone()));
    let workers = begun.map(|begun| is_set(&begun));
    say("ready");
    until("it is interrupted", || INTERRUPTS.load(SeqCst) > 0);
    assert!(!workers.into_iter().any(has_ended));
    say("interrupted");
    listen();
    gate.store(1, SeqCst);
    assert_eq!(join(one).expect("it was not hit"), 7);
    assert_eq!(join(other).expect("it was not hit"), 7);
}
