//! Signals to other processes: kill(2).

use crate::{procfs, wait};

/// Sends a signal, and says whether there was such a process. One that has just ended is no error:
/// its number is not given to another so soon.
///
/// # Panics
/// For the numbers that mean many processes.
pub fn send(pid: u32, signal: i32) -> bool {
    assert!(
        pid > 1 && pid <= i32::MAX as u32,
        "{pid} is not one process"
    );
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid as i32, signal) == 0 }
}

/// Kills a process.
///
/// # Panics
/// As [`send`].
pub fn kill(pid: u32) {
    send(pid, libc::SIGKILL);
}

/// Waits for all children of this process that there are, as an init process does: who they were,
/// and how each ended, as waitpid(2) says it.
pub fn reap_all() -> Vec<(i32, i32)> {
    let mut statuses = Vec::new();
    let mut status = 0;
    loop {
        // SAFETY: writes one integer.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            -1 => return statuses,
            pid => statuses.push((pid, status)),
        }
    }
}

/// Stops a process, and waits until it is stopped: true; or has ended: false.
///
/// # Panics
/// As [`send`]; or it does not stop.
#[track_caller]
pub fn stop(pid: u32) -> bool {
    send(pid, libc::SIGSTOP);
    let is_stopped = || matches!(procfs::state(pid), Ok('T'));
    wait::until("it is stopped", || is_stopped() || procfs::has_ended(pid));
    is_stopped()
}

/// Continues a process that was stopped, and waits until it runs, or has ended.
///
/// # Panics
/// As [`send`]; or it stays stopped.
#[track_caller]
pub fn go_on(pid: u32) {
    send(pid, libc::SIGCONT);
    wait::until("it goes on", || !matches!(procfs::state(pid), Ok('T')));
}

/// Whether there is such a process. One that has ended and was not reaped is a leftover: it counts.
pub fn exists(pid: u32) -> bool {
    // SAFETY: no memory is involved, and nothing is sent.
    let found = unsafe { libc::kill(pid as i32, 0) } == 0;
    // Another user's is there, and not ours to signal.
    found || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn it_is_stopped_goes_on_and_is_killed() {
        let mut child = Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .expect("starts");
        let pid = child.id();
        assert!(stop(pid));
        assert_eq!(procfs::state(pid).expect("it is there"), 'T');
        go_on(pid);
        assert!(procfs::state(pid).expect("it is there") != 'T');
        kill(pid);
        wait::until("it has ended", || procfs::has_ended(pid));
        assert!(exists(pid), "it was not reaped");
        child.wait().expect("reaped");
        assert!(!exists(pid));
    }
}
