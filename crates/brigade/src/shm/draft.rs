//! A region that is being made: a memory file that only its maker has.

#![expect(
    unsafe_code,
    reason = "the bytes of any value are written to a file, which safe code can do for bytes only"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::sys::error::Call;
use crate::sys::limits;
use crate::sys::mapping::{Mapping, SIZE_SEALS, add_seals, allowed_size, memfd, reserve, set_len};

/// The file of a draft.
pub(crate) type Draft = OwnedFd;

/// Whether the memory of a new file is wanted at once, or comes with what will be written to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Memory {
    Reserved,
    Written,
}

/// The bytes of a file that holds `count` values of `size` bytes: whole pages, and at least one,
/// for neither a file nor a mapping can be empty.
pub(crate) fn file_len(size: usize, count: usize) -> io::Result<usize> {
    super::whole_pages(size, count, rustix::param::page_size())
}

/// A new memory file of `len` bytes, a result of [`file_len`]. Its size is sealed, its content not
/// yet: [`Region::seal`](super::region::Region::seal).
pub(crate) fn make(len: usize, memory: Memory) -> io::Result<Draft> {
    make_file(len, memory).needed_to("make shared memory")
}

fn make_file(len: usize, memory: Memory) -> io::Result<OwnedFd> {
    allowed_size(len)?;
    // The kernel takes page after page without asking whether the rest will fit, until it has to
    // kill a process for memory.
    if limits::memory_and_swap().is_some_and(|all| len as u64 > all) {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory)).at(|| no_memory(len));
    }
    let file = memfd("brigade-shared")?;
    set_len(&file, len)?;
    add_seals(&file, SIZE_SEALS)?;
    if memory == Memory::Reserved {
        reserve(&file, 0..len as u64).at(|| no_memory(len))?;
    }
    Ok(file)
}

fn no_memory(len: usize) -> String {
    format!("no memory for a shared region of {len} bytes")
}

/// Writes `bytes` bytes of `value` to the start of a file. Twice as fast as writing through a
/// mapping, which faults on every page.
///
/// # Safety
/// `value` is valid for reads of `bytes` bytes.
pub(crate) unsafe fn write(file: &mut Draft, value: *const u8, bytes: usize) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        // SAFETY: `at` is less than `bytes`, so the caller's promise covers the rest of the range.
        // The kernel only copies it; that some of it may lie between the fields of a struct, and
        // never have been written, makes no difference to a copy.
        let written = unsafe {
            libc::pwrite(
                file.as_raw_fd(),
                value.add(at).cast(),
                bytes - at,
                at as libc::off_t,
            )
        };
        match written {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n @ 1.. => at += n.unsigned_abs(),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => {
                    return Err(e)
                        .call("pwrite(2)")
                        .needed_to("make shared memory")
                        .at(|| no_memory(bytes));
                }
            },
        }
    }
    Ok(())
}

/// A draft that is mapped, to be written in place.
#[derive(Debug)]
pub(crate) struct MappedDraft {
    mapping: Mapping,
    file: Draft,
}

impl MappedDraft {
    /// Maps all of its `len` bytes.
    pub(crate) fn new(file: Draft, len: usize) -> io::Result<MappedDraft> {
        let mapped = Mapping::writable(&file, len).and_then(|mapping| {
            // It would keep the file from being sealed.
            mapping.keep_from_children()?;
            Ok(mapping)
        });
        let mapping = mapped.needed_to("make shared memory")?;
        Ok(MappedDraft { mapping, file })
    }

    /// The first byte. Page-aligned; valid, to write as well, as long as this is.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.mapping.at()
    }

    /// Maps each page now, not at its first use.
    pub(crate) fn populate(&self) {
        self.mapping.populate();
    }

    /// Not mapped any more.
    pub(crate) fn unmap(self) -> Draft {
        // A file that is mapped to be written cannot be sealed against it.
        drop(self.mapping);
        self.file
    }

    /// For tests, which try what others could do.
    #[cfg(test)]
    pub(crate) fn file(&self) -> &Draft {
        &self.file
    }
}
