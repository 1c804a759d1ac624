//! What workers write to stderr: passed on to the host's by whole lines, and its last lines kept.
//!
//! The fork server reads a pipe from each worker. The beginning of a line is held back until its
//! end comes, so that what two workers say at the same time can be read; but not for longer than
//! [`HELD_FOR`], and no more than [`MOST_HELD`]. It must never block on the host's stderr, or one
//! reader that sleeps would hold up every worker's death; and it may not make the host's stderr
//! non-blocking, for the host has it too. So it opens it again, for itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::sys::error::Call;
use crate::sys::fds;
use crate::sys::opened;
use crate::sys::process::{self, Fork};
use crate::worker::process::ipc::board::TAIL;
use crate::worker::process::ipc::stderr_count::Count;

/// More than this is not kept for a stderr that nobody reads.
const BACKLOG: usize = 1 << 20;

/// How long the beginning of a line is held back.
const HELD_FOR: Duration = Duration::from_millis(100);

/// How many bytes of a line are held back.
const MOST_HELD: usize = 8 * 1024;

/// Starts a process that writes to the host's stderr, and may be held up there, what we write to it
/// without being held up.
fn start_relay() -> io::Result<(u32, OwnedFd)> {
    let (read, write) = opened::pipe(rustix::pipe::PipeFlags::empty())?;
    let server = std::process::id();
    match process::fork_for_calls()? {
        Fork::Parent(pid) => {
            rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK).call("fcntl(F_SETFL)")?;
            Ok((pid, write))
        }
        // System calls only.
        Fork::Child => {
            process::die_with_parent();
            if process::parent().ok() != Some(server) {
                process::exit_now(0);
            }
            fds::close_all_but(&[read.as_raw_fd()]);
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = rustix::io::read(&read, &mut bytes[..]) {
                let mut done = 0;
                while done < n {
                    match rustix::io::write(rustix::stdio::stderr(), &bytes[done..n]) {
                        Ok(wrote) => done += wrote,
                        Err(Errno::INTR) => {}
                        // Nobody reads it any more: the pipe to this process breaks, which is seen
                        // there.
                        Err(Errno::PIPE) => process::exit_now(0),
                        // A terminal that may not be written to now, for one: these words are lost,
                        // not the next.
                        Err(_) => break,
                    }
                }
            }
            process::exit_now(0)
        }
    }
}

/// The host's stderr, and what could not be written to it yet. While there is such, workers are not
/// read, and so wait as they would on a stderr of their own.
#[derive(Debug)]
pub(crate) struct Output {
    to: To,
    backlog: Vec<u8>,
    /// The process that writes for us what would block us: see [`start_relay`].
    pub(crate) relay: Option<u32>,
}

#[derive(Debug)]
enum To {
    /// Opened again, non-blocking: a pipe or a terminal. Or a pipe to a relay, where that is not
    /// allowed.
    Own(OwnedFd),
    /// The inherited one, and never blocking: a file.
    File(BorrowedFd<'static>),
    /// The inherited one, a socket, which can be told at each call not to block.
    Socket(BorrowedFd<'static>),
    Nowhere,
}

impl Output {
    /// In the fork server, before it has workers.
    pub(crate) fn open() -> io::Result<Output> {
        let fd = rustix::stdio::stderr();
        let mut relay = None;
        let to = match rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode)) {
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                match opened::file("/proc/self/fd/2", flags) {
                    Ok(own) => To::Own(own),
                    // Another user's pipe or terminal, given to us: it can be written, and not
                    // opened.
                    Err(_) => {
                        let (pid, pipe) = start_relay()?;
                        relay = Some(pid);
                        To::Own(pipe)
                    }
                }
            }
            Ok(FileType::Socket) => To::Socket(fd),
            Ok(_) => To::File(fd),
            Err(_) => To::Nowhere,
        };
        Ok(Output {
            to,
            backlog: Vec::new(),
            relay,
        })
    }

    /// Takes `bytes`, in two parts, and writes what can be written now.
    pub(crate) fn write(&mut self, first: &[u8], second: &[u8]) {
        // Living workers are not read while there is a backlog; this much the last words of dead
        // ones may add to it, if nobody reads.
        if self.backlog.len() < BACKLOG {
            self.backlog.extend_from_slice(first);
            self.backlog.extend_from_slice(second);
        }
        self.flush();
    }

    /// Writes what can be written now.
    pub(crate) fn flush(&mut self) {
        let mut done = 0;
        while done < self.backlog.len() {
            let bytes = &self.backlog[done..];
            let wrote = match &self.to {
                To::Own(fd) => rustix::io::write(fd, bytes),
                To::File(fd) => rustix::io::write(fd, bytes),
                To::Socket(fd) => rustix::net::send(
                    fd,
                    bytes,
                    rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL,
                ),
                To::Nowhere => Ok(bytes.len()),
            };
            match wrote {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => {
                    // Nobody reads it any more, or it was closed. Else it may work again (a disk
                    // that was full): these words are lost, as they would be if the worker had
                    // written them itself.
                    let gone = [Errno::PIPE, Errno::CONNRESET, Errno::NOTCONN, Errno::BADF];
                    if gone.contains(&e) {
                        self.to = To::Nowhere;
                    }
                    done = self.backlog.len();
                }
            }
        }
        self.backlog.drain(..done);
    }

    /// No more is written. Gives the relay, which ends when it has passed everything on.
    pub(crate) fn close(&mut self) -> Option<u32> {
        self.to = To::Nowhere;
        self.relay.take()
    }

    /// What to wait for until it can be written, if there is anything to write.
    pub(crate) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        if self.backlog.is_empty() {
            return None;
        }
        match &self.to {
            To::Own(fd) => Some(fd.as_fd()),
            To::File(fd) | To::Socket(fd) => Some(fd.as_fd()),
            To::Nowhere => None,
        }
    }
}

/// The reading end of one worker's stderr, and its last bytes.
#[derive(Debug)]
pub(crate) struct Input {
    pipe: OwnedFd,
    count: Count,
    tail: Vec<u8>,
    /// The beginning of a line, and when it is passed on though its end has not come.
    line: Vec<u8>,
    held_until: Option<Instant>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Something,
    NothingNow,
    End,
}

impl Input {
    /// `pipe` is non-blocking.
    pub(crate) fn new(pipe: OwnedFd, count: Count) -> Input {
        Input {
            pipe,
            count,
            tail: Vec::new(),
            line: Vec::new(),
            held_until: None,
        }
    }

    pub(crate) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Passes on what is there, at most a few pages of it.
    pub(crate) fn pass(&mut self, output: &mut Output) -> Found {
        let mut bytes = [0; 4 * 1024];
        loop {
            let pipe = &self.pipe;
            let read = self
                .count
                .reading(|| rustix::io::read(pipe, &mut bytes[..]));
            return match read {
                Ok(0) => Found::End,
                Ok(n) => {
                    self.keep(&bytes[..n]);
                    self.pass_lines(&bytes[..n], output);
                    Found::Something
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Found::NothingNow,
                Err(_) => Found::End,
            };
        }
    }

    /// Passes on all that is there. For a worker that has ended: a pipe holds only so much, but its
    /// children may still be writing, so there is a bound.
    pub(crate) fn drain(&mut self, output: &mut Output) {
        for _ in 0..1024 {
            if self.pass(output) != Found::Something {
                break;
            }
        }
        self.pass_held(output);
    }

    /// Passes on the lines that are whole.
    fn pass_lines(&mut self, bytes: &[u8], output: &mut Output) {
        let whole = bytes
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let (whole, rest) = bytes.split_at(whole);
        if !whole.is_empty() {
            output.write(&self.line, whole);
            self.line.clear();
            self.held_until = None;
        }
        if !rest.is_empty() {
            self.line.extend_from_slice(rest);
            self.held_until
                .get_or_insert_with(|| Instant::now() + HELD_FOR);
        }
        if self.line.len() >= MOST_HELD {
            self.pass_held(output);
        }
    }

    /// When the beginning of a line is to be passed on by [`pass_held`](Self::pass_held).
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Passes on the beginning of a line.
    pub(crate) fn pass_held(&mut self, output: &mut Output) {
        self.held_until = None;
        if !self.line.is_empty() {
            output.write(&self.line, &[]);
            self.line.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let over = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..over);
        self.tail.extend_from_slice(bytes);
    }

    /// The last bytes that were read, and how many were in all.
    pub(crate) fn tail(&self) -> (&[u8], u64) {
        (&self.tail, self.count.get())
    }
}

/// The two ends of a worker's stderr: to read without blocking, and to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = opened::pipe(rustix::pipe::PipeFlags::empty())?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK).call("fcntl(F_SETFL)")?;
    Ok((read, write))
}

/// The whole lines at the end of what was kept, as text.
pub(crate) fn last_lines(tail: &[u8]) -> String {
    let cut = if tail.len() < TAIL {
        0
    } else {
        tail.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1)
    };
    // A tail that is one long line is kept as it is.
    let lines = if cut == tail.len() {
        tail
    } else {
        &tail[cut..]
    };
    String::from_utf8_lossy(lines).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_whole_lines() {
        assert_eq!(last_lines(b"one\ntwo"), "one\ntwo");
        let long: Vec<u8> = (0..TAIL)
            .map(|i| if i == 10 { b'\n' } else { b'x' })
            .collect();
        assert_eq!(last_lines(&long), "x".repeat(TAIL - 11));
        assert_eq!(last_lines(&[b'x'; TAIL]), "x".repeat(TAIL));
        assert_eq!(last_lines(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn a_worker_that_writes_much_keeps_its_last_bytes() {
        let (read, write) = pipe().expect("pipe");
        let mut input = Input::new(read, Count::for_test());
        let mut output = Output {
            to: To::Nowhere,
            backlog: Vec::new(),
            relay: None,
        };
        for n in 0..2000 {
            rustix::io::write(&write, format!("line {n:08}\n").as_bytes()).expect("written");
            if n % 500 == 499 {
                input.drain(&mut output);
            }
        }
        let (tail, read) = input.tail();
        assert_eq!((tail.len(), read), (TAIL, 2000 * 14));
        assert!(tail.ends_with(b"line 00001999\n"));
        drop(write);
        assert_eq!(input.pass(&mut output), Found::End);
    }

    #[test]
    fn lines_are_passed_on_whole() {
        let (read, write) = pipe().expect("pipe");
        let mut input = Input::new(read, Count::for_test());
        let (passed, theirs) = pipe().expect("pipe");
        let mut output = Output {
            to: To::Own(theirs),
            backlog: Vec::new(),
            relay: None,
        };
        let mut passes = |text: &[u8]| {
            rustix::io::write(&write, text).expect("written");
            assert_eq!(input.pass(&mut output), Found::Something);
            let mut bytes = [0; 16 * 1024];
            let n = rustix::io::read(&passed, &mut bytes[..]).unwrap_or(0);
            (bytes[..n].to_vec(), input.held_until())
        };
        assert_eq!(
            passes(b"a whole line\n"),
            (b"a whole line\n".to_vec(), None)
        );
        let (none, until) = passes(b"be");
        assert!(none.is_empty() && until.is_some());
        // It waits from its first byte on.
        assert_eq!(passes(b"gin"), (Vec::new(), until));
        let (line, later) = passes(b"ning\nand an");
        assert_eq!(line, b"beginning\n");
        assert!(later > until);
        assert_eq!(passes(b"other\n"), (b"and another\n".to_vec(), None));
        // Not more than so much of a line is held back.
        let (none, _) = passes(&[b'x'; 4096]);
        assert!(none.is_empty());
        assert_eq!(passes(&[b'x'; 4096]), (vec![b'x'; MOST_HELD], None));
        // What is left of one that has ended is passed on as it is.
        assert!(passes(b"the last words").0.is_empty());
        input.drain(&mut output);
        let mut bytes = [0; 64];
        let n = rustix::io::read(&passed, &mut bytes[..]).expect("passed on");
        assert_eq!(
            (&bytes[..n], input.held_until()),
            (&b"the last words"[..], None)
        );
    }

    #[test]
    fn an_output_that_was_full_is_written_to_again() {
        let full = rustix::fs::open("/dev/full", OFlags::WRONLY, rustix::fs::Mode::empty());
        let mut output = Output {
            to: To::Own(full.expect("opened")),
            backlog: Vec::new(),
            relay: None,
        };
        output.write(b"lost\n", &[]);
        let To::Own(full) = &mut output.to else {
            panic!("given up: {output:?}");
        };
        let (read, write) = pipe().expect("pipe");
        rustix::io::dup3(&write, full, rustix::io::DupFlags::CLOEXEC).expect("dup3");
        output.write(b"kept\n", &[]);
        let mut bytes = [0; 64];
        let n = rustix::io::read(&read, &mut bytes[..]).expect("read");
        assert_eq!(&bytes[..n], b"kept\n");
    }

    #[test]
    fn an_output_that_nobody_reads_holds_nobody_up() {
        let (read, write) = rustix::pipe::pipe().expect("pipe");
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK).expect("non-blocking");
        let mut output = Output {
            to: To::Own(write),
            backlog: Vec::new(),
            relay: None,
        };
        for _ in 0..100 {
            output.write(&[b'.'; 4000], &[b'.'; 96]);
        }
        assert!(output.blocked_on().is_some());
        let mut got = 0;
        let mut bytes = [0; 8192];
        while got < 100 * 4096 {
            got += rustix::io::read(&read, &mut bytes[..]).expect("read");
            output.flush();
        }
        assert!(output.blocked_on().is_none());
        drop(read);
        output.write(b"to nobody", &[]);
        assert!(matches!(output.to, To::Nowhere));
    }
}
