//! What does not go through a mechanism itself: values too large for it, in a sealed memory file
//! each; and descriptors, which go through the link.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::bounds::MAX_BYTES;
use super::{FrameHeader, Link, NotGot, NotPut};
use crate::sync::roster;
use crate::sys::error::{Call, errno_of};
use crate::sys::fds;
use crate::sys::mapping::{Sealed, add_seals, allowed_size, file_size, memfd, seals};

/// What the calls of a receiver are for.
const RECEIVE: &str = "receive a large value";

/// A memory file of these bytes, which nobody can change any more.
pub(crate) fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    file_of(bytes).needed_to("pass on a large value")
}

fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    allowed_size(bytes.len())?;
    let mut file = File::from(memfd("brigade-value")?);
    file.write_all(bytes).call("write(2)")?;
    add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

/// The length of the value in a file that came from somebody who may be hostile and says that it is
/// so many bytes: it is believed only in what is sealed.
fn checked(file: &OwnedFd, len: u64) -> io::Result<usize> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let len = usize::try_from(len)
        .ok()
        .filter(|&l| l <= MAX_BYTES)
        .ok_or_else(|| invalid("a value over the limit"))?;
    let needed = SealFlags::SHRINK | SealFlags::WRITE;
    // A descriptor that is no memory file has no seals.
    if !seals(file).is_ok_and(|seals| seals.contains(needed)) {
        return Err(invalid("a value that is not sealed"));
    }
    if file_size(file)? != len as u64 {
        return Err(invalid("a value of another length than announced"));
    }
    // The bytes of a hole are zeros that cost the sender nothing and would cost us memory. So we
    // take no more memory for a value than its sender has. A worker that is made to harms only
    // itself.
    let first_hole = || rustix::fs::seek(file, SeekFrom::Hole(0)).call("lseek(2)");
    if !roster::is_worker() && len > 0 && first_hole()? < len as u64 {
        return Err(invalid("a value whose memory is not all there"));
    }
    Ok(len)
}

/// The value of `len` bytes in such a file, where it is. It needs no descriptor any more.
pub(crate) fn map(file: &OwnedFd, len: u64) -> io::Result<Sealed> {
    checked(file, len)
        .and_then(|len| Sealed::map(file, len))
        .needed_to(RECEIVE)
}

/// The value of `len` bytes in such a file.
pub(crate) fn open(file: OwnedFd, len: u64) -> io::Result<Vec<u8>> {
    read(file, len).needed_to(RECEIVE)
}

fn read(file: OwnedFd, len: u64) -> io::Result<Vec<u8>> {
    let len = checked(&file, len)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(io::Error::other)?;
    // From the start, whatever the position, which is shared with the sender.
    let mut at = 0;
    while at < len {
        let into = rustix::buffer::spare_capacity(&mut bytes);
        match rustix::io::pread(&file, into, at as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => at += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).call("pread(2)"),
        }
    }
    // The allocator may have given more room than was asked for, but the file is sealed at this
    // length.
    bytes.truncate(len);
    Ok(bytes)
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

/// Takes the descriptors of a message that is here, which came ahead of it through the link: all
/// of them, or none, if they could not be had.
pub(crate) fn take(
    link: &Link,
    header: FrameHeader,
    into: &mut Vec<OwnedFd>,
) -> Result<(), NotGot> {
    into.clear();
    if header.descriptors == 0 {
        return Ok(());
    }
    let mut found = None;
    // A sender that died between the two has left some for a message that another then sent under
    // the same number: the last are right. Those of later messages stay where they are.
    while let Some(number) = next_number(link)? {
        if (1..u64::MAX / 2).contains(&number.wrapping_sub(header.number)) {
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

/// Whose the next descriptors in the link are. Looking receives none.
fn next_number(link: &Link) -> Result<Option<u64>, NotGot> {
    let mut number = [0_u8; 8];
    loop {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(link, &mut number[..], flags) {
            Ok((0, _)) | Err(Errno::AGAIN | Errno::CONNRESET) => return Ok(None),
            Ok(_) => return Ok(Some(u64::from_ne_bytes(number))),
            Err(Errno::INTR) => {}
            Err(e) => {
                let e = Err(e).call("recvfrom(2)");
                return Ok(e.needed_to("receive a message's descriptors")?);
            }
        }
    }
}
