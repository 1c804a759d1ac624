//! Values too large for a ring: a memory file each, whose descriptor goes through the worker's lane, a Unix socket.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::SealFlags;

use crate::sys::fds;
use crate::sys::mapping::{allowed_size, memfd};
use crate::task::codec::MAX_BYTES;

/// Sends `bytes` in a memory file that nobody can change any more.
pub(crate) fn send(lane: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    allowed_size(bytes.len())?;
    let mut file = File::from(memfd("brigade-value")?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    fds::send(lane, &[1], &[file.as_fd()])
}

/// Receives the value of `len` bytes that was sent. The sender may be hostile: the file is believed only in what is sealed.
pub(crate) fn recv(lane: impl AsFd, len: u64, wait: bool) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let len = usize::try_from(len)
        .ok()
        .filter(|&l| l <= MAX_BYTES)
        .ok_or_else(|| invalid("a value over the limit"))?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let mut byte = [0; 8];
    let received = fds::recv(lane, &mut byte, &mut descriptors, wait)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.descriptors_lost {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    let [file] =
        <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| invalid("not one descriptor"))?;
    let needed = SealFlags::SHRINK | SealFlags::WRITE;
    // A descriptor that is no memory file has no seals.
    if !rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(needed)) {
        return Err(invalid("a value that is not sealed"));
    }
    if rustix::fs::fstat(&file)?.st_size.cast_unsigned() != len as u64 {
        return Err(invalid("a value of another length than announced"));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(io::Error::other)?;
    // From the start, whatever the position, which is shared with the sender.
    let file = File::from(file);
    let mut at = 0;
    while at < len {
        let into = rustix::buffer::spare_capacity(&mut bytes);
        match rustix::io::pread(&file, into, at as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => at += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // The allocator may have given more room than was asked for, but the file is sealed at this length.
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair")
    }

    #[test]
    fn a_value_arrives_as_it_was() {
        let (a, b) = pair();
        let value: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7) as u8).collect();
        send(&a, &value).expect("sent");
        assert_eq!(
            recv(&b, value.len() as u64, false).expect("received"),
            value
        );
    }

    #[test]
    fn what_is_not_sealed_or_not_as_announced_is_refused() {
        let (a, b) = pair();
        let open = memfd("test").expect("memfd");
        rustix::fs::ftruncate(&open, 100).expect("sized");
        fds::send(&a, &[1], &[open.as_fd()]).expect("sent");
        assert!(recv(&b, 100, false).is_err(), "not sealed");
        send(&a, &[0; 100]).expect("sent");
        assert!(recv(&b, 101, false).is_err(), "shorter than announced");
        send(&a, &[0; 100]).expect("sent");
        assert!(recv(&b, u64::MAX, false).is_err(), "over the limit");
        let (pipe, _keep) = rustix::pipe::pipe().expect("pipe");
        while recv(&b, 100, false).is_ok() {}
        fds::send(&a, &[1], &[pipe.as_fd()]).expect("sent");
        assert!(recv(&b, 100, false).is_err(), "no memory file");
        fds::send(&a, &[1], &[]).expect("sent");
        assert!(recv(&b, 100, false).is_err(), "no descriptor");
        drop(a);
        assert!(recv(&b, 100, false).is_err(), "nobody there");
    }
}
