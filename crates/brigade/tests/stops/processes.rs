//! Programs that are started by a test, talked to, stopped, and waited for.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use brigade_test_support::wait::{LIMIT, pause, timespec};
use brigade_test_support::{procfs, signal};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process that was started here, and is ended with the test.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    mark: String,
    child: std::process::Child,
    ended: OwnedFd,
    pub(crate) input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Child {
    /// This program again, as a host.
    pub(crate) fn host(name: &'static str) -> Child {
        Child::start(
            name,
            Command::new(std::env::current_exe().expect("this program")),
        )
    }

    pub(crate) fn start(name: &'static str, mut command: Command) -> Child {
        // A variable in everybody's environment who comes from it.
        let mark = format!("{name}-{}", std::process::id());
        let mut child = command
            .args(["--host", name])
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a host starts");
        let id = Pid::from_raw(child.id() as i32).expect("a number");
        Child {
            name,
            mark,
            ended: pidfd_open(id, PidfdFlags::empty()).expect("it is our child"),
            input: child.stdin.take().expect("piped"),
            output: child.stdout.take().map(BufReader::new),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.output.as_mut().expect("it is not ended");
        output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Stops it for so long.
    pub(crate) fn is_stopped_for(&self, time: Duration) {
        signal::stop(self.pid());
        pause(time);
        signal::go_on(self.pid());
    }

    /// Tells it to go on.
    pub(crate) fn tell(&mut self) {
        self.input.write_all(b"\n").expect("it reads");
    }

    /// It has ended well, and in time.
    pub(crate) fn ends_well(mut self) {
        let timeout = timespec(2 * LIMIT);
        let mut fds = [PollFd::new(&self.ended, PollFlags::IN)];
        let ended = rustix::event::poll(&mut fds, Some(&timeout)).expect("polled");
        assert!(ended > 0, "{} hangs", self.name);
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its fork server may be stopped, and ends everything else when it goes on.
        for pid in procfs::with_variable(MARK, &self.mark).unwrap_or_default() {
            signal::send(pid, libc::SIGCONT);
        }
    }
}

const MARK: &str = "BRIGADE_STOPS";

/// In a host: says that it has come to a place.
pub(crate) fn say(what: impl std::fmt::Display) {
    println!("{what}");
}

/// In a host: waits until it is told to go on.
pub(crate) fn listen() {
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("text");
}
