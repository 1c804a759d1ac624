//! What workers write to stderr: passed on to the host's by whole lines, and its last lines kept.
//! Of workers in a sandbox, what they write to stdout too: the program's own would be a way out.
//!
//! The fork server reads a pipe from each worker. The beginning of a line is held back until its
//! end comes, so that what two workers say at the same time can be read; but not for longer than
//! [`HELD_FOR`](input), and no more than [`MOST_HELD`](input). It must never block on the host's
//! stderr, or one reader that sleeps would hold up every worker's death; and it may not make the
//! host's stderr non-blocking, for the host has it too. So it opens it again, for itself.
//!
//! A builder may have given a worker streams that go elsewhere: a file, nowhere, or lines that the
//! host reads ([`lines`]). They come here all the same, for the last of stderr is kept whatever
//! becomes of it.
//!
//! Problem: the program's stdout, in a worker that runs an attacker's code, can be read where it is
//! a terminal, cut short where it is a file, and made non-blocking for the program itself.

mod input;
mod lines;
mod output;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::OFlags;

use crate::sys::error::Call;
use crate::sys::opened;
use crate::worker::process::ipc::exit_table::TAIL;
pub(crate) use input::{ReadOutcome, StreamReader};
pub(crate) use output::{NOBODY_READS, StreamWriter};

/// One of the standard streams that are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// This process's.
    fn of_this_process(self) -> BorrowedFd<'static> {
        match self {
            Stream::Stdout => rustix::stdio::stdout(),
            Stream::Stderr => rustix::stdio::stderr(),
        }
    }
}

/// Something for each stream that the fork server passes on.
#[derive(Debug)]
pub(crate) struct PerStream<T> {
    /// `None`: workers have the program's own.
    pub(crate) stdout: Option<T>,
    pub(crate) stderr: T,
}

impl<T> PerStream<T> {
    pub(crate) fn of(&self, stream: Stream) -> Option<&T> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => Some(&self.stderr),
        }
    }

    pub(crate) fn of_mut(&mut self, stream: Stream) -> Option<&mut T> {
        match stream {
            Stream::Stdout => self.stdout.as_mut(),
            Stream::Stderr => Some(&mut self.stderr),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.stdout.iter().chain([&self.stderr])
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.stdout.iter_mut().chain([&mut self.stderr])
    }
}

/// The two ends of a worker's stdout or stderr: to read without blocking, and to write.
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
    use super::input::MOST_HELD;
    use super::output::StreamTarget;
    use super::*;
    use crate::worker::process::ipc::stderr_count::Count;

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
        let mut input = StreamReader::new(read, Some(Count::for_test()));
        let mut output = StreamWriter::to(StreamTarget::Nowhere);
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
        assert_eq!(input.pass(&mut output), ReadOutcome::End);
    }

    #[test]
    fn lines_are_passed_on_whole() {
        let (read, write) = pipe().expect("pipe");
        let mut input = StreamReader::new(read, Some(Count::for_test()));
        let (passed, theirs) = pipe().expect("pipe");
        let mut output = StreamWriter::to(StreamTarget::Own(theirs));
        let mut passes = |text: &[u8]| {
            rustix::io::write(&write, text).expect("written");
            assert_eq!(input.pass(&mut output), ReadOutcome::Something);
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
        let mut output = StreamWriter::to(StreamTarget::Own(full.expect("opened")));
        output.write(b"lost\n", &[]);
        let StreamTarget::Own(full) = &mut output.to else {
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
        let mut output = StreamWriter::to(StreamTarget::Own(write));
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
        assert!(matches!(output.to, StreamTarget::Nowhere));
    }
}
