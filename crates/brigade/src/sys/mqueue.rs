//! POSIX message queues: mq_open(3), mq_timedsend(3), mq_timedreceive(3).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::error::{self, Call};
use super::{futex, opened};

/// A deadline that has passed: a call that would wait returns at once. `O_NONBLOCK` would say the
/// same; but it belongs to the open queue, and any other process that has that can take it away.
static AT_ONCE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What came of a call that would have waited.
fn would_block(call: &'static str, e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::ETIMEDOUT) => io::ErrorKind::WouldBlock.into(),
        _ => error::named(call, e),
    }
}

/// A new queue for `messages` messages of up to `size` bytes, which has no name any more, and does
/// not block.
pub(crate) fn create(messages: usize, size: usize) -> io::Result<OwnedFd> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let too_many = || error::as_if("mq_open(3)", libc::EINVAL);
    // SAFETY: plain numbers, for which zero is valid.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = messages.try_into().map_err(|_| too_many())?;
    attributes.mq_msgsize = size.try_into().map_err(|_| too_many())?;
    // Before there is a name that could not be taken away again.
    may_unlink()?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK | libc::O_CLOEXEC;
    for _ in 0..MOST_NAMES {
        let name = format!(
            "/brigade-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let name = CString::new(name).map_err(io::Error::other)?;
        // SAFETY: the name and the attributes live across the call.
        let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut attributes) };
        if queue == -1 {
            let e = io::Error::last_os_error();
            if e.kind() == io::ErrorKind::AlreadyExists {
                // Left by a process of this number that was killed between these two calls; it is
                // not in use, or its owner has it open and needs no name. If it cannot be taken
                // away, it is another user's; then the next name is tried.
                let _ = unlink(&name);
                continue;
            }
            return Err(error::named("mq_open(3)", e));
        }
        // SAFETY: on Linux a queue is a descriptor, and this one was opened here.
        let queue = unsafe { OwnedFd::from_raw_fd(queue) };
        unlink(&name).at(|| {
            let name = name.to_string_lossy();
            format!("the message queue {name} stays behind: its name cannot be taken away")
        })?;
        return opened::lifted(queue);
    }
    Err(io::Error::other(format!(
        "no message queue could be made: {MOST_NAMES} names are taken by other users"
    )))
}

/// How many names are tried: others can take what this process would.
const MOST_NAMES: u32 = 1024;

/// Whether names can be taken away at all.
fn may_unlink() -> io::Result<()> {
    // SAFETY: the name lives as long as the program. No queue has it.
    if unsafe { libc::mq_unlink(c"/".as_ptr()) } == 0 {
        return Ok(());
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => Err(error::named("mq_unlink(3)", e)),
        _ => Ok(()),
    }
}

/// Takes a queue's name away. No process that has it needs it: if another was quicker, all is well.
fn unlink(name: &CStr) -> io::Result<()> {
    let mut tries = 0;
    loop {
        // SAFETY: the name lives across the call.
        if unsafe { libc::mq_unlink(name.as_ptr()) } == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            Some(libc::ENOENT) => return Ok(()),
            // Out of memory for the moment, which is over soon or not at all.
            Some(libc::ENOMEM | libc::EINTR) if tries < 10 => {
                tries += 1;
                futex::rest(Duration::from_millis(1));
            }
            _ => return Err(error::named("mq_unlink(3)", e)),
        }
    }
}

/// The longest message that a queue takes, in bytes.
pub(crate) fn message_size(queue: &OwnedFd) -> io::Result<usize> {
    usize::try_from(attributes(queue)?.mq_msgsize).map_err(io::Error::other)
}

/// Whether it takes another message now.
pub(crate) fn has_room(queue: &OwnedFd) -> io::Result<bool> {
    let attributes = attributes(queue)?;
    Ok(attributes.mq_curmsgs < attributes.mq_maxmsg)
}

fn attributes(queue: &OwnedFd) -> io::Result<libc::mq_attr> {
    // SAFETY: plain numbers, for which zero is valid.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    // SAFETY: writes the attributes.
    if unsafe { libc::mq_getattr(queue.as_raw_fd(), &raw mut attributes) } == -1 {
        return Err(error::last("mq_getattr(3)"));
    }
    Ok(attributes)
}

/// Sends a message. Does not block: a full queue is `WouldBlock`.
pub(crate) fn send(queue: &OwnedFd, message: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: reads the message, and the time.
        let sent = unsafe {
            libc::mq_timedsend(
                queue.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
                &raw const AT_ONCE,
            )
        };
        if sent == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(would_block("mq_timedsend(3)", e));
        }
    }
}

/// Receives a message, into a buffer as long as the longest. Gives its length. Does not block: an
/// empty queue is `WouldBlock`.
pub(crate) fn recv(queue: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: writes no more than the buffer's length; reads the time.
        let got = unsafe {
            libc::mq_timedreceive(
                queue.as_raw_fd(),
                into.as_mut_ptr().cast(),
                into.len(),
                std::ptr::null_mut(),
                &raw const AT_ONCE,
            )
        };
        if let Ok(len) = usize::try_from(got) {
            return Ok(len.min(into.len()));
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(would_block("mq_timedreceive(3)", e));
        }
    }
}
