//! The host's stdout or stderr, as the fork server writes to it: without being held up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::Stream;
use super::lines::LineSocket;
use crate::sys::error::Call;
use crate::sys::process::{self, Fork};
use crate::sys::{fds, opened};
use crate::worker::process::ipc::streams::Route;

/// While anything waits for a stream that no process reads, living workers are not read. Of what
/// those have left that have ended, no more than this is kept, in bytes.
const MOST_STDOUT: usize = 16 << 20;
const MOST_STDERR: usize = 1 << 20;

/// How long what is left is written when the host has ended: in all, and while the reader takes
/// none.
const LAST_WORDS: Duration = Duration::from_secs(1);
pub(crate) const NOBODY_READS: Duration = Duration::from_millis(50);
/// How often the pipe to a relay is looked at then: who empties a pipe a little tells nobody.
const RELAY_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Starts a process that writes to the host's stream, and may be held up there, what we write to it
/// without being held up.
fn start_relay(to: Stream) -> io::Result<(u32, OwnedFd)> {
    let (read, write) = opened::pipe(rustix::pipe::PipeFlags::empty())?;
    let server = std::process::id();
    match process::fork_for_calls()? {
        Fork::Parent(pid) => {
            rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK).call("fcntl(F_SETFL)")?;
            Ok((pid, write))
        }
        // System calls only.
        Fork::Child => {
            let to = to.of_this_process();
            process::die_with_parent();
            if process::parent().ok() != Some(server) {
                process::exit_now(0);
            }
            fds::close_all_but(&[read.as_raw_fd()]);
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = rustix::io::read(&read, &mut bytes[..]) {
                let mut done = 0;
                while done < n {
                    match rustix::io::write(to, &bytes[done..n]) {
                        Ok(wrote) => done += wrote,
                        Err(Errno::INTR) => {}
                        // No process reads it any more: the pipe to this process breaks, which is
                        // seen there.
                        Err(Errno::PIPE) => process::exit_now(0),
                        // For example a terminal that refuses writes now: this text is dropped,
                        // later text is tried again.
                        Err(_) => break,
                    }
                }
            }
            process::exit_now(0)
        }
    }
}

/// The host's stream, and what could not be written to it yet. While there is such, workers are not
/// read, and so wait as they would on a stream of their own.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    pub(super) to: StreamTarget,
    backlog: Vec<u8>,
    most: usize,
    /// The process that writes to the host's stream in this one's place, where a write could block:
    /// see [`start_relay`].
    pub(crate) relay: Option<u32>,
    /// The event loop waits until it can be written to.
    pub(crate) blocked: bool,
    /// A file of the worker's own.
    own_file: Option<Box<OwnFile>>,
}

/// What is to be said of a file that cannot be written to.
#[derive(Debug)]
struct OwnFile {
    stream: Stream,
    /// Bytes, since it failed first.
    lost: Option<u64>,
    news: Option<String>,
}

#[derive(Debug)]
pub(super) enum StreamTarget {
    /// Opened again, non-blocking: a pipe or a terminal. Or a pipe to a relay, where that is not
    /// allowed.
    Own(OwnedFd),
    /// The inherited one, and never blocking: a file.
    File(BorrowedFd<'static>),
    /// The inherited one, a socket, where each call says that it is not to block.
    Socket(BorrowedFd<'static>),
    Nowhere,
    /// To the reader of its lines.
    Lines(Box<LineSocket>),
}

impl StreamWriter {
    /// That of one worker. `fd`: the file, or the socket, if there is one.
    pub(crate) fn own(route: Route, fd: Option<OwnedFd>, pid: u32, stream: Stream) -> StreamWriter {
        let own_file = OwnFile {
            stream,
            lost: None,
            news: None,
        };
        let (to, own_file) = match (route, fd) {
            (Route::File, Some(fd)) => (StreamTarget::Own(fd), Some(Box::new(own_file))),
            (Route::Lines, Some(fd)) => {
                let lines = LineSocket::new(fd, pid, stream);
                (StreamTarget::Lines(Box::new(lines)), None)
            }
            (Route::Nowhere, _) | (_, None) => (StreamTarget::Nowhere, None),
        };
        StreamWriter {
            to,
            backlog: Vec::new(),
            most: match stream {
                Stream::Stdout => MOST_STDOUT,
                Stream::Stderr => MOST_STDERR,
            },
            relay: None,
            blocked: false,
            own_file,
        }
    }

    #[cfg(test)]
    pub(super) fn to(to: StreamTarget) -> StreamWriter {
        StreamWriter {
            to,
            backlog: Vec::new(),
            most: MOST_STDERR,
            relay: None,
            blocked: false,
            own_file: None,
        }
    }

    /// In the fork server, before it has workers.
    pub(crate) fn open(stream: Stream) -> io::Result<StreamWriter> {
        let fd = stream.of_this_process();
        let mut relay = None;
        let to = match rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode)) {
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                match opened::file(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags) {
                    Ok(own) => StreamTarget::Own(own),
                    // Another user's pipe or terminal, given to us: it can be written, and not
                    // opened.
                    Err(_) => {
                        let (pid, pipe) = start_relay(stream)?;
                        relay = Some(pid);
                        StreamTarget::Own(pipe)
                    }
                }
            }
            Ok(FileType::Socket) => StreamTarget::Socket(fd),
            Ok(_) => StreamTarget::File(fd),
            Err(_) => StreamTarget::Nowhere,
        };
        Ok(StreamWriter {
            to,
            backlog: Vec::new(),
            most: match stream {
                Stream::Stdout => MOST_STDOUT,
                Stream::Stderr => MOST_STDERR,
            },
            relay,
            blocked: false,
            own_file: None,
        })
    }

    /// Takes `bytes`, in two parts, and writes what can be written now.
    pub(crate) fn write(&mut self, first: &[u8], second: &[u8]) {
        if let StreamTarget::Lines(lines) = &mut self.to {
            lines.take(first, second);
            return lines.flush();
        }
        if self.backlog.len() < self.most {
            self.backlog.extend_from_slice(first);
            self.backlog.extend_from_slice(second);
        }
        self.flush();
    }

    /// Writes what can be written now.
    pub(crate) fn flush(&mut self) {
        if let StreamTarget::Lines(lines) = &mut self.to {
            return lines.flush();
        }
        let mut done = 0;
        while done < self.backlog.len() {
            let bytes = &self.backlog[done..];
            let wrote = match &self.to {
                StreamTarget::Own(fd) => rustix::io::write(fd, bytes),
                StreamTarget::File(fd) => rustix::io::write(fd, bytes),
                StreamTarget::Socket(fd) => rustix::net::send(
                    fd,
                    bytes,
                    rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL,
                ),
                StreamTarget::Nowhere | StreamTarget::Lines(_) => Ok(bytes.len()),
            };
            match wrote {
                Ok(n) => {
                    done += n;
                    if let Some(file) = &mut self.own_file {
                        file.works();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => {
                    if let (Some(file), StreamTarget::Own(fd)) = (&mut self.own_file, &self.to) {
                        file.failed(e, fd, bytes.len());
                    }
                    // No process reads it any more, or it was closed. Else it may work again (a
                    // disk that was full): these words are lost, as they would be if the worker had
                    // written them itself.
                    let gone = [Errno::PIPE, Errno::CONNRESET, Errno::NOTCONN, Errno::BADF];
                    // A worker's own stays open: the event loop may wait for it, and forgets it
                    // only by a call of its own, for it is open elsewhere too.
                    if gone.contains(&e) && self.own_file.is_none() {
                        self.to = StreamTarget::Nowhere;
                    }
                    done = self.backlog.len();
                }
            }
        }
        self.backlog.drain(..done);
    }

    /// Writes all that can be written while a process reads it: the host has ended.
    pub(crate) fn finish(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        self.flush();
        while let Some(fd) = self.blocked_on() {
            let until = end.min(Instant::now() + NOBODY_READS);
            let mut fd = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            if !fds::poll_until(&mut fd, Some(until)).unwrap_or(false) || Instant::now() >= end {
                break;
            }
            self.flush();
        }
    }

    /// Waits until the relay has taken what was written to it, and passes it on, while a process
    /// reads that.
    pub(crate) fn wait_for_relay(&self) {
        let (Some(_), StreamTarget::Own(pipe)) = (self.relay, &self.to) else {
            return;
        };
        let mut now = Instant::now();
        let end = now + LAST_WORDS;
        let (mut least, mut taken_at) = (u64::MAX, now);
        while let Ok(left @ 1..) = rustix::io::ioctl_fionread(pipe) {
            if left < least {
                (least, taken_at) = (left, now);
            }
            // Told of only if it has ended.
            let mut gone = [PollFd::new(pipe, PollFlags::empty())];
            let until = Some(now + RELAY_LOOK_INTERVAL);
            if now >= end.min(taken_at + NOBODY_READS)
                || fds::poll_until(&mut gone, until).unwrap_or(true)
            {
                return;
            }
            now = Instant::now();
        }
    }

    /// No more is written. Gives the relay, which ends when it has passed everything on.
    pub(crate) fn close(&mut self) -> Option<u32> {
        self.to = StreamTarget::Nowhere;
        self.relay.take()
    }

    /// What to wait for until it can be written, if there is anything to write.
    pub(crate) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        if let StreamTarget::Lines(lines) = &self.to {
            return lines.blocked_on();
        }
        if self.backlog.is_empty() {
            return None;
        }
        match &self.to {
            StreamTarget::Own(fd) => Some(fd.as_fd()),
            StreamTarget::File(fd) | StreamTarget::Socket(fd) => Some(fd.as_fd()),
            StreamTarget::Nowhere | StreamTarget::Lines(_) => None,
        }
    }

    /// What the event loop may wait for.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.to {
            StreamTarget::Own(fd) => Some(fd.as_fd()),
            StreamTarget::File(fd) | StreamTarget::Socket(fd) => Some(*fd),
            StreamTarget::Lines(lines) => Some(lines.fd()),
            StreamTarget::Nowhere => None,
        }
    }

    /// Whether each line is a thing of its own, which is not begun before its end is there.
    pub(crate) fn keeps_lines_whole(&self) -> bool {
        matches!(self.to, StreamTarget::Lines(_))
    }

    fn lines(&mut self) -> Option<&mut LineSocket> {
        match &mut self.to {
            StreamTarget::Lines(lines) => Some(lines),
            _ => None,
        }
    }

    /// The worker whose own this is has ended.
    pub(crate) fn end(&mut self) {
        if let Some(lines) = self.lines() {
            lines.end();
        }
    }

    /// The worker of this stream is not read, from now on if it was before.
    pub(crate) fn waits(&mut self) {
        if let Some(lines) = self.lines() {
            lines.waits();
        }
    }

    /// Whether its worker need not wait: what it writes is dropped, and counted.
    pub(crate) fn drops(&self) -> bool {
        matches!(&self.to, StreamTarget::Lines(lines) if lines.drops())
    }

    /// When its worker has waited long enough.
    pub(crate) fn drops_at(&self) -> Option<Instant> {
        match &self.to {
            StreamTarget::Lines(lines) => lines.drops_at(),
            _ => None,
        }
    }

    /// The worker has waited long enough: drops what it writes from now on.
    pub(crate) fn drop_from_now_on(&mut self) {
        if let Some(lines) = self.lines() {
            lines.drop_from_now_on();
        }
    }

    /// What the program's stderr is to say of it.
    pub(crate) fn take_news(&mut self) -> Option<String> {
        self.own_file.as_mut()?.news.take()
    }
}

impl OwnFile {
    #[cold]
    fn failed(&mut self, why: Errno, file: &OwnedFd, bytes: usize) {
        if self.lost.is_none() {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let path = path.map_or_else(|_| "its file".to_owned(), |p| p.display().to_string());
            self.say(format!(
                "what workers write to {} cannot be written to {path}, and is lost: {}",
                self.stream.name(),
                io::Error::from(why)
            ));
        }
        *self.lost.get_or_insert(0) += bytes as u64;
    }

    fn works(&mut self) {
        if let Some(lost) = self.lost.take() {
            let stream = self.stream.name();
            self.say(format!(
                "what workers write to {stream} can be written to its file again; {lost} bytes were lost"
            ));
        }
    }

    fn say(&mut self, what: String) {
        let news = self.news.get_or_insert_default();
        news.push_str(&format!("brigade: {what}\n"));
    }
}
