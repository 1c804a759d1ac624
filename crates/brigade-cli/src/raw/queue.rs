//! POSIX message queues, by the system calls themselves: glibc's functions ask nothing more of the
//! kernel, and these work with `/dev/mqueue` unmounted too.
//!
//! A queue is made with a name, and the name is removed at once: the descriptor is the queue from
//! then on.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Line;
use super::stream::Ends;

/// How long one message may take to get through. The peer answers in microseconds; this is for one
/// that died.
const PATIENCE: Duration = Duration::from_secs(10);

/// The limits this machine sets to queues of programs without privileges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages that fit in a queue.
    pub(crate) messages: usize,
    /// Bytes that fit in a message.
    pub(crate) size: usize,
}

impl Limits {
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self {
            messages: setting("msg_max")?,
            size: setting("msgsize_max")?,
        })
    }
}

fn setting(name: &str) -> io::Result<usize> {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}"))?;
    text.trim().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("mqueue/{name}: {text:?}"),
        )
    })
}

/// A fresh queue without a name.
pub(crate) fn anonymous(limits: Limits) -> io::Result<OwnedFd> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // The kernel's names have no slash; the one in `mq_open(3)` is taken off by glibc.
    let name = CString::new(format!("brigade-compare-{}-{number}", std::process::id()))?;
    // SAFETY: `mq_attr` is plain integers, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = limits.messages.try_into().map_err(io::Error::other)?;
    attributes.mq_msgsize = limits.size.try_into().map_err(io::Error::other)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: the name is a C string and the attributes are a whole `mq_attr`; both live through
    // the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_mq_open,
            name.as_ptr(),
            flags,
            0o600,
            &raw const attributes,
        )
    };
    let fd = i32::try_from(checked(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a C string that lives through the call.
    checked(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) })?;
    Ok(fd)
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Two queues, crossed.
pub(crate) fn ends(limits: Limits) -> io::Result<Ends> {
    let there = anonymous(limits)?;
    let back = anonymous(limits)?;
    let far = (there.try_clone()?, back.try_clone()?);
    Ok([(back, there), far])
}

/// An end over two queues. A message larger than the queue's are goes in pieces.
#[derive(Debug)]
pub(crate) struct Queue {
    input: OwnedFd,
    output: OwnedFd,
    piece: usize,
    /// What was received: the kernel insists on room for the largest message.
    room: Vec<u8>,
}

impl Queue {
    pub(crate) fn new(input: OwnedFd, output: OwnedFd, limits: Limits) -> Self {
        Self {
            input,
            output,
            piece: limits.size,
            room: vec![0; limits.size],
        }
    }
}

/// The deadline as the system calls want it: absolute, by the wall clock.
fn deadline() -> libc::timespec {
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + PATIENCE;
    libc::timespec {
        tv_sec: libc::time_t::try_from(at.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at.subsec_nanos().into(),
    }
}

impl Line for Queue {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let until = deadline();
        for piece in bytes.chunks(self.piece) {
            let fd = self.output.as_raw_fd();
            // SAFETY: pointer and length are of one slice; the deadline lives through the call.
            checked(unsafe {
                libc::syscall(
                    libc::SYS_mq_timedsend,
                    fd,
                    piece.as_ptr(),
                    piece.len(),
                    0,
                    &raw const until,
                )
            })?;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let until = deadline();
        for piece in bytes.chunks_mut(self.piece) {
            let (fd, room) = (self.input.as_raw_fd(), self.room.len());
            let none: *mut libc::c_uint = std::ptr::null_mut();
            // SAFETY: pointer and length are of one buffer we own; a null priority is allowed; the
            // deadline lives through the call.
            let got = checked(unsafe {
                libc::syscall(
                    libc::SYS_mq_timedreceive,
                    fd,
                    self.room.as_mut_ptr(),
                    room,
                    none,
                    &raw const until,
                )
            })?;
            if usize::try_from(got).ok() != Some(piece.len()) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a piece of {got} bytes"),
                ));
            }
            piece.copy_from_slice(&self.room[..piece.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_goes_in_pieces_and_no_name_stays() {
        let limits = Limits {
            messages: 4,
            size: 16,
        };
        let [(near_in, near_out), (far_in, far_out)] = match ends(limits) {
            Ok(ends) => ends,
            Err(error) => {
                return eprintln!("skipped, because there are no message queues here: {error}");
            }
        };
        let mut near = Queue::new(near_in, near_out, limits);
        let mut far = Queue::new(far_in, far_out, limits);
        let message: Vec<u8> = (0..50).collect();
        let mut got = vec![0; 50];
        near.send(&message).unwrap();
        far.receive(&mut got).unwrap();
        assert_eq!(got, message);
    }
}
