//! Hosts that have children of their own, reap whatever there is, or fork themselves; and what
//! becomes of the processes that tasks start.

use std::io::Read;
use std::process::Command;

use brigade::{Cause, JoinError, process};
use brigade_test_support::{procfs, signal};

use super::{Host, double, parent, spawn_works, until};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("ignores-sigchld", ignores_sigchld),
    ("reaps-everything", reaps_everything),
    ("counts-signals", counts_signals),
    ("family", family),
    ("forks", forks),
    ("nested", nested),
    ("adopts-orphans", adopts_orphans),
    ("loses-server", loses_server),
];

fn ignores_sigchld(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    spawn_works()?;
    match process::spawn(|()| -> () { std::process::abort() }, ())?.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Abort => {}
        other => return Err(format!("{other:?}").into()),
    }
    // SAFETY: asks for the disposition.
    let now = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if now == libc::SIG_IGN {
        Ok(())
    } else {
        Err("the disposition was changed".into())
    }
}

/// A host that reaps whatever there is, in a loop, as an init process does; and whose loop must
/// find an end.
fn reaps_everything(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    spawn_works()?;
    let own = Command::new("/bin/false").spawn()?;
    let statuses = signal::reap_all();
    if statuses != [(own.id() as i32, 1 << 8)] {
        return Err(format!("children that are not the host's: {statuses:?}").into());
    }
    spawn_works()
}

fn counts_signals(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler counts.
    unsafe { libc::signal(libc::SIGCHLD, count as extern "C" fn(i32) as usize) };
    brigade::init();
    for _ in 0..20 {
        spawn_works()?;
    }
    if SEEN.load(Ordering::Relaxed) != 0 {
        return Err("the host got a SIGCHLD that is none of its business".into());
    }
    // Its own still come, with the status.
    let status = Command::new("/bin/sh").args(["-c", "exit 7"]).status()?;
    if status.code() != Some(7) || SEEN.load(Ordering::Relaxed) == 0 {
        return Err(format!("the host's own child: {status}").into());
    }
    Ok(())
}

/// Has workers, and they have children, of every sort; prints their numbers, and waits to be
/// killed, or to be told to end.
fn family(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let _workers = [process::spawn(parent, true)?, process::spawn(parent, true)?];
    let mut line = String::new();
    std::io::stdin().read_to_string(&mut line)?;
    Ok(())
}

/// A host that forks itself: the copy must not use the original's fork server.
fn forks(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    spawn_works()?;
    // SAFETY: the copy does only what the test asks, and leaves by _exit; glibc makes its allocator
    // usable after a fork.
    match unsafe { libc::fork() } {
        0 => {
            let status = i32::from(spawn_works().is_err());
            // SAFETY: ends the copy.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: writes one integer.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            if status != 0 {
                return Err(format!("the copy ended with {status}").into());
            }
        }
    }
    spawn_works()
}

/// A task that starts processes of its own.
fn nested(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let handle = process::spawn(
        |depth: u32| {
            fn deeper(depth: u32) -> u32 {
                if depth == 0 {
                    return 0;
                }
                process::spawn(deeper, depth - 1)
                    .expect("starts")
                    .join()
                    .expect("returns")
                    + 1
            }
            deeper(depth)
        },
        3,
    )?;
    match handle.join()? {
        3 => Ok(()),
        other => Err(format!("{other} levels").into()),
    }
}

/// A subreaper, as an init process is: a fork server that was killed becomes its child, and so do
/// the workers; none must stay as a zombie, nor what a task started. One of the workers was just
/// made, and nobody has been told of it.
fn adopts_orphans(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    brigade::init();
    let handle = process::spawn(
        |()| -> u32 {
            // Leaves the worker's group: only its session says whose it is.
            let mut sleeper = Command::new("/bin/sleep");
            std::os::unix::process::CommandExt::process_group(&mut sleeper, 0);
            sleeper.arg("1000").status().expect("sleep starts");
            0
        },
        (),
    )?;
    let server = procfs::children(std::process::id())?
        .first()
        .copied()
        .ok_or("the fork server is our child here")?;
    until(
        || Ok(procfs::children(server)?.len() == 5),
        "the worker and four spares",
    )?;
    signal::kill(server);
    match handle.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
        other => return Err(format!("{other:?}").into()),
    }
    until(
        || Ok(procfs::children(std::process::id())?.is_empty()),
        "nobody left",
    )
}

/// Its fork server is killed: who waits hears of it, and the next process comes from a new one.
fn loses_server(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    for _ in 0..10 {
        let handle = process::spawn(
            |()| -> u32 {
                loop {
                    std::thread::park();
                }
            },
            (),
        )?;
        let worker = handle.pid().ok_or("a process has a number")?;
        signal::kill(procfs::parent(worker)?);
        // At once, whether or not anybody has noticed: a task may be lost with the server, but a
        // process is always had.
        for n in 0..6 {
            match process::spawn(double, n)?.join() {
                Ok(doubled) if doubled == n * 2 => {}
                Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        match handle.join() {
            Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    spawn_works()
}
