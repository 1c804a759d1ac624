//! Memory files that carry large values from one process to another: written once, sent by their
//! descriptor, mapped and copied by the receiver.
//!
//! What a value costs is the memory that is touched for the first time, some ten times as much as
//! the copying. So a file gets huge pages where the system gives them ([`Mapping::give_memory`]),
//! and its writer keeps it, with its mapping, for the next value ([`kept`]).
//!
//! A file that is written once is sealed against writing. One that is kept is sealed against
//! writing by all that open or map it later (`F_SEAL_FUTURE_WRITE`): its writer has mapped it
//! before. So the receiver of a value takes a copy, and looks at nothing but that.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytemuck::AnyBitPattern;
use rustix::fs::SealFlags;

use super::error::Call;
use super::mapping::{self, HUGE_PAGE, Mapping, add_seals, allowed_size, memfd};

pub(crate) mod kept;

/// From this many bytes on it pays to map a file, and not to write to it.
const MAPPED_FROM: usize = 256 * 1024;

/// A file with these bytes, one part behind the other. Others can read it. Only this process could
/// change it, and does not as long as another has it.
pub(crate) fn write(parts: &[&[u8]]) -> io::Result<OwnedFd> {
    let len = parts.iter().map(|part| part.len()).sum();
    allowed_size(len)?;
    if len >= MAPPED_FROM {
        if let Some(file) = kept::write(parts, len) {
            return Ok(file);
        }
    }
    let file = memfd("brigade-value")?;
    // Smaller ones are not worth a mapping, and larger ones are written as they are where it cannot
    // be had.
    match mapped(&file, len) {
        Some(mapping) => put(parts, &mapping),
        None => written(&file, parts)?,
    }
    let nobody = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    add_seals(&file, nobody)?;
    Ok(file)
}

/// Sets the file's length, asks for huge pages, and maps the file. `None`: that is not possible,
/// and the caller writes by pwrite(2).
fn mapped(file: &OwnedFd, len: usize) -> Option<Mapping> {
    if len < HUGE_PAGE {
        return None;
    }
    mapping::set_len(file, len).ok()?;
    let mapping = Mapping::writable(file, len).ok()?;
    mapping.give_memory(file).ok()?.then_some(mapping)
}

/// Copies the parts to where a file is mapped, which has its memory.
fn put(parts: &[&[u8]], into: &Mapping) {
    let mut at = 0;
    for part in parts {
        into.write(at, part);
        at += part.len();
    }
}

fn written(file: &OwnedFd, parts: &[&[u8]]) -> io::Result<()> {
    let mut at = 0;
    for part in parts {
        let mut left = *part;
        while !left.is_empty() {
            match rustix::io::pwrite(file, left, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    left = &left[n..];
                    at += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).call("pwrite(2)"),
            }
        }
    }
    Ok(())
}

/// A value in a file, where it was mapped: its bytes may change while they are read.
#[derive(Debug)]
pub(crate) struct ValueFile {
    mapping: Mapping,
    len: usize,
}

impl ValueFile {
    /// The value of `len` bytes at the start of a file that came from a peer that may be hostile.
    /// Where its memory `must_be_there`, a file with a hole in it is refused. The file is not
    /// needed any more.
    pub(crate) fn map(file: impl AsFd, len: usize, must_be_there: bool) -> io::Result<ValueFile> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        // A descriptor that is no memory file has no seals.
        let is_fixed = mapping::seals(&file).is_ok_and(|seals| {
            seals.contains(SealFlags::SHRINK)
                && seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
        });
        if !is_fixed {
            return Err(invalid("a value that is not sealed"));
        }
        // One of the huge pages that are reserved for a machine has seals, too; but its memory may
        // not be there when it is touched, and it cannot be unmapped by its length.
        if rustix::fs::fstatfs(&file).call("fstatfs(2)")?.f_type != libc::TMPFS_MAGIC {
            return Err(invalid("a value in another kind of memory"));
        }
        if mapping::file_size(&file)? < len as u64 {
            return Err(invalid("a value that is shorter than announced"));
        }
        // The bytes of a hole are zeros that cost the sender nothing and would cost us memory. No
        // hole can be made any more, for the seals are there.
        if must_be_there && len > 0 && mapping::first_hole(&file)? < len as u64 {
            return Err(invalid("a value whose memory is not all there"));
        }
        Ok(ValueFile {
            mapping: Mapping::readable(&file, len.max(1))?,
            len,
        })
    }

    /// Bytes of the value.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first bytes, as many as there are, or as fit; and how many these are.
    pub(crate) fn head<const N: usize>(&self) -> ([u8; N], usize) {
        let mut head = [MaybeUninit::new(0); N];
        let len = self.len.min(N);
        self.mapping.read(0, &mut head[..len]);
        // SAFETY: all were written above, by zeros at least.
        (head.map(|byte| unsafe { byte.assume_init() }), len)
    }

    /// A copy of all of it.
    pub(crate) fn to_vec(&self) -> io::Result<Vec<u8>> {
        self.numbers(0)
    }

    /// A copy of what begins at `from`, as numbers, of which it is a whole number.
    pub(crate) fn numbers<T: AnyBitPattern>(&self, from: usize) -> io::Result<Vec<T>> {
        let count = self.len.saturating_sub(from) / size_of::<T>();
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(io::Error::other)?;
        let room = &mut numbers.spare_capacity_mut()[..count];
        mapping::ask_for_huge_pages(room);
        self.mapping.read(from, room);
        // SAFETY: `count` values were just written, and any bytes are a `T`.
        unsafe { numbers.set_len(count) };
        Ok(numbers)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
