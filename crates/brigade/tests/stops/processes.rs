//! Processes: stopped, continued, looked at, waited for.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Longer than anything takes that does not hang, a fork server's replacement included.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn signal(pid: u32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Stops a process, and waits until it is, or has ended.
pub(crate) fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    until("it is stopped", || state(pid) == Some('T') || is_dead(pid));
}

pub(crate) fn go_on(pid: u32) {
    signal(pid, libc::SIGCONT);
    until("it goes on", || state(pid) != Some('T'));
}

/// The state's letter: `T` is stopped, `Z` has ended. `None`: there is none any more. proc(5)
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether it can do anything any more.
pub(crate) fn is_dead(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let rest = stat.rsplit_once(')').expect("a name").1;
    let parent = rest.split_whitespace().nth(1).expect("a parent");
    parent.parse().expect("a number")
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        let_pass(Duration::from_millis(1));
    }
}

/// How long something is stopped, or a task takes, is what is tried; or /proc is asked again, which
/// nobody can wait for.
#[expect(clippy::disallowed_methods, reason = "see above")]
pub(crate) fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

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
        stop(self.pid());
        let_pass(time);
        go_on(self.pid());
    }

    /// Tells it to go on.
    pub(crate) fn tell(&mut self) {
        self.input.write_all(b"\n").expect("it reads");
    }

    /// It has ended well, and in time.
    pub(crate) fn ends_well(mut self) {
        let timeout = Timespec {
            tv_sec: 2 * LIMIT.as_secs() as i64,
            tv_nsec: 0,
        };
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
        for pid in with_mark(&self.mark) {
            signal(pid, libc::SIGCONT);
        }
    }
}

const MARK: &str = "BRIGADE_STOPS";

/// Processes that were started with this mark, or forked from one that was.
fn with_mark(mark: &str) -> Vec<u32> {
    let needle = format!("{MARK}={mark}").into_bytes();
    let all = std::fs::read_dir("/proc").expect("proc");
    let pids = all
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|v| v == needle)
    })
    .collect()
}

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
