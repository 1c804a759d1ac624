//! The system calls of pipes, sockets and message queues, and nothing around them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use brigade::{Descriptor, process};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use crate::traffic::{arrivals, ended, in_all, join};

/// What the bytes go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Through {
    Pipe,
    /// A socket that keeps messages apart.
    Packets,
    /// A socket that does not.
    Stream,
    Queue,
}

impl Through {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Through::Pipe => "write and read on a pipe",
            Through::Packets => "send and recv, SOCK_SEQPACKET",
            Through::Stream => "send and recv, SOCK_STREAM",
            Through::Queue => "mq_send and mq_receive",
        }
    }

    /// An end to read and one to write.
    fn ends(self, len: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        let sockets = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        Ok(match self {
            Through::Pipe => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?,
            Through::Packets => sockets(SocketType::SEQPACKET)?,
            Through::Stream => sockets(SocketType::STREAM)?,
            Through::Queue => {
                let queue = queue(len)?;
                (queue.try_clone()?, queue)
            }
        })
    }

    fn write(self, to: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(match self {
            Through::Pipe => rustix::io::write(to, bytes)?,
            Through::Packets | Through::Stream => {
                rustix::net::send(to, bytes, SendFlags::NOSIGNAL)?
            }
            Through::Queue => {
                // SAFETY: reads the bytes.
                let sent =
                    unsafe { libc::mq_send(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
                match sent {
                    0 => bytes.len(),
                    _ => return Err(io::Error::last_os_error()),
                }
            }
        })
    }

    fn read(self, from: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
        let got = match self {
            Through::Pipe => rustix::io::read(from, into)?,
            Through::Packets | Through::Stream => {
                rustix::net::recv(from, into, RecvFlags::empty())?.0
            }
            Through::Queue => {
                let priority = std::ptr::null_mut();
                // SAFETY: writes no more than the buffer's length; nobody asks for the priority.
                let got = unsafe {
                    libc::mq_receive(
                        from.as_raw_fd(),
                        into.as_mut_ptr().cast(),
                        into.len(),
                        priority,
                    )
                };
                usize::try_from(got).map_err(|_| io::Error::last_os_error())?
            }
        };
        if got == 0 { Err(ended()) } else { Ok(got) }
    }
}

/// How many messages a queue takes: what the system allows without privileges.
pub(crate) const QUEUE: usize = 10;

/// A queue whose name is gone.
fn queue(len: usize) -> io::Result<OwnedFd> {
    let name = CString::new(format!("/brigade-benches-{}", std::process::id()))?;
    // SAFETY: plain numbers, for which zero is valid.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = QUEUE as libc::c_long;
    attributes.mq_msgsize = len as libc::c_long;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: the name and the attributes live across the call.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut attributes) };
    if queue == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    // SAFETY: on Linux a queue is a descriptor, and this one was opened here.
    Ok(unsafe { OwnedFd::from_raw_fd(queue) })
}

fn flood((through, to, len, count): (Through, Descriptor, usize, u32)) -> Result<(), String> {
    let source = vec![7_u8; len];
    for _ in 0..count {
        let mut rest = source.as_slice();
        while !rest.is_empty() {
            let written = through.write(&to.0, rest).map_err(|e| e.to_string())?;
            rest = &rest[written..];
        }
    }
    Ok(())
}

/// Millions of messages of `len` bytes a second, one call for each on either side.
pub(crate) fn one_way(through: Through, len: usize, count: u32) -> io::Result<f64> {
    let (from, to) = through.ends(len)?;
    let input = (through, Descriptor(to), len, in_all(count));
    let worker = process::spawn(flood, input)?;
    let mut into = vec![0_u8; len];
    let figure = arrivals(count, || {
        let mut got = 0;
        while got < len {
            got += through.read(&from, &mut into[got..])?;
        }
        Ok(())
    })?;
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}
