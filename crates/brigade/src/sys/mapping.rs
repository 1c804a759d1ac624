//! Anonymous memory files, and mappings of them. memfd_create(2), F_ADD_SEALS in fcntl(2), mmap(2).

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use bytemuck::AnyBitPattern;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::error::{self, Call};
use super::{opened, process};

/// Bytes of a huge page, where the processor has just one size of them. Where it has others, a
/// mapping begins where none needs to.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// No process can change the size any more.
pub(crate) const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// A new anonymous file of `len` bytes, zeroed, whose size no process can change any more, nor its
/// seals.
pub(crate) fn sized_memfd(name: &str, len: usize) -> io::Result<OwnedFd> {
    memfd_of(name, len, SIZE_SEALS | SealFlags::SEAL)
}

/// A new anonymous file of `len` bytes, zeroed, with these seals.
///
/// The size is sealed before another process can have the descriptor: a file that a peer truncates
/// is a SIGBUS for all that map it.
pub(crate) fn memfd_of(name: &str, len: usize, seals: SealFlags) -> io::Result<OwnedFd> {
    allowed_size(len)?;
    let fd = memfd(name)?;
    set_len(&fd, len)?;
    add_seals(&fd, seals)?;
    Ok(fd)
}

/// ftruncate(2), of a file that may be as long: see [`allowed_size`].
pub(crate) fn set_len(fd: impl AsFd, len: usize) -> io::Result<()> {
    rustix::fs::ftruncate(fd, len as u64).call("ftruncate(2)")
}

/// fcntl(2), `F_ADD_SEALS`. The file is not mapped to be written.
///
/// To seal it against writing, the kernel waits until nothing else of it holds a page, which is for
/// a moment, 150 ms at the most (`mm/memfd.c`). A machine that has more to do takes longer: it is
/// asked again.
pub(crate) fn add_seals(fd: impl AsFd, seals: SealFlags) -> io::Result<()> {
    const ATTEMPTS: usize = 20;
    let mut added = rustix::fs::fcntl_add_seals(&fd, seals);
    for _ in 1..ATTEMPTS {
        if added != Err(Errno::BUSY) {
            break;
        }
        added = rustix::fs::fcntl_add_seals(&fd, seals);
    }
    added.call("fcntl(F_ADD_SEALS)")
}

/// The length of a file, in bytes.
pub(crate) fn file_size(fd: impl AsFd) -> io::Result<u64> {
    let stat = rustix::fs::fstat(fd).call("fstat(2)")?;
    Ok(stat.st_size as u64)
}

pub(crate) fn seals(fd: impl AsFd) -> io::Result<SealFlags> {
    rustix::fs::fcntl_get_seals(fd).call("fcntl(F_GET_SEALS)")
}

/// A file over RLIMIT_FSIZE is not only an error: the kernel sends a SIGXFSZ too, which ends the
/// program. So it is asked for first.
pub(crate) fn allowed_size(len: usize) -> io::Result<()> {
    // Where it cannot be read, it is rarely set.
    match process::limit(rustix::process::Resource::Fsize).and_then(|limit| limit.current) {
        Some(limit) if limit < len as u64 => Err(error::as_if("ftruncate(2)", libc::EFBIG)),
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

/// Gives a part of a file its memory now: later a full machine would be a SIGBUS, in the thread
/// that touches the page that is not there. No other thread writes to what is missing of it
/// meanwhile.
pub(crate) fn reserve(fd: impl AsFd, part: Range<u64>) -> io::Result<()> {
    // A signal undoes what the call has done so far: in steps, a program with a fast timer gets
    // through as well.
    const STEP: u64 = 16 << 20;
    let mut at = part.start;
    while at < part.end {
        let step = STEP.min(part.end - at);
        match rustix::fs::fallocate(&fd, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(Errno::INTR) => {}
            Err(e) if is_denied(e) => return write_holes(&fd, at..part.end),
            Err(e) => return Err(e).call("fallocate(2)"),
        }
    }
    Ok(())
}

/// Where the first hole of a file is; its end, if it has none. lseek(2), `SEEK_HOLE`
pub(crate) fn first_hole(fd: impl AsFd) -> io::Result<u64> {
    rustix::fs::seek(fd, SeekFrom::Hole(0)).call("lseek(2)")
}

/// Asks for huge pages where memory of this process is touched for the first time: a fault costs as
/// much as the copying of five pages. Where the system has none, nothing changes.
#[inline]
pub(crate) fn ask_for_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    if size_of_val(memory) >= HUGE_PAGE {
        ask_where_large(memory);
    }
}

#[cold]
fn ask_where_large<T>(memory: &mut [MaybeUninit<T>]) {
    let page = rustix::param::page_size();
    let range = memory.as_mut_ptr_range();
    // What lies beside it on its first and its last page is this process's as well.
    let from = range.start as usize & !(page - 1);
    let len = (range.end as usize).next_multiple_of(page) - from;
    let at = range.start.wrapping_byte_sub(range.start as usize - from);
    // SAFETY: the advice is about what memory is made of, and changes no byte of it.
    let _ = unsafe { rustix::mm::madvise(at.cast(), len, Advice::LinuxHugepage) };
}

/// Whether fallocate(2) is denied as such: seccomp(2).
pub(crate) fn is_denied(fallocate: Errno) -> bool {
    matches!(fallocate, Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// As [`reserve`], for a process to which fallocate(2) is denied: zeros are written where there is
/// nothing. lseek(2), `SEEK_HOLE`
fn write_holes(fd: impl AsFd, part: Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = part.start;
    while at < part.end {
        let hole = rustix::fs::seek(&fd, SeekFrom::Hole(at)).call("lseek(2)")?;
        let end = match rustix::fs::seek(&fd, SeekFrom::Data(hole)) {
            // There is nothing but a hole from here on.
            Err(Errno::NXIO) => part.end,
            end => end.call("lseek(2)")?.min(part.end),
        };
        at = hole;
        while at < end {
            let len = usize::try_from(end - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            match rustix::io::pwrite(&fd, &ZEROS[..len], at) {
                Ok(written) => at += written as u64,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).call("pwrite(2)"),
            }
        }
    }
    Ok(())
}

/// A mapping of a whole file, shared with all that have it. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range, valid in every thread of the process; what is read and
// written through it is the concern of the code that dereferences `at`, each with its own argument.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out addresses and lengths only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd`, to read and write.
    pub(crate) fn writable(fd: impl AsFd, len: usize) -> io::Result<Mapping> {
        Mapping::new(
            fd,
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
        )
        .call("mmap(2)")
    }

    /// Maps `len` bytes of `fd`, to read only.
    pub(crate) fn readable(fd: impl AsFd, len: usize) -> io::Result<Mapping> {
        match Mapping::new(&fd, len, ProtFlags::READ, MapFlags::SHARED) {
            // Before Linux 6.7, no shared mapping of a file that no process may write, not even one
            // to be read. A private one of it is the same pages.
            Err(Errno::PERM) if seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) => {
                Mapping::new(&fd, len, ProtFlags::READ, MapFlags::PRIVATE)
            }
            mapped => mapped,
        }
        .call("mmap(2)")
    }

    fn new(
        fd: impl AsFd,
        len: usize,
        protection: ProtFlags,
        kind: MapFlags,
    ) -> Result<Mapping, Errno> {
        if let Some(at) = huge_page_address(len) {
            // SAFETY: `NOREPLACE`: where something is mapped there by now, this is refused,
            // whatever length the kernel makes of `len`, which is a file's own affair. Kernels
            // before 4.17 take the address for a wish.
            let mapped = unsafe {
                let kind = kind | MapFlags::FIXED_NOREPLACE;
                rustix::mm::mmap(at, len, protection, kind, &fd, 0)
            };
            if let Some(at) = mapped.ok().and_then(|at| NonNull::new(at.cast())) {
                return Ok(Mapping { at, len });
            }
        }
        // SAFETY: the kernel chooses a fresh range, so no existing mapping is touched.
        let at = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, kind, fd, 0) }?;
        // The first page is never given out unless it is asked for.
        let at = NonNull::new(at.cast()).ok_or(Errno::NOMEM)?;
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

    /// Gives the file, which is as long as this, its memory now, all of it: in huge pages, where
    /// the system has them for it.
    ///
    /// As most systems are set up, a memory file gets huge pages only where they are asked for by
    /// `MADV_COLLAPSE`, since Linux 6.1. Says whether it has.
    pub(super) fn give_memory(&self, file: impl AsFd) -> io::Result<bool> {
        const MADV_COLLAPSE: libc::c_int = 25;
        let whole = self.len - self.len % HUGE_PAGE;
        let mut are_huge = false;
        if whole > 0 {
            // A huge page is made around one that is there.
            for at in (0..whole as u64).step_by(HUGE_PAGE) {
                reserve(&file, at..at + 1)?;
            }
            // SAFETY: the range is ours; the advice changes none of its bytes.
            let advised = unsafe { libc::madvise(self.at.as_ptr().cast(), whole, MADV_COLLAPSE) };
            are_huge = advised == 0;
        }
        // Whatever came of the advice: what is not there would be a SIGBUS on a full machine.
        reserve(&file, 0..self.len as u64)?;
        Ok(are_huge)
    }

    /// Copies bytes to `at` bytes behind the start. Of a mapping to be written, of a file that
    /// has its memory.
    ///
    /// # Panics
    /// There is no room for them.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.len), "within the mapping");
        // SAFETY: within the mapping, as was just seen. Nothing in this process has a reference to
        // its bytes. The copy is not atomic: another process that reads meanwhile gets some bytes
        // or others.
        unsafe {
            let to = self.at.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Writes zeros. Of a mapping to be written, of a file that has its memory.
    ///
    /// # Panics
    /// It is not within the mapping.
    pub(super) fn clear(&self, part: Range<usize>) {
        assert!(
            part.start <= part.end && part.end <= self.len,
            "within the mapping"
        );
        // SAFETY: as in `write`.
        unsafe { std::ptr::write_bytes(self.at.as_ptr().add(part.start), 0, part.len()) };
    }

    /// Fills `into` with what is `at` bytes behind the start, of a file that has its memory and
    /// cannot become shorter. Another process may write there meanwhile.
    ///
    /// # Panics
    /// There is not as much.
    pub(super) fn read<T: AnyBitPattern>(&self, at: usize, into: &mut [MaybeUninit<T>]) {
        let len = size_of_val(into);
        let end = at.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "within the mapping");
        // SAFETY: within the mapping, as was just seen; `into` is as long, and no part of it. The
        // copy is not atomic: a race with another process, which the language does not provide for,
        // leaves some bytes or others, and any bytes are a `T`.
        unsafe {
            let from = self.at.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(from, into.as_mut_ptr().cast(), len);
        }
    }

    /// Keeps the mapping out of children made by `fork`.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        // SAFETY: the range is ours; the advice changes what a child inherits, not what we see.
        unsafe { rustix::mm::madvise(self.at.as_ptr().cast(), self.len, Advice::LinuxDontFork) }
            .call("madvise(2)")
    }
}

/// Where a huge page can begin, and `len` bytes were free a moment ago. `None`: they are too few
/// for one, or there is no such place.
fn huge_page_address(len: usize) -> Option<*mut libc::c_void> {
    if len < HUGE_PAGE {
        return None;
    }
    let all = len.checked_add(HUGE_PAGE)?;
    // SAFETY: the kernel chooses a fresh range, which no other code has seen when it is unmapped.
    let range = unsafe {
        let reserved = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let none = ProtFlags::empty();
        let range = rustix::mm::mmap_anonymous(std::ptr::null_mut(), all, none, reserved).ok()?;
        rustix::mm::munmap(range, all).ok()?;
        range
    };
    let at = (range as usize).next_multiple_of(HUGE_PAGE);
    Some(range.wrapping_byte_add(at - range as usize))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range came from `mmap` with this length and nothing borrowed from `self`
        // outlives it; what borrows from it for longer than the compiler sees (`HostRings`) keeps
        // it.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
