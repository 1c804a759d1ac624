//! Small programs that some anchors are: other starts of this one, which do one thing and have next
//! to no memory.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The argument that makes a start of this program a helper.
const WORD: &str = "helper";

/// What a helper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ends at once: a re-execution.
    Exit,
    /// For each request, a count: forks so often, and says how long that took.
    Fork,
    /// Forks a child that waits for ever, says its process id; at the next request reaps it and
    /// forks another.
    Parent,
    /// Forks a child that waits for ever, says its process id, and when it has ended says a byte;
    /// again and again. The floor of what a process between can tell of a death.
    Reaper,
    /// For each byte of its stdin, a socket: forks a child that ends, reaps it, and answers with a
    /// byte. A fork server's floor.
    ForkServer,
    /// Starts a crowd of process workers; see the row.
    Crowd,
    /// Has a pool of process workers; see `pooled`.
    Pool,
}

const ROLES: [(Role, &str); 7] = [
    (Role::Exit, "exit"),
    (Role::Fork, "fork"),
    (Role::Parent, "parent"),
    (Role::Reaper, "reaper"),
    (Role::ForkServer, "fork-server"),
    (Role::Crowd, "crowd"),
    (Role::Pool, "pool"),
];

impl Role {
    fn name(self) -> &'static str {
        ROLES
            .iter()
            .find(|(role, _)| *role == self)
            .map_or("", |(_, name)| name)
    }

    pub(crate) fn command(self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args([WORD, self.name()]).stdin(Stdio::null());
        command
    }
}

/// If this start is a helper: plays it to its end.
pub(crate) fn play() -> Option<ExitCode> {
    let mut words = std::env::args().skip(1);
    if words.next()? != WORD {
        return None;
    }
    let name = words.next()?;
    let (role, _) = ROLES.iter().find(|(_, known)| *known == name)?;
    let played = match role {
        Role::Exit => Ok(()),
        Role::Fork => forks(),
        Role::Parent => parent(),
        Role::Reaper => reaper(),
        Role::ForkServer => fork_server(),
        Role::Crowd => crate::rows::s14::play_crowd(),
        Role::Pool => crate::pooled::play(),
    };
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone: the usual end.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("helper {name}: {e}");
            ExitCode::FAILURE
        }
    })
}

/// Forks; the child does `child`, which must not return from it.
fn fork(child: fn() -> !) -> io::Result<libc::pid_t> {
    // SAFETY: a helper has one thread, so its fork is whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => child(),
        pid => Ok(pid),
    }
}

fn reap(pid: libc::pid_t) -> io::Result<()> {
    // SAFETY: a null pointer: the status is not asked for.
    match unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn end() -> ! {
    // SAFETY: does not return, so nothing can see what it skipped.
    unsafe { libc::_exit(0) }
}

fn sleep() -> ! {
    // SAFETY: no memory is involved. The child dies with its parent, should that be killed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: no memory is involved.
        unsafe { libc::pause() };
    }
}

fn forks() -> io::Result<()> {
    loop {
        let mut count = [0; 4];
        io::stdin().read_exact(&mut count)?;
        let start = Instant::now();
        for _ in 0..u32::from_ne_bytes(count) {
            reap(fork(end)?)?;
        }
        let taken = start.elapsed().as_nanos() as u64;
        answer(&taken.to_ne_bytes())?;
    }
}

fn parent() -> io::Result<()> {
    loop {
        let child = fork(sleep)?;
        answer(&child.to_ne_bytes())?;
        io::stdin().read_exact(&mut [0; 1])?;
        reap(child)?;
    }
}

fn reaper() -> io::Result<()> {
    loop {
        let child = fork(sleep)?;
        answer(&child.to_ne_bytes())?;
        reap(child)?;
        answer(&[1])?;
    }
}

fn fork_server() -> io::Result<()> {
    let socket = rustix::stdio::stdin();
    let mut byte = [0];
    while rustix::io::read(socket, &mut byte)? == 1 {
        reap(fork(end)?)?;
        rustix::io::write(socket, &byte)?;
    }
    Ok(())
}

pub(crate) fn answer(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// A helper, and the two pipes to it; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Helper {
    pub(crate) fn start(mut command: Command) -> io::Result<Helper> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a helper without a pipe");
        let requests = child.stdin.take().ok_or_else(missing)?;
        let answers = child.stdout.take().ok_or_else(missing)?;
        Ok(Helper {
            child,
            requests,
            answers,
        })
    }

    /// It, and all that it starts, on one processor.
    pub(crate) fn start_on_one_processor(command: Command) -> io::Result<Helper> {
        // A thread of its own: a program begins with what the thread may use that starts it.
        let start = move || {
            let mine = sched_getaffinity(None)?;
            let first = (0..CpuSet::MAX_CPU).find(|&cpu| mine.is_set(cpu));
            let mut one = CpuSet::new();
            one.set(first.ok_or(io::ErrorKind::NotFound)?);
            sched_setaffinity(None, &one)?;
            Helper::start(command)
        };
        std::thread::spawn(start)
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))?
    }

    pub(crate) fn tell(&mut self, request: &[u8]) -> io::Result<()> {
        self.requests.write_all(request)?;
        self.requests.flush()
    }

    pub(crate) fn hear<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.answers.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// What it answers, for a thread that waits for it.
    pub(crate) fn answers(&self) -> io::Result<OwnedFd> {
        self.answers.as_fd().try_clone_to_owned()
    }

    pub(crate) fn hear_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        loop {
            match self.hear::<1>()?[0] {
                b'\n' => return Ok(line),
                byte => line.push(char::from(byte)),
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail harmlessly when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
