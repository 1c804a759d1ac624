//! What does not go through a mechanism itself: values too large for it, in a memory file
//! each; and descriptors, which go through the link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::bounds::MAX_BYTES;
use super::{FrameHeader, Link, NotGot, NotPut};
use crate::sync::liveness;
use crate::sys::error::{Call, errno_of};
use crate::sys::fds;
use crate::sys::value_file::{self, ValueFile};

/// A memory file of these parts, one behind the other, to be sent. No receiver can change
/// it.
pub(crate) fn file_of(parts: &[&[u8]]) -> io::Result<OwnedFd> {
    value_file::write(parts).needed_to("pass on a large value")
}

/// The value of `len` bytes in such a file, which came from a peer that may be hostile, and that
/// gives `len`. The value needs no descriptor any more.
///
/// No more memory is taken for a value than its sender has taken. A worker that is made to harms
/// only itself.
pub(crate) fn map(file: impl AsFd, len: u64) -> io::Result<ValueFile> {
    let within = usize::try_from(len).ok().filter(|&len| len <= MAX_BYTES);
    let over = || io::Error::new(io::ErrorKind::InvalidData, "a value over the limit");
    within
        .ok_or_else(over)
        .and_then(|len| ValueFile::map(file, len, !liveness::is_worker()))
        .needed_to("receive a large value")
}

/// Sends the descriptors of a message ahead of it. If its sender then dies, they are passed over.
pub(crate) fn send_ahead(
    link: &Link,
    header: FrameHeader,
    descriptors: &[OwnedFd],
) -> Result<(), NotPut> {
    if descriptors.is_empty() {
        return Ok(());
    }
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    fds::send(link, &header.number.to_ne_bytes(), &descriptors)
        .needed_to("send a message's descriptors")
        .map_err(|e| not_sent(e, NotPut::LinkBlocked))
}

/// What a socket's refusal means.
pub(crate) fn not_sent(e: io::Error, full: NotPut) -> NotPut {
    // The kernel has as many descriptors on their way, for this user, as it takes; or no memory for
    // the moment. It does not say when that is over.
    if let Some(libc::ETOOMANYREFS | libc::ENOBUFS) = errno_of(&e) {
        return NotPut::Busy;
    }
    match e.kind() {
        io::ErrorKind::WouldBlock => full,
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NotConnected => NotPut::Gone,
        _ => NotPut::Failed(e),
    }
}

/// The descriptors of this many messages are looked through at once for those of one: more than a
/// socket holds.
const MAX_LOOKS: u32 = 4096;

/// Takes the descriptors of a message that is here, which came ahead of it through the link: all
/// of them, or none, if they could not be had.
#[inline(always)]
pub(crate) fn take(
    link: &Link,
    header: FrameHeader,
    into: &mut Vec<OwnedFd>,
) -> Result<(), NotGot> {
    into.clear();
    match header.descriptors {
        0 => Ok(()),
        _ => take_some(link, header, into),
    }
}

#[inline(never)]
fn take_some(link: &Link, header: FrameHeader, into: &mut Vec<OwnedFd>) -> Result<(), NotGot> {
    let mut found = None;
    let mut looks = 0;
    // A sender that died between the two has left some for a message that another then sent under
    // the same number: the last are right. Those of later messages stay where they are.
    while let Some(number) = next_number(link)? {
        // A hostile sender sends such as fast as they are taken.
        looks += 1;
        if (1..u64::MAX / 2).contains(&number.wrapping_sub(header.number)) || looks > MAX_LOOKS {
            break;
        }
        // Closed before the next are received.
        drop(found.take());
        let mut descriptors = Vec::new();
        // If they were lost, for this process has as many as it may, there are none.
        fds::recv(link, &mut [0; 8], &mut descriptors, false)
            .needed_to("receive a message's descriptors")?;
        found = (number == header.number).then_some(descriptors);
    }
    let expected = usize::from(header.descriptors);
    if let Some(descriptors) = found.filter(|found| found.len() == expected) {
        *into = descriptors;
    }
    Ok(())
}

/// Which frame the next descriptors in the link belong to. Looking receives none.
fn next_number(link: &Link) -> Result<Option<u64>, NotGot> {
    let mut number = [0_u8; 8];
    loop {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(link, &mut number[..], flags) {
            Ok((0, _)) | Err(Errno::AGAIN) => return Ok(None),
            Ok(_) => return Ok(Some(u64::from_ne_bytes(number))),
            // The kernel reports the second once, before what is there: see `fds::recv`.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(e) => {
                let e = Err(e).call("recvfrom(2)");
                return Ok(e.needed_to("receive a message's descriptors")?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::sys::opened;

    #[test]
    fn a_sender_of_what_is_out_of_date_holds_nobody_up() {
        let (ours, theirs) = opened::socket_pair().expect("a pair");
        let header = FrameHeader {
            number: 10,
            len: 0,
            descriptors: 1,
            large: false,
        };
        let (is_over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut most = 0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        // Where it is full, in a moment.
                        let put = fds::send(&theirs, &9_u64.to_ne_bytes(), &[]);
                        sent.fetch_add(u32::from(put.is_ok()), Ordering::Relaxed);
                    }
                });
            }
            let mut taken = Vec::new();
            for _ in 0..50 {
                let before = sent.load(Ordering::Relaxed);
                take(&ours, header, &mut taken).expect("a socket");
                most = most.max(sent.load(Ordering::Relaxed).wrapping_sub(before));
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(taken.is_empty());
        });
        // And what has fitted into the socket.
        assert!(most < 2 * MAX_LOOKS, "{most}");
        // What is in time is found behind that.
        let null = std::fs::File::open("/dev/null").expect("it is there");
        let mut taken = Vec::new();
        while fds::send(&theirs, &10_u64.to_ne_bytes(), &[null.as_fd()]).is_err() {
            take(&ours, header, &mut taken).expect("a socket");
        }
        take(&ours, header, &mut taken).expect("a socket");
        assert_eq!(taken.len(), 1);
    }
}
