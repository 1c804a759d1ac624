//! Anonymous memory files, and mappings of them. memfd_create(2), F_ADD_SEALS in fcntl(2), mmap(2).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::opened;

/// Nobody can change the size any more.
pub(crate) const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// A new anonymous file of `len` bytes, zeroed, whose size nobody can change any more, nor its
/// seals.
pub(crate) fn sized_memfd(name: &str, len: usize) -> io::Result<OwnedFd> {
    memfd_of(name, len, SIZE_SEALS | SealFlags::SEAL)
}

/// A new anonymous file of `len` bytes, zeroed, with these seals.
///
/// The size is sealed before anyone else can have the descriptor: a file that a peer truncates is a
/// SIGBUS for all who map it.
pub(crate) fn memfd_of(name: &str, len: usize, seals: SealFlags) -> io::Result<OwnedFd> {
    allowed_size(len)?;
    let fd = memfd(name)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

/// A file over RLIMIT_FSIZE is not only an error: the kernel sends a SIGXFSZ too, which ends the
/// program. So it is asked for first.
pub(crate) fn allowed_size(len: usize) -> io::Result<()> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) if limit < len as u64 => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        _ => Ok(()),
    }
}

/// A new anonymous file that can still be written and sealed.
pub(crate) fn memfd(name: &str) -> io::Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match opened::memfd(name, base | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 the flag is unknown; the file is then executable, which nothing here
        // relies on.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => opened::memfd(name, base),
        other => other,
    }
}

/// Gives a file its memory now: later a full machine would be a SIGBUS, in whoever touches the page
/// that is not there.
pub(crate) fn reserve(fd: impl AsFd, len: usize) -> io::Result<()> {
    // A signal undoes what the call has done so far: in steps, a program with a fast timer gets
    // through as well.
    const STEP: u64 = 16 << 20;
    let len = len as u64;
    let mut at = 0;
    while at < len {
        let step = STEP.min(len - at);
        match rustix::fs::fallocate(&fd, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A shared mapping of a whole file. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range, valid in every thread of the process; what is read and
// written through it is the concern of those who dereference `at`, each with its own argument.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out addresses and lengths only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd`, to read and write.
    pub(crate) fn writable(fd: impl AsFd, len: usize) -> io::Result<Mapping> {
        Mapping::new(fd, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps `len` bytes of `fd`, to read only.
    pub(crate) fn readable(fd: impl AsFd, len: usize) -> io::Result<Mapping> {
        Mapping::new(fd, len, ProtFlags::READ)
    }

    fn new(fd: impl AsFd, len: usize, protection: ProtFlags) -> io::Result<Mapping> {
        // SAFETY: the kernel chooses a fresh range, so no existing mapping is touched.
        let at = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let at = NonNull::new(at.cast())
            .ok_or_else(|| io::Error::other("mmap returned the null page"))?;
        Ok(Mapping { at, len })
    }

    /// The first byte. Page-aligned.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Maps every page now, to be written: one call instead of a fault per page. Of a file that has
    /// its memory ([`reserve`]).
    pub(crate) fn populate(&self) {
        let (at, len) = (self.at.as_ptr().cast(), self.len);
        // SAFETY: the range is ours; the advice changes none of its bytes. A kernel before 5.14
        // does not know it: the faults come one by one then.
        let _ = unsafe { rustix::mm::madvise(at, len, Advice::LinuxPopulateWrite) };
    }

    /// Keeps the mapping out of children made by `fork`.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        // SAFETY: the range is ours; the advice changes what a child inherits, not what we see.
        unsafe { rustix::mm::madvise(self.at.as_ptr().cast(), self.len, Advice::LinuxDontFork) }?;
        Ok(())
    }
}

/// The bytes of a file of which neither they nor the length can change, where they are.
#[derive(Debug)]
pub(crate) struct Sealed(Mapping);

impl Sealed {
    /// Maps a file that is `len` bytes long, if it is sealed so.
    pub(crate) fn map(file: impl AsFd, len: usize) -> io::Result<Sealed> {
        let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        let is_sealed = rustix::fs::fcntl_get_seals(&file)?.contains(needed);
        if !is_sealed || rustix::fs::fstat(&file)?.st_size as u64 != len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a file whose content may change",
            ));
        }
        Ok(Sealed(Mapping::readable(file, len)?))
    }
}

impl std::ops::Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped to be read, for as long as `self` is borrowed; the file is as long, and
        // was sealed against writing before it was mapped, which the kernel refuses while anybody
        // has it mapped to write: so these bytes do not change, whoever has the file.
        unsafe { std::slice::from_raw_parts(self.0.at.as_ptr(), self.0.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range came from `mmap` with this length and nothing borrowed from `self`
        // outlives it.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
