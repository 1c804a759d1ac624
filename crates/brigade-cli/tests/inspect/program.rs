//! The known programs: this test binary again, in a role. `alpha` has one end of each kind of
//! connection and starts `beta`, which gets the others.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::pools;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags, mmap};

const ROLE: &str = "BRIGADE_INSPECT_ROLE";
const PAGE: usize = 4096;

/// A program that runs until this is dropped, and what it has said of itself.
#[derive(Debug)]
pub(crate) struct Known {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) said: Vec<String>,
}

impl Known {
    pub(crate) fn start(role: &str, more: &[(&str, String)]) -> Known {
        Known::start_by(
            Command::new(env::current_exe().expect("this program")),
            role,
            more,
        )
    }

    /// As `start`, by a command that runs a program.
    pub(crate) fn start_by(command: Command, role: &str, more: &[(&str, String)]) -> Known {
        let mut child = start(command, role, more);
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        // What the test harness prints comes before it.
        let line = loop {
            let mut line = String::new();
            assert_ne!(
                stdout.read_line(&mut line).expect("it says something"),
                0,
                "{role} ended"
            );
            if let Some((_, line)) = line.split_once("ready ") {
                break line.to_owned();
            }
        };
        // Its output stays connected with nothing that the picture would show.
        drop(stdout);
        Known {
            child,
            stdin,
            said: line.split_whitespace().map(str::to_owned).collect(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go on, and waits for its end.
    pub(crate) fn finish(&mut self) {
        drop(self.stdin.take());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.finish();
    }
}

fn start(mut command: Command, role: &str, more: &[(&str, String)]) -> Child {
    command
        .args([
            "--exact",
            "program::in_a_role",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (name, value) in more {
        command.env(name, value);
    }
    command.spawn().expect("the program starts")
}

/// No test: the programs.
#[test]
fn in_a_role() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "alpha" => alpha(),
        "beta" => beta(),
        "threads" => threads(),
        "zombie" => zombie(),
        "busy" => pools::busy(),
        "spawned" => pools::spawned(),
        "crashed" => pools::crashed(),
        "idle" => pools::idle(),
        "silent" => pools::silent(),
        "forked" => pools::forked(),
        role => panic!("no role {role}"),
    }
}

/// Says that all is there, and waits until the starter lets it go.
pub(super) fn wait_for_the_end(said: &str) {
    wait_and_then(said, || {});
}

pub(super) fn wait_and_then(said: &str, last: impl FnOnce()) {
    println!("ready {said}");
    // Closed, so that the pipe to the starter is none of the connections.
    // SAFETY: nothing in this program writes to it any more but the harness, which is waiting for
    // this function and gets an error that it does not look at.
    drop(unsafe { OwnedFd::from_raw_fd(1) });
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    last();
    // Not back into the test harness, whose output is gone.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .expect("the end");
}

fn alpha() {
    // What the starter of the tests has left open is none of the known connections.
    // SAFETY: nothing in this program has opened a descriptor yet: those from 3 on are inherited.
    assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    let (pipe_reader, pipe_writer) = std::io::pipe().expect("a pipe");
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let name = format!("brigade-inspect-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let unix = UnixListener::bind_addr(&address).expect("a Unix socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a TCP socket");
    let queue = queue(&format!("/{name}"));
    let region = region(c"known region");
    // What must not be shown as a connection: both ends here, memory that no other process has, a
    // file that both only read.
    let alone = std::io::pipe().expect("a pipe");
    let alone_too = UnixStream::pair().expect("a pair of sockets");
    let own = region_of(c"own region");
    for fd in [
        pipe_reader.as_raw_fd(),
        theirs.as_raw_fd(),
        queue.as_raw_fd(),
        region.as_raw_fd(),
    ] {
        inherit(fd);
    }
    let more = [
        ("PIPE", pipe_reader.as_raw_fd().to_string()),
        ("PAIR", theirs.as_raw_fd().to_string()),
        ("REGION", region.as_raw_fd().to_string()),
        ("UNIX", name.clone()),
        (
            "TCP",
            tcp.local_addr().expect("its address").port().to_string(),
        ),
    ];
    let mut beta = Known::start("beta", &more);
    let accepted = (
        unix.accept().expect("a connection"),
        tcp.accept().expect("a connection"),
    );
    drop((pipe_reader, theirs));
    wait_for_the_end(&format!("{} {name}", beta.pid()));
    beta.finish();
    drop((pipe_writer, ours, accepted, alone, alone_too, own, queue));
}

fn beta() {
    let of = |name: &str| env::var(name).expect("a variable");
    let number = |name: &str| -> RawFd { of(name).parse().expect("a number") };
    let name = SocketAddr::from_abstract_name(of("UNIX")).expect("a name");
    let unix = UnixStream::connect_addr(&name).expect("a connection");
    let tcp = TcpStream::connect(("127.0.0.1", number("TCP") as u16)).expect("a connection");
    // SAFETY: inherited for us; nothing else in this program has it.
    let region = unsafe { OwnedFd::from_raw_fd(number("REGION")) };
    map(&region, MapFlags::SHARED);
    wait_for_the_end("");
    drop((unix, tcp, region));
}

/// One with several threads that have names.
fn threads() {
    let (hold, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let (ready, all) = std::sync::mpsc::channel();
    for name in ["first", "evil\x1b[31m"] {
        let (wait, ready) = (wait.clone(), ready.clone());
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                ready.send(()).expect("it is heard");
                let _ = wait.lock().expect("no thread panics").recv();
            })
            .expect("a thread");
    }
    for _ in 0..2 {
        all.recv().expect("a thread runs");
    }
    wait_for_the_end("");
    drop(hold);
}

/// One whose child has ended, and is not collected.
fn zombie() {
    let mut child = Command::new("/bin/true").spawn().expect("a program");
    let ended = rustix::process::waitid(
        rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
    );
    assert!(ended.is_ok());
    wait_for_the_end(&child.id().to_string());
    let _ = child.wait();
}

fn inherit(fd: RawFd) {
    // SAFETY: a descriptor of the caller's, which keeps it open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl_setfd(fd, FdFlags::empty()).expect("inheritance");
}

fn queue(name: &str) -> OwnedFd {
    let name = std::ffi::CString::new(name).expect("a name");
    // SAFETY: a name, flags, a mode and default attributes, as mq_open(3) has them.
    let fd = unsafe {
        libc::mq_open(
            name.as_ptr(),
            libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC,
            0o600,
            std::ptr::null::<libc::mq_attr>(),
        )
    };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a name.
    assert_eq!(unsafe { libc::mq_unlink(name.as_ptr()) }, 0);
    // SAFETY: just opened; a queue is a descriptor on Linux.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn region(name: &std::ffi::CStr) -> OwnedFd {
    let region = region_of(name);
    map(&region, MapFlags::SHARED);
    region
}

fn region_of(name: &std::ffi::CStr) -> OwnedFd {
    let region = memfd_create(name, MemfdFlags::CLOEXEC).expect("memory");
    ftruncate(&region, PAGE as u64).expect("its size");
    map(&region, MapFlags::PRIVATE);
    region
}

fn map(region: &OwnedFd, how: MapFlags) {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: at a place that the kernel chooses, and it is never unmapped.
    let at = unsafe { mmap(std::ptr::null_mut(), PAGE, access, how, region, 0) };
    at.expect("a mapping");
}
