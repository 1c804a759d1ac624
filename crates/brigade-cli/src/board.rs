//! A piece of memory that tasks of both kinds can reach: where they meet, wait, and count.
//!
//! Problem: an experiment needs its workers to start together and to wait for one another, in
//! threads and in processes alike, before the library has channels. A named file or socket would
//! stay behind when the program is killed.
//!
//! So: an anonymous memfd in the host, sealed in size. Its [`Ticket`] travels in a task's input. A
//! thread finds the host's own mapping; a worker process opens `/proc/<host>/fd/<n>`, which leads
//! to the same memory and has no name of its own. All waits are on futexes and have a deadline.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;
use serde::{Deserialize, Serialize};

use crate::fail::{Failure, OrFail as _};

/// Distance between two cells. Two cache lines, for the hardware fetches them in pairs.
const CELL: usize = 128;

/// The boards of this process, by descriptor, so that a thread uses the mapping that is there.
static HERE: Mutex<BTreeMap<i32, Weak<Mapping>>> = Mutex::new(BTreeMap::new());

/// Shared memory, mapped. Unmapped when the last user drops it.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that stays where it is until drop; all access goes through
// atomics, or through raw pointers whose users order their accesses by those atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a plain reference into the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a memfd.
    pub(crate) fn of(fd: BorrowedFd<'_>, len: usize) -> Result<Self, Failure> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose a free place, so no existing memory is
        // replaced.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                fd,
                0,
            )
        };
        let start = start.or_fail("mapping shared memory")?;
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| Failure::new("mapping shared memory: at address 0"))?;
        Ok(Self { start, len })
    }

    /// A pointer to `len` bytes at `offset`. Who uses it orders its accesses by a cell.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "outside the board"
        );
        // SAFETY: `offset` is within the mapping, as just checked.
        unsafe { self.start.add(offset) }
    }

    /// The small cell number `index`: a word that can be waited on.
    pub(crate) fn word(&self, index: usize) -> &AtomicU32 {
        let at = self
            .bytes(index * CELL, size_of::<AtomicU32>())
            .cast::<AtomicU32>();
        // SAFETY: in bounds (checked by `bytes`), aligned (mappings start on a page, cells on 128
        // bytes), alive as long as `self`, and only ever accessed as an atomic of this size.
        unsafe { at.as_ref() }
    }

    /// The wide cell number `index`: a counter. Use a number for one of the two, not for both.
    pub(crate) fn counter(&self, index: usize) -> &AtomicU64 {
        let at = self
            .bytes(index * CELL, size_of::<AtomicU64>())
            .cast::<AtomicU64>();
        // SAFETY: as in `word`.
        unsafe { at.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `of` mapped; nobody holds a pointer into it, for all of them borrow
        // from `self` or belong to an object that owns it.
        let done = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(done.is_ok(), "munmap of our own mapping: {done:?}");
    }
}

/// The host's side of a board: it lives as long as this.
#[derive(Debug)]
pub(crate) struct Board {
    fd: OwnedFd,
    mapping: Arc<Mapping>,
}

/// What a task is given to find the board.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ticket {
    host: u32,
    fd: i32,
    len: usize,
}

impl Board {
    /// A zeroed board with room for `cells` cells.
    pub(crate) fn new(cells: usize) -> Result<Self, Failure> {
        Self::with_len(cells * CELL)
    }

    /// A zeroed board of `len` bytes.
    pub(crate) fn with_len(len: usize) -> Result<Self, Failure> {
        let fd = memfd_create(
            "brigade-board",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .or_fail("making anonymous shared memory")?;
        ftruncate(&fd, len as u64).or_fail("sizing shared memory")?;
        // Nobody can cut the memory off under another's feet: that would be a SIGBUS.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .or_fail("sealing shared memory")?;
        let mapping = Arc::new(Mapping::of(fd.as_fd(), len)?);
        let mut here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
        here.insert(fd.as_raw_fd(), Arc::downgrade(&mapping));
        Ok(Self { fd, mapping })
    }

    /// For a task's input.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket {
            host: std::process::id(),
            fd: self.fd.as_raw_fd(),
            len: self.mapping.len,
        }
    }

    /// The memory itself.
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The descriptor, for a helper program that inherits it.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let mut here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
        here.remove(&self.fd.as_raw_fd());
    }
}

impl Ticket {
    /// The board's memory, in whatever process this task runs.
    pub(crate) fn open(self) -> Result<Arc<Mapping>, Failure> {
        if self.host == std::process::id() {
            let here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
            return here
                .get(&self.fd)
                .and_then(Weak::upgrade)
                .ok_or_else(|| Failure::new("the host's board is gone"));
        }
        let path = format!("/proc/{}/fd/{}", self.host, self.fd);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .or_fail(&format!("opening {path}"))?;
        let size = file.metadata().or_fail(&path)?.size();
        if size != self.len as u64 {
            return Err(Failure::new(format!(
                "{path} has {size} bytes, not {}",
                self.len
            )));
        }
        Ok(Arc::new(Mapping::of(file.as_fd(), self.len)?))
    }
}

/// Sleeps while the word is `seen`. Comes back early now and then: the caller looks again.
pub(crate) fn sleep_while(word: &AtomicU32, seen: u32, deadline: Instant) -> Result<(), Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::by_other_side(
            "a wait on shared memory took too long",
        ));
    }
    let left: Duration = left.min(Duration::from_secs(1));
    let timeout = rustix::time::Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    // Not PRIVATE: the other side may be another process.
    match futex::wait(word, futex::Flags::empty(), seen, Some(&timeout)) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(error) => Err(Failure::new(format!("waiting on shared memory: {error}"))),
    }
}

/// Wakes whoever sleeps on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    // Waking can only fail on a bad address, which a reference is not.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX.cast_unsigned());
}

/// Sleeps until the word is at least `target`.
pub(crate) fn await_at_least(
    word: &AtomicU32,
    target: u32,
    within: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + within;
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen >= target {
            return Ok(());
        }
        sleep_while(word, seen, deadline)?;
    }
}

/// Adds one and wakes whoever waits for the sum.
pub(crate) fn arrive(word: &AtomicU32) {
    word.fetch_add(1, Ordering::AcqRel);
    wake_all(word);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_leads_to_the_same_memory_in_this_process() {
        let board = Board::new(2).unwrap();
        let again = board.ticket().open().unwrap();
        again.word(0).store(7, Ordering::Relaxed);
        assert_eq!(board.mapping().word(0).load(Ordering::Relaxed), 7);
        assert!(Arc::ptr_eq(board.mapping(), &again));
    }

    #[test]
    fn a_ticket_outlives_its_board_only_as_an_error() {
        let ticket = Board::new(1).unwrap().ticket();
        assert!(ticket.open().is_err());
    }

    #[test]
    fn a_wait_has_an_end() {
        let word = AtomicU32::new(0);
        let failed = await_at_least(&word, 1, Duration::from_millis(5));
        assert!(failed.unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn arriving_wakes_the_one_who_waits() {
        let board = Board::new(1).unwrap();
        let ticket = board.ticket();
        let other = std::thread::spawn(move || arrive(ticket.open().unwrap().word(0)));
        await_at_least(board.mapping().word(0), 1, Duration::from_secs(10)).unwrap();
        other.join().unwrap();
    }

    #[test]
    #[should_panic(expected = "outside the board")]
    fn cells_are_checked() {
        Board::new(1).unwrap().mapping().word(1);
    }
}
