//! A program in a pid namespace of its own, with the /proc of the outer one: what /proc calls a
//! process is not what the program calls it, and its numbers are strangers' there.

use std::time::Duration;

use brigade::channel::{self, RecvTimeoutError, Sender};
use brigade::{Cause, JoinError, process};
use brigade_test_support::signal;
use libtest_mimic::Trial;

use crate::hosts::Host;
use crate::observe::{HANG, well_behaved};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("outer-proc", outer_proc)];

pub(crate) fn trials() -> Vec<Trial> {
    let each = [
        // It is given up with everything that descends from it.
        (
            "descendants_are_found_with_the_outer_proc",
            ["second", "stop", "daemon"],
        ),
        (
            "also_by_the_first_process_of_a_namespace",
            ["first", "stop", "daemon"],
        ),
        // What becomes the program's child is ended and reaped.
        (
            "what_is_adopted_is_found_with_the_outer_proc",
            ["first", "kill", "child"],
        ),
    ];
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("outer_proc: needs root, and is ignored");
    }
    each.into_iter()
        .map(|(name, args)| {
            let test = move || {
                well_behaved("outer-proc", &args);
            };
            trial(name, test).with_ignored_flag(!root)
        })
        .collect()
}

fn outer_proc(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [place, signal, what] = args else {
        return Err("first or second, stop or kill, daemon or child?".into());
    };
    // SAFETY: this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } == -1 {
        return Err(std::io::Error::last_os_error().into());
    }
    for _ in 0..if place == "first" { 1 } else { 2 } {
        go_on_in_a_child();
    }
    brigade::init();
    let server = process::spawn(|()| std::os::unix::process::parent_id(), ())?.join()?;
    let (says, said) = channel::pipe(2)?;
    let task = process::spawn(leave_behind, (says, what == "daemon"))?;
    said.recv_timeout(HANG)?;
    let signal = if signal == "stop" {
        libc::SIGSTOP
    } else {
        libc::SIGKILL
    };
    signal::send(server, signal);
    match task.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
        other => return Err(format!("{other:?}").into()),
    }
    // Whoever lives has the other end.
    match said.recv_timeout(HANG) {
        Err(RecvTimeoutError::Disconnected) => Ok(()),
        other => Err(format!("what the task has started is left: {other:?}").into()),
    }
}

/// Goes on in a child. This process ends as it does.
fn go_on_in_a_child() {
    // SAFETY: this process has one thread; what waits makes system calls only.
    unsafe {
        let child = libc::fork();
        assert_ne!(child, -1);
        if child == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            return;
        }
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) != child {}
        libc::_exit(if status == 0 { 0 } else { 1 });
    }
}

/// A task: has a child that holds the end of the channel, too, and that has left its parent, its
/// group and its session if it is a daemon.
fn leave_behind((says, daemon): (Sender<u32>, bool)) {
    // SAFETY: a worker has one thread, so its forks are whole. They make system calls only.
    unsafe {
        match libc::fork() {
            0 => {
                if !daemon {
                    libc::setpgid(0, 0);
                } else {
                    libc::setsid();
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                }
            }
            child => {
                if daemon {
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
                says.send(std::process::id()).expect("the program listens");
            }
        }
    }
    loop {
        std::thread::park_timeout(Duration::MAX);
    }
}
