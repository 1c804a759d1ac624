//! What one worker writes to its stdout or stderr, read by lines.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::output::StreamWriter;
use crate::worker::process::ipc::exit_table::TAIL;
use crate::worker::process::ipc::stderr_count::Count;
use crate::worker::process::ipc::streams::mark_begins;

/// How long the beginning of a line is held back.
const HELD_FOR: Duration = Duration::from_millis(100);

/// How many bytes of a line are held back.
pub(super) const MOST_HELD: usize = 8 * 1024;

/// Bytes that are read at first, and when there is more.
const SHORT_READ: usize = 256;
const LONG_READ: usize = 4 * 1024;

/// The reading end of one worker's stream, and its last bytes.
#[derive(Debug)]
pub(crate) struct StreamReader {
    pipe: OwnedFd,
    /// Of stderr.
    count: Option<Count>,
    tail: Vec<u8>,
    /// The beginning of a line, and when it is passed on though its end has not come.
    line: Vec<u8>,
    held_until: Option<Instant>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Something,
    NothingNow,
    End,
}

impl StreamReader {
    /// `pipe` is non-blocking.
    pub(crate) fn new(pipe: OwnedFd, count: Option<Count>) -> StreamReader {
        StreamReader {
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
    pub(crate) fn pass(&mut self, output: &mut StreamWriter) -> ReadOutcome {
        // Most have nothing to say. After each fork, pages that are touched are copied, and room
        // for much would have the calls below it touch one more of the stack.
        match self.pass_some::<SHORT_READ>(output) {
            Ok(SHORT_READ) => self.pass_rest(output),
            Ok(_) => ReadOutcome::Something,
            Err(found) => found,
        }
    }

    #[inline(never)]
    fn pass_rest(&mut self, output: &mut StreamWriter) -> ReadOutcome {
        match self.pass_some::<LONG_READ>(output) {
            Ok(_) | Err(ReadOutcome::NothingNow) => ReadOutcome::Something,
            Err(found) => found,
        }
    }

    /// Reads once, and says how many bytes; or why none.
    #[inline(always)]
    fn pass_some<const MOST: usize>(
        &mut self,
        output: &mut StreamWriter,
    ) -> Result<usize, ReadOutcome> {
        // Not even zeros are written to it.
        let mut room = [MaybeUninit::<u8>::uninit(); MOST];
        loop {
            let (pipe, into) = (&self.pipe, &mut room[..]);
            let read = move || rustix::io::read(pipe, into).map(|(bytes, _)| &*bytes);
            let read = match &self.count {
                Some(count) => count.reading(read),
                None => read(),
            };
            return match read {
                Ok([]) => Err(ReadOutcome::End),
                Ok(bytes) => {
                    self.append_to_tail(bytes);
                    self.pass_lines(bytes, output);
                    Ok(bytes.len())
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Err(ReadOutcome::NothingNow),
                Err(_) => Err(ReadOutcome::End),
            };
        }
    }

    /// Passes on all that is there. For a worker that has ended: a pipe holds only so much, but its
    /// children may still be writing, so there is a bound.
    pub(crate) fn drain(&mut self, output: &mut StreamWriter) {
        for _ in 0..1024 {
            if self.pass(output) != ReadOutcome::Something {
                break;
            }
        }
        self.pass_line(output);
    }

    /// Passes on the lines that are whole.
    fn pass_lines(&mut self, bytes: &[u8], output: &mut StreamWriter) {
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
            if !output.keeps_lines_whole() {
                self.held_until
                    .get_or_insert_with(|| Instant::now() + HELD_FOR);
            }
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
    pub(crate) fn pass_held(&mut self, output: &mut StreamWriter) {
        let mark = output.keeps_lines_whole().then(|| mark_begins(&self.line));
        // What may be the beginning of a mark waits for its end.
        let rest = mark.flatten().map(|at| self.line.split_off(at));
        self.pass_line(output);
        self.line.extend(rest.into_iter().flatten());
    }

    fn pass_line(&mut self, output: &mut StreamWriter) {
        self.held_until = None;
        if !self.line.is_empty() {
            output.write(&self.line, &[]);
            self.line.clear();
        }
    }

    fn append_to_tail(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let over = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..over);
        self.tail.extend_from_slice(bytes);
    }

    /// The last bytes that were read, and how many were in all.
    pub(crate) fn tail(&self) -> (&[u8], u64) {
        (&self.tail, self.count.as_ref().map_or(0, Count::get))
    }
}
