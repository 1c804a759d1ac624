//! S13, a killed worker: from SIGKILL to the error in the hands of the caller, who is asleep in
//! `join`.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use brigade::{Cause, JoinError, JoinHandle, Pool, process};
use brigade_test_support::doorbell::{self, Doorbell};
use brigade_test_support::{procfs, wait};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::helper::{Helper, Role};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;

/// How long a task runs before its end: by then, the worker that it took from the spares has been
/// replaced.
const REST: Duration = Duration::from_millis(5);

const WORKERS: usize = 2;

const PIDFD: &str = "a pidfd becomes readable";

/// Two wake-ups, one after the other, as wherever the caller is not the parent of the worker.
const TOLD: &str = "its parent, another process, reaps it and writes a byte";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let bell = Doorbell::new()?;
    let pool = Pool::processes(WORKERS)?;
    let mut parent = Helper::start(Role::Parent.command())?;
    let mut reaper = Helper::start(Role::Reaper.command())?;
    let all = take_turns(
        if quick { 40 } else { 300 },
        vec![
            Contender::new("brigade, process::spawn", || {
                let task = process::spawn(doorbell::ring_and_wait, bell.name())?;
                kill(&bell, task)
            }),
            Contender::new("brigade, Pool::processes", || {
                let task = pool.submit(doorbell::ring_and_wait, bell.name());
                kill(&bell, task)
            }),
            Contender::new(PIDFD, || pidfd(&mut parent)),
            Contender::new(TOLD, || told(&mut reaper)),
        ],
    );
    // If a turn failed, its task still waits.
    pool.abort();
    let all = all?;
    let [fresh, pooled, pidfd, told] = all.as_slice() else {
        return Err(rows::empty());
    };
    let row = |id, what, ours| {
        let goals = [(PIDFD, Goal::AtMost(3.0))];
        let all = [Clone::clone(ours), pidfd.clone(), told.clone()];
        Row::new(id, what, "µs", &all, &goals).ok_or_else(rows::empty)
    };
    Ok(vec![
        row(
            "S13a",
            "a killed worker: from SIGKILL to the caller's error",
            fresh,
        )?,
        row("S13b", "the same, a worker of a pool", pooled)?,
    ])
}

/// Kills the worker while the task waits.
fn kill(bell: &Doorbell, task: JoinHandle<()>) -> io::Result<f64> {
    let rang = bell.await_ring()?;
    let pid = task
        .pid()
        .filter(|pid| rang == [*pid])
        .ok_or_else(|| io::Error::other("a worker without a number, or with another's"))?;
    let (taken, ended) = time_kill(pid, move || task.join())?;
    match ended {
        Err(JoinError::Crashed(crash)) if *crash.cause() == Cause::Killed(libc::SIGKILL) => {
            Ok(taken)
        }
        Err(other) => Err(io::Error::other(other)),
        Ok(()) => Err(io::Error::other("the task returned")),
    }
}

/// A child of a small program, killed in the same way.
fn pidfd(parent: &mut Helper) -> io::Result<f64> {
    let pid = u32::from_ne_bytes(parent.hear()?);
    let id = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(id, PidfdFlags::empty())?;
    wait::until_found("a child to sleep", || {
        Ok((procfs::state(pid)? == 'S').then_some(()))
    })?;
    let (taken, polled) = time_kill(pid, move || {
        rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)
    })?;
    polled?;
    parent.tell(&[1])?;
    Ok(taken)
}

/// A child of a small program, which tells of its end.
fn told(reaper: &mut Helper) -> io::Result<f64> {
    let pid = u32::from_ne_bytes(reaper.hear()?);
    wait::until_found("a child to sleep", || {
        Ok((procfs::state(pid)? == 'S').then_some(()))
    })?;
    let answers = reaper.answers()?;
    let (taken, read) = time_kill(pid, move || rustix::io::read(&answers, &mut [0_u8; 1]))?;
    match read? {
        1 => Ok(taken),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Kills the process while a thread sleeps in `wait_for_it`: microseconds until that has returned.
fn time_kill<T: Send + 'static>(
    pid: u32,
    wait_for_it: impl FnOnce() -> T + Send + 'static,
) -> io::Result<(f64, T)> {
    static SLEEPER: AtomicI32 = AtomicI32::new(0);
    SLEEPER.store(0, Ordering::Release);
    let sleeper = std::thread::spawn(move || {
        SLEEPER.store(rustix::thread::gettid().as_raw_pid(), Ordering::Release);
        let ended = wait_for_it();
        (Instant::now(), ended)
    });
    wait::until_found("the caller to sleep", || {
        match SLEEPER.load(Ordering::Acquire) {
            0 => Ok(None),
            thread => Ok((procfs::state(thread.cast_unsigned())? == 'S').then_some(())),
        }
    })?;
    wait::pause(REST);
    let start = Instant::now();
    // SAFETY: no memory is involved. The process waits until it is killed, so the number is its
    // own.
    if unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (end, ended) = sleeper
        .join()
        .map_err(|_| io::Error::other("the caller panicked"))?;
    Ok((microseconds(end - start), ended))
}
