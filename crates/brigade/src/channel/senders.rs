//! The sending ends that this process has, one for each channel.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Transport;
use super::send_side::SendSide;
use crate::sys::error::Call;
use crate::sys::per_process::PerProcess;

/// What tells sending ends apart: all that they are made of. The sender of an end may be hostile,
/// and put one together of parts of several channels: where such a one was taken for the end of the
/// channel that its memory is of, what is sent with that channel's own ends would go another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChannelId {
    over: Transport,
    capacity: u64,
    /// The kernel gives no number of a memory file twice (since Linux 5.9).
    memory: (u64, u64),
    /// Nor that of a socket: SO_COOKIE, socket(7).
    link: u64,
    mechanism: Option<Mechanism>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mechanism {
    /// A pipe, or a queue: device and inode.
    File(u64, u64),
    /// By its cookie.
    Socket(u64),
}

impl ChannelId {
    pub(super) fn of(
        over: Transport,
        capacity: u64,
        memory: impl AsFd,
        link: impl AsFd,
        mechanism: Option<impl AsFd>,
    ) -> io::Result<ChannelId> {
        let numbers = |file: BorrowedFd<'_>| -> io::Result<_> {
            let stat = rustix::fs::fstat(file).call("fstat(2)")?;
            Ok((stat.st_dev, stat.st_ino))
        };
        let mechanism = mechanism.map(|mechanism| match over {
            Transport::SharedMemory => {
                let cookie =
                    rustix::net::sockopt::socket_cookie(mechanism).call("getsockopt(2)")?;
                Ok::<_, io::Error>(Mechanism::Socket(cookie))
            }
            _ => numbers(mechanism.as_fd()).map(|(device, inode)| Mechanism::File(device, inode)),
        });
        Ok(ChannelId {
            over,
            capacity,
            memory: numbers(memory.as_fd())?,
            link: rustix::net::sockopt::socket_cookie(link).call("getsockopt(2)")?,
            mechanism: mechanism.transpose()?,
        })
    }
}

/// The channels to which this process has a sending end. However often it is sent one, it keeps one
/// set of descriptors for each channel.
fn senders() -> MutexGuard<'static, HashMap<ChannelId, Weak<SendSide>>> {
    // A fork begins with an empty one: its parent's may be locked for good there.
    static ALL: PerProcess<Mutex<HashMap<ChannelId, Weak<SendSide>>>> =
        PerProcess::new(Mutex::default);
    ALL.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sending end of this channel, which is made if there is none.
pub(super) fn register(channel: ChannelId, make: impl FnOnce() -> SendSide) -> Arc<SendSide> {
    let mut all = senders();
    if let Some(side) = all.get(&channel).and_then(Weak::upgrade) {
        return side;
    }
    let side = Arc::new(make().registered(channel));
    all.insert(channel, Arc::downgrade(&side));
    side
}

/// The last of a channel's sending ends here is being dropped.
pub(super) fn unregister(channel: ChannelId) {
    let mut all = senders();
    // Another may have come meanwhile.
    if all
        .get(&channel)
        .is_some_and(|side| side.strong_count() == 0)
    {
        all.remove(&channel);
    }
}
