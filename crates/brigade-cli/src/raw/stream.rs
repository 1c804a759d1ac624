//! Pipes and sockets: bytes in, bytes out. A peer that is gone is an end of file here.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Line;

/// An end that reads from one descriptor and writes to another.
#[derive(Debug)]
pub(crate) struct Stream {
    input: File,
    output: File,
}

impl Stream {
    pub(crate) fn new(input: OwnedFd, output: OwnedFd) -> Self {
        Self {
            input: File::from(input),
            output: File::from(output),
        }
    }
}

impl Line for Stream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(bytes)
    }
}

/// The descriptors of two ends: (input, output) of the near one, then of the far one.
pub(crate) type Ends = [(OwnedFd, OwnedFd); 2];

/// Two pipes, crossed.
pub(crate) fn pipes() -> io::Result<Ends> {
    let (near_in, far_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (far_in, near_out) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok([(near_in, near_out), (far_in, far_out)])
}

/// A pair of stream sockets.
pub(crate) fn sockets() -> io::Result<Ends> {
    let (near, far) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let near_out = near.try_clone()?;
    let far_out = far.try_clone()?;
    Ok([(near, near_out), (far, far_out)])
}
