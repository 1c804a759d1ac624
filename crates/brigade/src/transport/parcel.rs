//! Values too large for where they would go, in a sealed memory file each.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::SealFlags;

use crate::sys::mapping::{allowed_size, memfd};
use crate::task::codec::MAX_BYTES;

/// A memory file of these bytes, which nobody can change any more.
pub(crate) fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    allowed_size(bytes.len())?;
    let mut file = File::from(memfd("brigade-value")?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

/// The value of `len` bytes in a file that came from somebody who may be hostile: it is believed only in what is sealed.
pub(crate) fn open(file: OwnedFd, len: u64) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let len = usize::try_from(len)
        .ok()
        .filter(|&l| l <= MAX_BYTES)
        .ok_or_else(|| invalid("a value over the limit"))?;
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
