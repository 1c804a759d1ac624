//! Workers that are ended by others.

use std::io;

use brigade::process;

use super::{Told, told};
use crate::doorbell::{self, Doorbell};
use crate::{procfs, wait};

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

/// All spare workers are stopped, so that the one that gets the task cannot take it up; then it is killed.
pub(super) fn before_it_started() -> io::Result<Told> {
    let server = procfs::fork_server()?;
    let spares = wait::until("spare workers", || {
        let children = procfs::children(server)?;
        // At rest: whoever is there is a spare of which the program knows.
        let known = procfs::mappings(std::process::id(), "brigade-mailbox")?;
        Ok((!children.is_empty() && children.len() == known).then_some(children))
    })?;
    for &spare in &spares {
        kill(spare, libc::SIGSTOP)?;
    }
    for &spare in &spares {
        wait::until("a worker to stop", || {
            Ok((procfs::state(spare)? == 'T').then_some(()))
        })?;
    }
    let handle = process::spawn(|()| (), ())?;
    let pid = pid_of(&handle)?;
    let outcome = if spares.contains(&pid) {
        kill(pid, libc::SIGKILL)?;
        told(handle)
    } else {
        Err(format!(
            "the task went to process {pid}, which is not one of the spares {spares:?}"
        ))
    };
    for &spare in spares.iter().filter(|&&spare| spare != pid) {
        kill(spare, libc::SIGCONT)?;
    }
    Ok(outcome)
}

/// The task runs, and the fork server is killed: nobody is left who could say how the worker ended.
pub(super) fn lost() -> io::Result<Told> {
    let server = procfs::fork_server()?;
    let bell = Doorbell::new()?;
    let handle = process::spawn(doorbell::ring_and_wait, bell.name())?;
    bell.await_ring()?;
    kill(server, libc::SIGKILL)?;
    let outcome = told(handle);
    // The next task needs a new one.
    let new = procfs::fork_server()?;
    Ok(if new == server {
        Err("the fork server is still the same".to_owned())
    } else {
        outcome
    })
}
