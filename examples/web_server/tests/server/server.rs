//! The program, started for a test and ended with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{PATIENCE, get};

/// A server, and the directory that it serves.
pub(crate) struct Server {
    program: Child,
    pub(crate) address: SocketAddr,
    pub(crate) dir: PathBuf,
}

impl Server {
    /// Starts one that serves `root/` of a directory of its own, with `/status` and `/fault/`.
    pub(crate) fn start(options: &[&str]) -> Server {
        Server::start_in(new_dir(), options)
    }

    pub(crate) fn start_in(dir: PathBuf, options: &[&str]) -> Server {
        let mut program = Command::new(env!("CARGO_BIN_EXE_web_server"))
            .args(["--listen", "127.0.0.1:0", "--status", "--faults"])
            .args(options)
            .current_dir(&dir)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("log")).expect("made"))
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("it does not listen: {line:?}"));
        Server {
            address: address.parse().expect("an address"),
            program,
            dir,
        }
    }

    pub(crate) fn get(&self, path: &str) -> crate::client::Answer {
        get(self.address, path)
    }

    /// A number in its `/status`.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        let status = self.status();
        let number = status.pointer(pointer).and_then(|n| n.as_u64());
        number.unwrap_or_else(|| panic!("no {pointer} in {status}"))
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/status").body).expect("JSON")
    }

    /// How many lines of its log have this in them.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.dir.join("log")).expect("text");
        log.lines().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.program);
        kill_process(pid, signal).expect("it is there");
    }

    /// Its end, for which it was sent a signal.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.program.wait().expect("it is ours")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
        if std::thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.dir.join("log")).unwrap_or_default()
            );
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A directory with `root/index.html`, `root/text.txt` (300 KB) and `root/sub/index.html`.
pub(crate) fn new_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("web-server-test-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let root = dir.join("root");
    fs::create_dir_all(root.join("sub")).expect("made");
    fs::write(root.join("index.html"), "<p>hello</p>\n").expect("written");
    fs::write(root.join("sub/index.html"), "<p>beneath</p>\n").expect("written");
    fs::write(root.join("text.txt"), text()).expect("written");
    dir
}

/// Something to compress.
pub(crate) fn text() -> Vec<u8> {
    let lines = (0..10_000_u64).map(|n| format!("{n} {}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    lines.collect::<String>().into_bytes()
}

/// Looks until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a process is there.
pub(crate) fn is_alive(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
