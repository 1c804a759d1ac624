//! What a worker writes, sent by lines to their reader in the host.
//!
//! Each line is a datagram, so that those of many workers go through one socket. Its reader may be
//! slow, or never come. While the socket is full its workers are not read and wait, as they would
//! on a pipe; where nothing at all is taken for [`READER_TAKES_WITHIN`], their lines are dropped
//! and counted until there is room again, and the next one says how many.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::Stream;
use crate::worker::process::ipc::streams::{LineFrame, PlanWords, split_mark};

/// How long workers wait for a reader that takes nothing.
const READER_TAKES_WITHIN: Duration = Duration::from_secs(5);

/// Of what a worker has left that has ended, no more than this waits for the reader, in bytes.
const MAX_LEFT_BYTES: usize = 1 << 20;

/// Before the first task.
pub(crate) const NO_FUNCTION: PlanWords = [u64::MAX; 2];

/// One stream of one worker.
#[derive(Debug)]
pub(crate) struct LineSocket {
    /// The socket stays open until this is dropped, for the event loop may wait for it.
    socket: OwnedFd,
    /// No process reads any more.
    is_gone: bool,
    pid: u32,
    is_stderr: bool,
    function: PlanWords,
    /// What the socket had no room for.
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
    /// When lines are dropped, if the reader takes none before.
    drops_at: Option<Instant>,
    drops: bool,
}

impl LineSocket {
    pub(crate) fn new(socket: OwnedFd, pid: u32, stream: Stream) -> LineSocket {
        LineSocket {
            socket,
            is_gone: false,
            pid,
            is_stderr: stream == Stream::Stderr,
            function: NO_FUNCTION,
            waiting: VecDeque::new(),
            bytes: 0,
            lost: 0,
            drops_at: None,
            drops: false,
        }
    }

    /// Takes whole lines, and the beginning of the first of them; or one that is not whole.
    pub(super) fn take(&mut self, first: &[u8], second: &[u8]) {
        let text = [first, second].concat();
        for line in text.split_inclusive(|&b| b == b'\n') {
            match (split_mark(line), line.strip_suffix(b"\n")) {
                ((before, Some(function)), _) => {
                    if !before.is_empty() {
                        self.push(before, false);
                    }
                    self.function = function;
                }
                ((_, None), Some(line)) => self.push(line, true),
                ((rest, None), None) => self.push(rest, false),
            }
        }
    }

    fn push(&mut self, text: &[u8], is_whole: bool) {
        if self.drops || self.bytes >= MAX_LEFT_BYTES {
            self.lost += 1;
            return;
        }
        self.send(text, is_whole);
    }

    fn send(&mut self, text: &[u8], is_whole: bool) {
        let frame = LineFrame {
            pid: self.pid,
            is_stderr: self.is_stderr,
            is_whole,
            lost: std::mem::take(&mut self.lost),
            function: self.function,
            text,
        };
        let frame = frame.to_bytes();
        self.bytes += frame.len();
        self.waiting.push_back(frame);
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self) {
        if self.is_gone {
            self.waiting.clear();
            self.bytes = 0;
            return;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while let Some(frame) = self.waiting.front() {
            match rustix::net::send(&self.socket, frame, flags) {
                Err(Errno::INTR) => continue,
                // Those last two lack memory for a moment; the line is tried again.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return,
                Err(_) => {
                    self.is_gone = true;
                    return self.flush();
                }
                Ok(_) => {}
            }
            self.bytes -= frame.len();
            self.waiting.pop_front();
            self.drops_at = None;
        }
        self.drops = false;
    }

    /// The worker has ended: a line says now that others were lost, or none does.
    pub(super) fn end(&mut self) {
        if self.lost > 0 {
            self.send(b"", false);
        }
        self.flush();
    }

    /// What to wait for until there is room.
    pub(super) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then_some(self.fd())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The worker waits, from now on if it did not before.
    pub(super) fn waits(&mut self) {
        if !self.drops {
            self.drops_at
                .get_or_insert_with(|| Instant::now() + READER_TAKES_WITHIN);
        }
    }

    pub(super) fn drops(&self) -> bool {
        self.drops
    }

    pub(super) fn drops_at(&self) -> Option<Instant> {
        self.drops_at
    }

    /// The time is over: lines are dropped until there is room.
    pub(super) fn drop_from_now_on(&mut self) {
        self.drops = true;
        self.drops_at = None;
    }
}
