//! A channel over a pipe. pipe(7).
//!
//! A pipe is a stream of bytes with a bound in pages: a write of up to `PIPE_BUF` (4096) bytes is one step, a longer one may be cut where the room ends.
//! Frames are longer than that, so the gate counts the bytes inside, and only what is sure to fit is written: then it is one step too. Each write takes up
//! whole pages, unless it fits behind the last one; two successive writes together are longer than a page or share one, so `n` bytes never take more
//! than `2n / 4096 + 2` pages.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::event::{PollFd, PollFlags};

use super::gate::Gate;
use super::parcel;
use super::{Header, Inlet, Link, NotGot, NotPut, Outlet, Remainder};
use crate::sys::{fds, opened, signal};

/// What we ask for; the default is 64 KiB. Beyond /proc/sys/fs/pipe-max-size, or the user's share, we do with less.
const WANTED: usize = 256 * 1024;
const PAGE: usize = 4096;
/// The longest message that is copied together with its header.
const SHORT: usize = 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A new pipe's two ends.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = opened::pipe(rustix::pipe::PipeFlags::empty())?;
    // Only this end: the two have flags of their own.
    rustix::io::ioctl_fionbio(&write, true)?;
    let _ = rustix::pipe::fcntl_setpipe_size(&write, WANTED);
    Ok((read, write))
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct PipeOutlet {
    pipe: OwnedFd,
    /// Bytes that are sure to fit.
    budget: usize,
    /// The receiver's count of bytes, as last seen.
    seen: AtomicU64,
    /// A write to a pipe without a reader would be the end of the program: it has not said, as Rust's start does, that it ignores the signal.
    deadly: bool,
}

impl PipeOutlet {
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<PipeOutlet> {
        let pages = rustix::pipe::fcntl_getpipe_size(&pipe)? / PAGE;
        Ok(PipeOutlet {
            pipe,
            seen: AtomicU64::new(0),
            deadly: signal::is_default(libc::SIGPIPE),
            budget: (pages.saturating_sub(2) * PAGE / 2).max(PAGE),
        })
    }

    fn quietly<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.deadly {
            signal::without_sigpipe(write)
        } else {
            write()
        }
    }

    fn fits(&self, gate: &Gate, header: Header) -> Option<bool> {
        let size = Header::SIZE as u64 + u64::from(header.len);
        gate.fits(&self.seen, size, self.budget as u64)
    }

    /// Goes on with a frame of which only part went in: the pipe was made smaller, or its bytes were not counted right.
    fn finish(&self, mut rest: &[u8]) -> Result<(), NotPut> {
        while !rest.is_empty() {
            match self.quietly(|| rustix::io::write(&self.pipe, rest)) {
                Ok(n) => rest = &rest[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    fds::poll_until(&mut [PollFd::new(&self.pipe, PollFlags::OUT)], None)
                        .map_err(NotPut::Failed)?;
                }
                Err(e) => return Err(parcel::not_sent(e.into(), NotPut::Blocked)),
            }
        }
        Ok(())
    }
}

impl Outlet for PipeOutlet {
    fn inline_max(&self) -> usize {
        (self.budget - Header::SIZE).min(32 * 1024)
    }

    fn may_fit(&self, gate: &Gate, header: Header) -> bool {
        self.fits(gate, header).unwrap_or(true)
    }

    fn put(
        &self,
        gate: &Gate,
        link: &Link,
        header: Header,
        body: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<(), NotPut> {
        if gate.is_torn() {
            // A sender died in the middle of a frame: what follows it could not be told apart.
            return Err(NotPut::Gone);
        }
        let fits = match self.fits(gate, header) {
            Some(fits) => fits,
            None => {
                // What a recount had missed.
                gate.recount_bytes(|| inside(&self.pipe))
                    .map_err(NotPut::Failed)?;
                self.may_fit(gate, header)
            }
        };
        // A nudge is put whatever is counted, if the kernel takes it: somebody may be asleep.
        if header != Header::NUDGE && !fits {
            return Err(NotPut::Full);
        }
        parcel::send_ahead(link, header, descriptors)?;
        let head = header.to_bytes();
        let len = head.len() + body.len();
        gate.count_bytes_sent(len);
        if body.len() <= SHORT {
            // In one piece, for the kernel takes that quicker.
            let mut frame = [0; Header::SIZE + SHORT];
            frame[..Header::SIZE].copy_from_slice(&head);
            frame[Header::SIZE..len].copy_from_slice(body);
            return self.put_parts(gate, &frame[..len], &[]);
        }
        self.put_parts(gate, &head, body)
    }

    fn recovered(&self, gate: &Gate) -> bool {
        // It may have counted bytes that it did not write.
        gate.recount_bytes(|| inside(&self.pipe)).is_ok() && !gate.is_torn()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pipe.as_fd())
    }
}

impl PipeOutlet {
    fn put_parts(&self, gate: &Gate, head: &[u8], body: &[u8]) -> Result<(), NotPut> {
        let len = head.len() + body.len();
        loop {
            let written = self.quietly(|| match body {
                [] => rustix::io::write(&self.pipe, head),
                _ => rustix::io::writev(&self.pipe, &[IoSlice::new(head), IoSlice::new(body)]),
            });
            match written {
                Ok(n) if n == len => return Ok(()),
                Ok(n) => {
                    // Who dies now leaves part of a frame behind, and no way to tell where the next begins.
                    gate.set_torn(true);
                    self.finish(&[head, body].concat()[n..])?;
                    gate.set_torn(false);
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    let _ = gate.recount_bytes(|| inside(&self.pipe));
                    return Err(parcel::not_sent(e.into(), NotPut::Blocked));
                }
            }
        }
    }
}

fn inside(pipe: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(pipe)?)
}

/// Whether a message of this number may come now. After part of a frame, what is taken for a header has any number.
fn is_plausible(header: &Header, gate: &Gate) -> bool {
    // A number that was given out twice is behind by as many as have died; and the receiver may count only what it has already got.
    const SLACK: u64 = 1 << 16;
    let oldest = gate.received().wrapping_sub(SLACK);
    *header == Header::NUDGE
        || header.number.wrapping_sub(oldest) <= gate.capacity().saturating_add(2 * SLACK)
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct PipeInlet {
    pipe: Arc<OwnedFd>,
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame begins.
    start: usize,
}

impl PipeInlet {
    pub(crate) fn new(pipe: Arc<OwnedFd>, bytes: Vec<u8>) -> PipeInlet {
        PipeInlet {
            pipe,
            bytes,
            start: 0,
        }
    }

    /// The frame that is whole in what was read.
    fn frame(&mut self, gate: &Gate, body: &mut Vec<u8>) -> Result<Option<Header>, NotGot> {
        let Some((head, rest)) = self.bytes[self.start..].split_first_chunk() else {
            return Ok(None);
        };
        let header = Header::from_bytes(head)
            .filter(|h| h.len as usize <= 2 * CHUNK && is_plausible(h, gate))
            .ok_or_else(|| NotGot::Corrupt("what is in the pipe is no message".to_owned()))?;
        let Some(found) = rest.get(..header.len as usize) else {
            return Ok(None);
        };
        body.clear();
        body.extend_from_slice(found);
        self.start += Header::SIZE + found.len();
        Ok(Some(header))
    }

    fn read(&mut self, gate: &Gate, may_wait: bool) -> Result<(), NotGot> {
        if !may_wait && !fds::wait_readable(&self.pipe, std::time::Duration::ZERO)? {
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
                    gate.count_bytes_received(n);
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
    }
}

impl Inlet for PipeInlet {
    fn get(
        &mut self,
        gate: &Gate,
        link: &Link,
        body: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        may_wait: bool,
    ) -> Result<Header, NotGot> {
        loop {
            if let Some(header) = self.frame(gate, body)? {
                parcel::take(link, header, descriptors)?;
                return Ok(header);
            }
            self.read(gate, may_wait)?;
        }
    }

    fn is_holding(&self, _gate: &Gate) -> bool {
        let Some((head, rest)) = self.bytes[self.start..].split_first_chunk() else {
            return false;
        };
        // What is no header is worth finding out.
        Header::from_bytes(head).is_none_or(|h| rest.len() >= h.len as usize)
    }

    fn remainder(&self) -> Remainder<'_> {
        Remainder {
            bytes: &self.bytes[self.start..],
            held: None,
        }
    }
}
