//! A channel over a pipe. pipe(7).
//!
//! A pipe is a stream of bytes with a bound in pages: a write of up to `PIPE_BUF` (4096) bytes is
//! one step, a longer one may be cut where the room ends. Frames may be longer than that, so the
//! header counts the bytes inside, and only what is sure to fit is written: then it is one step
//! too. Each write takes up whole pages, unless it fits behind the last one; two successive writes
//! together are longer than a page or share one, so `n` bytes never take more than `2n / 4096 + 2`
//! pages.
//!
//! **A torn frame.** It may be cut all the same: the pipe was made smaller (fcntl(2)), the
//! receiver's count is wrong, the kernel is out of memory, the sender was killed. The rest of the
//! frame is not waited for, for that would be with the lock held and as long as the receiver likes;
//! and a sender that is dead has none. So:
//!
//! 1. Before a frame that may be cut is written, its sender says so in the header (`putting`), and
//!    after it too. A sender whose write was cut, and one that gets the lock and finds that the
//!    last holder died meanwhile, declares the pipe *torn*, from this frame's number on.
//! 2. While it is torn, nothing goes through the pipe. What has no descriptors goes through the
//!    overflow ring, the torn frame of a living sender first; what has some waits. To wake the
//!    receiver, a [byte](WAKE) is written that fits no frame.
//! 3. A receiver that finds part of a frame and nothing behind it, what is no frame, or a frame
//!    that may be torn, looks whether the pipe is. Then it throws away what it has, takes the
//!    senders' lock, for which it does not wait long, empties the pipe, and declares it whole
//!    again.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::attachment;
use super::header::ChannelHeader;
use super::stream_backoff::StreamBackoff;
use super::{
    Buffered, ChannelContext, FrameContent, FrameHeader, FrameSink, FrameSource, NotGot, NotPut,
    OutgoingFrame,
};
use crate::sys::error::Call;
use crate::sys::{fds, opened, signal, spin};

/// What we ask for; the default is 64 KiB. Beyond /proc/sys/fs/pipe-max-size, or the user's share,
/// we do with less.
const PIPE_SIZE: usize = 256 * 1024;
const PAGE: usize = 4096;
/// What is written in one step or not at all.
const PIPE_BUF: usize = 4096;
/// Wakes the receiver of a pipe that is torn. Behind part of a header it makes it no header,
/// whatever part that is, for the last byte of a length or a tag is never this one. Behind part of
/// a body it may make that seem whole; but a frame that was cut is longer than `PIPE_BUF`, and
/// those are looked at.
const WAKE: u8 = 0xff;
/// How long a receiver waits for the senders' lock, to mend the pipe. If it does not get it, it
/// tries again when it looks again.
const LOCK_LIMIT: Duration = Duration::from_millis(1);
/// How often a receiver reads from a torn pipe, to empty it: more than any pipe holds.
const MAX_READS: usize = 64;
/// The longest message that is copied together with its header.
const SHORT: usize = 1024;
/// The longest message that goes through the pipe itself.
const INLINE_MAX: usize = 32 * 1024;
/// How long the receiver of a stream looks away between two reads, in pauses: as long as a sender
/// needs for some ten short messages. With each read it keeps the sender waiting for the pipe's
/// lock.
const LOOKS_AWAY: u32 = 100;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A new pipe's two ends.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = opened::pipe(rustix::pipe::PipeFlags::empty())?;
    // Only this end: the two have flags of their own.
    rustix::io::ioctl_fionbio(&write, true).call("ioctl(FIONBIO)")?;
    // If we do not get it, fewer bytes are sure to fit.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_SIZE);
    Ok((read, write))
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct PipeSink {
    pipe: OwnedFd,
    /// Bytes that are sure to fit.
    budget: AtomicUsize,
    /// The receiver's count of bytes, as last seen.
    seen: AtomicU64,
    /// A write to a pipe without a reader would be the end of the program: it has not said, as
    /// Rust's start does, that it ignores the signal.
    deadly: bool,
}

fn budget(pipe: &OwnedFd) -> io::Result<usize> {
    let pages = rustix::pipe::fcntl_getpipe_size(pipe).call("fcntl(F_GETPIPE_SZ)")? / PAGE;
    Ok((pages.saturating_sub(2) * PAGE / 2).max(PAGE))
}

impl PipeSink {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<PipeSink> {
        Ok(PipeSink {
            budget: AtomicUsize::new(budget(&pipe)?),
            pipe,
            seen: AtomicU64::new(0),
            deadly: signal::is_default(libc::SIGPIPE),
        })
    }

    fn with_sigpipe_blocked<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.deadly {
            signal::without_sigpipe(write)
        } else {
            write()
        }
    }

    fn budget(&self) -> usize {
        self.budget.load(Ordering::Relaxed)
    }

    fn fits(&self, shared: &ChannelHeader, header: FrameHeader) -> Option<bool> {
        let size = FrameHeader::SIZE as u64 + u64::from(header.len);
        shared.fits(&self.seen, size, self.budget() as u64)
    }

    /// The receiver of a torn pipe has something to look at.
    fn wake(&self) {
        // If the pipe is full, it has. If no process reads it any more, the link tells the sender
        // that waits.
        let _ = self.with_sigpipe_blocked(|| rustix::io::write(&self.pipe, &[WAKE]));
    }
}

impl FrameSink for PipeSink {
    fn inline_max(&self, has_descriptors: bool) -> usize {
        match has_descriptors {
            // It could never be put.
            true => (self.budget() - FrameHeader::SIZE).min(INLINE_MAX),
            false => INLINE_MAX,
        }
    }

    fn may_fit(&self, shared: &ChannelHeader, header: FrameHeader) -> bool {
        !shared.is_torn() && self.fits(shared, header).unwrap_or(true)
    }

    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut> {
        let ChannelContext { shared, link } = channel;
        let OutgoingFrame {
            header,
            body,
            descriptors,
        } = frame;
        if shared.died_putting() {
            shared.tear();
        }
        if shared.is_torn() {
            if header == FrameHeader::WAKE_FRAME {
                self.wake();
                return Ok(());
            }
            // What is in the ring wakes the receiver, if it sleeps; what waits has to see to it
            // itself.
            if !descriptors.is_empty() {
                self.wake();
            }
            return Err(NotPut::Full);
        }
        let fits = match self.fits(shared, header) {
            Some(fits) => fits,
            None => {
                // What a recount had missed.
                shared
                    .recount_bytes(|| inside(&self.pipe))
                    .map_err(NotPut::Failed)?;
                self.may_fit(shared, header)
            }
        };
        // A wake frame is put whatever is counted, if the kernel takes it: the receiver may sleep.
        if header != FrameHeader::WAKE_FRAME && !fits {
            return Err(NotPut::Full);
        }
        attachment::send_ahead(link, header, descriptors)?;
        let head = header.to_bytes();
        let len = head.len() + body.len();
        shared.count_bytes_sent(len);
        if body.len() <= SHORT {
            // In one piece, for the kernel takes that quicker.
            return frame.in_one_piece(|bytes| self.put_parts(shared, bytes, &[]));
        }
        let put = self.put_parts(shared, &head, body);
        if matches!(put, Err(NotPut::Full)) && !descriptors.is_empty() {
            self.wake();
        }
        put
    }

    fn recover(&self, shared: &ChannelHeader) {
        // It may have counted bytes that it did not write. Else they are counted when it is mended.
        if shared.recount_bytes(|| inside(&self.pipe)).is_err() {
            shared.tear();
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pipe.as_fd())
    }
}

impl PipeSink {
    fn put_parts(&self, shared: &ChannelHeader, head: &[u8], body: &[u8]) -> Result<(), NotPut> {
        let len = head.len() + body.len();
        let may_be_cut = len > PIPE_BUF;
        if may_be_cut {
            shared.set_putting(true);
        }
        let put = loop {
            let written = self.with_sigpipe_blocked(|| match body {
                [] => rustix::io::write(&self.pipe, head),
                _ => rustix::io::writev(&self.pipe, &[IoSlice::new(head), IoSlice::new(body)]),
            });
            match written {
                Ok(n) if n == len => break Ok(()),
                Ok(_) => {
                    shared.tear();
                    if let Ok(now) = budget(&self.pipe) {
                        self.budget.store(now, Ordering::Relaxed);
                    }
                    break Err(NotPut::Full);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    // Nothing was written, though it was counted. If it cannot be counted anew,
                    // less fits until it is mended.
                    if shared.recount_bytes(|| inside(&self.pipe)).is_err() {
                        shared.tear();
                    }
                    let e = fds::unless_again("write(2)", e);
                    break Err(attachment::not_sent(e, NotPut::Blocked));
                }
            }
        };
        if may_be_cut {
            shared.set_putting(false);
        }
        put
    }
}

/// A description of this pipe's writing end that shares no flags with the given one: a process that
/// has that one too could make our writes wait (`O_NONBLOCK`, fcntl(2)). So each process has one to
/// itself, and gives away others. `None`: it cannot be had, for there is no /proc here, the pipe is
/// another user's, or no process reads any more; or this is no pipe.
pub(crate) fn reopen(pipe: BorrowedFd<'_>) -> Option<OwnedFd> {
    rustix::pipe::fcntl_getpipe_size(pipe).ok()?;
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    opened::file(&path, OFlags::WRONLY | OFlags::NONBLOCK).ok()
}

fn inside(pipe: &OwnedFd) -> io::Result<u64> {
    rustix::io::ioctl_fionread(pipe).call("ioctl(FIONREAD)")
}

/// Whether a message of this number may come now. After part of a frame, what is taken for a header
/// has any number.
fn header_is_plausible(header: &FrameHeader, shared: &ChannelHeader) -> bool {
    // A number that was given out twice is behind by as many as have died; and the receiver may
    // count only what it has already got.
    const SLACK: u64 = 1 << 16;
    let oldest = shared.received().wrapping_sub(SLACK);
    *header == FrameHeader::WAKE_FRAME
        || header.number.wrapping_sub(oldest) <= shared.capacity().saturating_add(2 * SLACK)
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct PipeSource {
    pipe: Arc<OwnedFd>,
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame begins.
    start: usize,
    /// The pipe is torn, and nothing that comes is a frame.
    discards: bool,
    pace: StreamBackoff,
}

/// What comes next.
enum Next {
    Frame(FrameHeader),
    /// Not all of it was read.
    Part,
    /// What is no frame, in a pipe that is torn.
    Torn,
}

impl PipeSource {
    pub(crate) fn new(pipe: Arc<OwnedFd>, bytes: Vec<u8>) -> PipeSource {
        PipeSource {
            pipe,
            bytes,
            start: 0,
            discards: false,
            pace: StreamBackoff::new(LOOKS_AWAY),
        }
    }

    fn has_part(&self) -> bool {
        self.start < self.bytes.len()
    }

    fn next(&mut self, shared: &ChannelHeader, body: &mut Vec<u8>) -> Result<Next, NotGot> {
        let Some((head, rest)) = self.bytes[self.start..].split_first_chunk() else {
            return Ok(Next::Part);
        };
        let header = FrameHeader::from_bytes(head)
            .filter(|h| h.len as usize <= 2 * CHUNK && header_is_plausible(h, shared));
        let Some(header) = header else {
            return match shared.is_torn() {
                true => Ok(Next::Torn),
                false => Err(NotGot::Corrupt(
                    "the content of the pipe is not a message".to_owned(),
                )),
            };
        };
        let Some(found) = rest.get(..header.len as usize) else {
            return Ok(Next::Part);
        };
        let size = FrameHeader::SIZE + found.len();
        if size > PIPE_BUF && shared.is_torn_at(header.number) {
            return Ok(Next::Torn);
        }
        body.clear();
        body.extend_from_slice(found);
        self.start += size;
        Ok(Next::Frame(header))
    }

    fn read(&mut self, shared: &ChannelHeader, may_wait: bool) -> Result<(), NotGot> {
        if !may_wait && !fds::wait_readable(&self.pipe, Duration::ZERO)? {
            return Err(NotGot::Empty);
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(CHUNK);
        loop {
            match rustix::io::read(&self.pipe, rustix::buffer::spare_capacity(&mut self.bytes)) {
                // The end, though a frame may have been cut off by its sender's death.
                Ok(0) => return Err(NotGot::Gone),
                Ok(n) => {
                    shared.count_bytes_received(n);
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(fds::unless_again("read(2)", e).into()),
            }
        }
    }

    fn discard(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.discards = true;
    }

    /// The pipe is torn: empties it, and has it be whole again, if the senders' lock can be had.
    fn mend(&mut self, shared: &ChannelHeader) -> Result<(), NotGot> {
        self.discard();
        if shared
            .lock()
            .acquire(Some(Instant::now() + LOCK_LIMIT))
            .is_none()
        {
            return Ok(());
        }
        let emptied = (0..MAX_READS).find_map(|_| {
            let read = self.read(shared, false);
            self.discard();
            read.err()
        });
        if matches!(emptied, Some(NotGot::Empty | NotGot::Gone)) {
            shared.mend();
            self.discards = false;
        }
        shared.lock().release();
        match emptied {
            None | Some(NotGot::Empty | NotGot::Gone) => Ok(()),
            Some(failed) => Err(failed),
        }
    }
}

impl FrameSource for PipeSource {
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let ChannelContext { shared, link } = channel;
        if self.discards {
            self.read(shared, may_wait)?;
            self.mend(shared)?;
            return Err(NotGot::Empty);
        }
        loop {
            match self.next(shared, &mut content.body)? {
                Next::Frame(header) => {
                    attachment::take(link, header, &mut content.descriptors)?;
                    self.pace.got_one();
                    return Ok(header);
                }
                Next::Part => {}
                Next::Torn => {
                    self.mend(shared)?;
                    // While it was, messages have gone another way.
                    return Err(NotGot::Empty);
                }
            }
            let is_torn = self.has_part() && shared.is_torn();
            if may_wait && spin::pays() {
                self.pace.back_off();
            }
            match self.read(shared, may_wait && !is_torn) {
                Err(NotGot::Empty) if is_torn => {
                    self.mend(shared)?;
                    return Err(NotGot::Empty);
                }
                read => read?,
            }
        }
    }

    fn has_buffered(&self, _shared: &ChannelHeader) -> bool {
        let Some((head, rest)) = self.bytes[self.start..].split_first_chunk() else {
            return false;
        };
        // What is no header is worth finding out.
        FrameHeader::from_bytes(head).is_none_or(|h| rest.len() >= h.len as usize)
    }

    fn buffered(&self) -> Buffered<'_> {
        Buffered {
            bytes: &self.bytes[self.start..],
            held: None,
        }
    }
}
