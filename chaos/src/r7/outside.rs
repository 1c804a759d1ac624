//! Workers that are ended by others.

use std::io;

use brigade::process;
use brigade_test_support::doorbell::{self, Doorbell};
use brigade_test_support::{procfs, wait};

use super::{Told, told};

use crate::fork_server;

fn kill(pid: u32, signal: i32) -> io::Result<()> {
    if pid <= 1 {
        return Err(io::Error::other(format!(
            "process {pid} is nobody to be killed"
        )));
    }
    // SAFETY: no memory is involved.
    match unsafe { libc::kill(pid.cast_signed(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pid_of<R>(handle: &brigade::JoinHandle<R>) -> io::Result<u32> {
    handle
        .pid()
        .ok_or_else(|| io::Error::other("a process without a number"))
}

/// The task runs, and a signal comes.
pub(super) fn killed_by(signal: i32) -> io::Result<Told> {
    let bell = Doorbell::new()?;
    let handle = process::spawn(doorbell::ring_and_wait, bell.name())?;
    let [rang] = bell.await_ring()?[..] else {
        return Ok(Err("the task rang wrong".to_owned()));
    };
    let pid = pid_of(&handle)?;
    if rang != pid {
        return Ok(Err(format!(
            "the handle says process {pid}, the task runs in {rang}"
        )));
    }
    kill(pid, signal)?;
    Ok(told(handle))
}

/// So many spares are there when nobody has just taken one: the program has heard of one at least,
/// and need not wait for the fork server.
const SPARES: usize = 4;

/// All spare workers are stopped, so that the one that gets the task cannot take it up; then it is
/// killed. The fork server is stopped first: it would tell of their stop, and a worker that is
/// known to be stopped gets no task.
///
/// Spares come and go while they are counted, so the task may go to one that came since: then it
/// succeeds, and the stage is set again.
pub(super) fn before_it_started() -> io::Result<Told> {
    wait::until_found("a task to go to a stopped worker", || {
        let server = fork_server::find()?;
        wait::until_found("spare workers", || {
            Ok((procfs::children(server)?.len() >= SPARES).then_some(()))
        })?;
        stop(server)?;
        let spares = procfs::children(server)?;
        let stopped: Vec<u32> = spares
            .into_iter()
            .filter(|&spare| stop(spare).is_ok())
            .collect();
        let handle = process::spawn(|()| (), ())?;
        let pid = pid_of(&handle)?;
        let got_one = stopped.contains(&pid);
        if got_one {
            kill(pid, libc::SIGKILL)?;
        }
        kill(server, libc::SIGCONT)?;
        // Those that did not get it may have been turned away for being stopped, and be gone.
        for &spare in stopped.iter().filter(|&&spare| spare != pid) {
            let _ = kill(spare, libc::SIGCONT);
        }
        if got_one {
            return Ok(Some(told(handle)));
        }
        handle.join().map_err(io::Error::other)?;
        Ok(None)
    })
}

/// Stops a process, and waits until it has stopped. Fails if it has ended.
fn stop(pid: u32) -> io::Result<()> {
    kill(pid, libc::SIGSTOP)?;
    wait::until_found("a worker to stop", || match procfs::state(pid)? {
        'T' => Ok(Some(())),
        'Z' | 'X' => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(None),
    })
}

/// The task runs, and the fork server is killed: nobody is left who could say how the worker ended.
pub(super) fn lost() -> io::Result<Told> {
    let server = fork_server::find()?;
    let bell = Doorbell::new()?;
    let handle = process::spawn(doorbell::ring_and_wait, bell.name())?;
    bell.await_ring()?;
    kill(server, libc::SIGKILL)?;
    let outcome = told(handle);
    // The next task needs a new one.
    let new = fork_server::find()?;
    Ok(if new == server {
        Err("the fork server is still the same".to_owned())
    } else {
        outcome
    })
}
