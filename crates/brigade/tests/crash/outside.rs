//! Workers that are killed by others.

use brigade::{Cause, JoinError, Phase, process};
use brigade_test_support::signal;

use crate::{into_crash, next_task_succeeds};

/// Says that it runs, and then waits for ever.
pub(crate) fn wait_for_ever(fifo: String) {
    std::fs::write(fifo, "x").expect("somebody reads");
    loop {
        std::thread::park();
    }
}

/// A named pipe of this test's own, removed at its end.
pub(crate) struct Fifo(std::path::PathBuf);

impl Fifo {
    pub(crate) fn new() -> Fifo {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "brigade-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("a named pipe");
        Fifo(path)
    }

    pub(crate) fn path(&self) -> String {
        self.0.to_str().expect("a plain path").to_owned()
    }

    /// Waits until the task says that it runs.
    pub(crate) fn wait(&self) -> String {
        std::fs::read_to_string(&self.0).expect("the task writes")
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// As [`wait_for_ever`], in a worker that no signal passes by: what the test was started by may
/// ignore SIGINT, as a shell has it for what it runs in the background, and that is inherited.
fn wait_to_be_killed(fifo: String) {
    // SAFETY: the default action, in a process of our own.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    wait_for_ever(fifo);
}

#[test]
fn killed_from_outside() {
    brigade::init();
    for signal in [
        libc::SIGKILL,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGUSR1,
        libc::SIGSEGV,
        libc::SIGABRT,
    ] {
        let fifo = Fifo::new();
        let handle = process::spawn(wait_to_be_killed, fifo.path()).expect("a process starts");
        fifo.wait();
        assert!(signal::send(
            handle.pid().expect("it runs in a process"),
            signal
        ));
        let crash = into_crash(handle.join());
        assert_eq!(
            (crash.cause(), crash.phase()),
            (&Cause::Killed(signal), Phase::Running)
        );
        assert!(crash.to_string().contains("outside"), "{crash}");
        next_task_succeeds();
    }
}

#[test]
fn stopped_and_then_killed() {
    brigade::init();
    let fifo = Fifo::new();
    let handle = process::spawn(wait_for_ever, fifo.path()).expect("a process starts");
    fifo.wait();
    let pid = handle.pid().expect("it runs in a process");
    assert!(signal::send(pid, libc::SIGSTOP));
    let handle = handle
        .join_timeout(std::time::Duration::from_millis(20))
        .expect_err("a stopped task does not end");
    assert!(!handle.is_finished());
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    assert!(
        !signal::exists(pid),
        "it is gone when the caller hears of it"
    );
}

#[test]
fn a_child_that_a_task_forks_does_not_speak_for_it() {
    brigade::init();
    fn fork_and_wait(fault: bool) -> u32 {
        // SAFETY: a worker has one thread; the child returns from the task, or faults.
        match unsafe { libc::fork() } {
            0 if fault => std::process::abort(),
            0 => 1,
            child => {
                let mut status = 0;
                // SAFETY: writes one integer.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                2
            }
        }
    }
    for fault in [false, true] {
        let handle = process::spawn(fork_and_wait, fault).expect("a process starts");
        assert_eq!(handle.join().expect("the task returns"), 2);
    }
}
