//! `brigade top` in a pseudo terminal: it draws, takes keys, and gives the terminal back however
//! it ends.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, LocalModes, Winsize, tcflow, tcgetattr, tcsetwinsize};
use rustix::time::Timespec;

use super::program::Known;

/// A terminal with `brigade top` on it.
struct Top {
    child: Child,
    master: File,
    slave: OwnedFd,
    /// All that it has written, without what the terminal makes of it.
    written: String,
    /// What a terminal makes of it.
    screen: vt100::Parser,
}

impl Drop for Top {
    fn drop(&mut self) {
        // A test that has failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Top {
    fn start(arguments: &[&str], columns: u16, lines: u16) -> Top {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo terminal");
        grantpt(&master).expect("a pseudo terminal");
        unlockpt(&master).expect("a pseudo terminal");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).expect("its other side");
        size(&master, columns, lines);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = Command::new(env!("CARGO_BIN_EXE_brigade"))
            .arg("top")
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        Top {
            child,
            master: File::from(master),
            slave,
            written: String::new(),
            screen: vt100::Parser::new(lines, columns, 0),
        }
    }

    /// Reads until this is on the screen.
    fn wait_for(&mut self, text: &str) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.screen.screen().contents().contains(text) {
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let is_ready = poll(&mut ready, Some(&second)).expect("polling") == 1;
            let contents = self.screen.screen().contents();
            assert!(Instant::now() < limit, "no {text:?} on\n{contents}");
            if is_ready {
                self.read();
            }
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        let len = self.master.read(&mut bytes).expect("the terminal");
        self.screen.process(&bytes[..len]);
        self.written
            .push_str(&String::from_utf8_lossy(&bytes[..len]));
    }

    fn press(&mut self, keys: &str) {
        self.master
            .write_all(keys.as_bytes())
            .expect("the terminal");
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("its modes").local_modes;
        !modes.contains(LocalModes::ICANON) && !modes.contains(LocalModes::ECHO)
    }

    /// Waits for its end, and looks at what it leaves. It reads meanwhile: a terminal that takes
    /// nothing more keeps the program in a write, where no key ends it.
    fn end(mut self) -> ExitStatus {
        let child = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("a pidfd");
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let mut ready = [
                PollFd::new(&self.master, PollFlags::IN),
                PollFd::new(&child, PollFlags::IN),
            ];
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            poll(&mut ready, Some(&second)).expect("polling");
            let [has_written, has_ended] = ready.map(|fd| fd.revents().contains(PollFlags::IN));
            if has_written {
                self.read();
            } else if has_ended {
                break;
            }
            let contents = self.screen.screen().contents();
            assert!(Instant::now() < limit, "it does not end:\n{contents}");
        }
        let status = self.child.wait().expect("it ended");
        assert!(!self.is_raw(), "the terminal is as it was left");
        let left = self
            .written
            .rfind("\x1b[?1049l")
            .expect("the screen is given back");
        assert!(
            left > self
                .written
                .rfind("\x1b[?1049h")
                .expect("a screen of its own")
        );
        assert!(
            self.written.rfind("\x1b[?25h") > self.written.rfind("\x1b[?25l"),
            "the cursor"
        );
        status
    }
}

fn size(of: &OwnedFd, columns: u16, lines: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(of.as_fd(), size).expect("its size");
}

fn busy(kind: &str) -> Known {
    Known::start("busy", &[("KIND", kind.to_owned())])
}

#[test]
fn a_running_pool_is_drawn_and_q_quits() {
    for kind in ["process", "thread"] {
        let program = busy(kind);
        let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
        top.wait_for("inspect::pools::hold");
        top.wait_for("2 queued, 1 running");
        assert!(top.is_raw());
        // Nothing is coloured.
        assert!(!top.written.contains("\x1b[31m") && !top.written.contains("\x1b[38;"));
        // Down to the worker.
        top.press("j");
        top.wait_for("running inspect::pools::hold for");
        top.wait_for("holder: in ");
        if kind == "process" {
            top.wait_for("stderr: holding \\u{1b}[2J");
        }
        top.press("q");
        assert_eq!(top.end().code(), Some(0));
    }
}

#[test]
fn a_task_with_a_process_of_its_own_is_drawn_as_what_it_is() {
    let program = Known::start("spawned", &[]);
    let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
    top.wait_for("one task");
    top.press("j");
    top.wait_for("inspect::pools::hold for");
    top.wait_for("stderr: first");
    top.press("q");
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn the_terminal_is_given_back_when_a_signal_ends_it() {
    use std::os::unix::process::ExitStatusExt as _;

    let program = busy("thread");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
        top.wait_for("inspect::pools::hold");
        let pid = Pid::from_child(&top.child);
        kill_process(pid, signal).expect("a signal");
        assert_eq!(top.end().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn a_signal_ends_it_on_a_terminal_that_takes_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    let program = busy("thread");
    let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
    top.wait_for("q quit");
    // As Ctrl-S does.
    tcflow(&top.slave, Action::OOff).expect("a terminal that is stopped");
    let syscall = format!("/proc/{}/syscall", top.child.id());
    let writes = format!("{} 0x1 ", libc::SYS_write);
    let limit = Instant::now() + Duration::from_secs(60);
    // The kernel tells of no thread that it begins to wait.
    while !std::fs::read_to_string(&syscall).is_ok_and(|call| call.starts_with(&writes)) {
        assert!(Instant::now() < limit, "it does not wait for the terminal");
        std::thread::yield_now();
    }
    let child = pidfd_open(Pid::from_child(&top.child), PidfdFlags::empty()).expect("a pidfd");
    kill_process(Pid::from_child(&top.child), Signal::TERM).expect("a signal");
    let mut ended = [PollFd::new(&child, PollFlags::IN)];
    let minute = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut ended, Some(&minute)), Ok(1), "it does not end");
    let status = top.child.wait().expect("it ended");
    assert_eq!(status.signal(), Some(libc::SIGTERM));
    assert!(!top.is_raw(), "the terminal's modes are as they were");
}

#[test]
fn another_size_is_drawn_anew() {
    let program = busy("thread");
    let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
    top.wait_for("q quit");
    let master = top.master.try_clone().expect("a descriptor");
    size(&master.into(), 60, 12);
    // There is no controlling terminal from which the signal would come.
    kill_process(Pid::from_child(&top.child), Signal::WINCH).expect("a signal");
    // What it draws from here on has that size: its last line is the twelfth.
    top.screen = vt100::Parser::new(12, 60, 0);
    top.wait_for("q quit");
    let contents = top.screen.screen().contents();
    let last = contents.lines().nth(11).unwrap_or_default();
    assert!(last.contains("q quit"), "{contents}");
    top.press("\x03");
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn the_end_of_the_program_is_told_on_the_terminal() {
    let mut program = busy("thread");
    let mut top = Top::start(&[&program.pid().to_string()], 80, 24);
    top.wait_for("inspect::pools::hold");
    let pid = program.pid();
    program.finish();
    top.wait_for(&format!("process {pid} has ended"));
    assert_eq!(top.end().code(), Some(1));
}

#[test]
fn programs_are_listed_and_opened() {
    let program = busy("process");
    let mut top = Top::start(&[], 100, 40);
    top.wait_for("Programs that publish");
    top.wait_for(&program.pid().to_string());
    // None of another name.
    top.wait_for("inspect-");
    // There may be others, of other tests.
    top.press("q");
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn without_a_terminal_it_says_so_and_once_prints_a_picture() {
    let program = busy("process");
    let pid = program.pid().to_string();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_brigade"))
            .arg("top")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    };
    let refused = run(&[&pid]);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains("terminal") && message.contains("--once"),
        "{message}"
    );
    let once = run(&[&pid, "--once"]);
    assert_eq!(once.status.code(), Some(0));
    let text = String::from_utf8(once.stdout).expect("it is UTF-8");
    assert!(text.contains("inspect::pools::hold"), "{text}");
    assert!(text.contains("2 queued, 1 running"), "{text}");
    assert!(!text.contains('\x1b'));
    let none = run(&["no-such-program", "--once"]);
    assert_eq!(none.status.code(), Some(1));
}
