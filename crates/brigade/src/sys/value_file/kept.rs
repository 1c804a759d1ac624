//! Files of large values that their writer keeps, with their mappings, for the next value.
//!
//! **When a file is free.** Each descriptor that is given out is one that was opened anew, to read
//! only. As long as one of them is open, or the file is mapped through it, in whatever process or
//! on its way in a socket, the kernel refuses a lease for writing (fcntl(2), `F_SETLEASE`); and it
//! knows when the last is gone, however it went. So nothing that a receiver says or forgets to say
//! has a file written to while it reads, and a receiver that holds on to one keeps only that one.
//!
//! **What is in one.** The last value, and zeros: what a longer one before it has left is written
//! over, for it was for another receiver's eyes.
//!
//! **How much is kept.** At most [`MOST_BYTES`] in a process, less where it may have little
//! ([`Allowance`]), and what was not used for a second is given back: by a thread that is there for
//! as long as there is something to give back; in a pool's worker, which has none of ours, when it
//! waits for tasks, begins one, or writes the next value. All other workers keep none: they may run
//! their one task for as long as they live.
//!
//! Where the system has no such leases, or no /proc to open files anew through, none is kept.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, SealFlags};
use rustix::process::Resource;

use super::put;
use crate::sys::error::errno_of;
use crate::sys::mapping::{self, HUGE_PAGE, Mapping, add_seals, allowed_size, memfd};
use crate::sys::opened;
use crate::sys::per_process::PerProcess;
use crate::sys::signal::Blocked;
use crate::sys::{cgroup, futex, process};

/// Of all files that a process keeps: two of 64 MiB and some.
const MOST_BYTES: usize = 160 << 20;

/// How many a process keeps: each takes a descriptor.
const MOST_FILES: usize = 16;

/// Kept files take at most this part of the memory that a process may have: an eighth.
const MEMORY_DIVISOR: u64 = 8;

/// The same part in each worker of a pool, of which there may be as many as processors, and more.
const WORKER_MEMORY_DIVISOR: u64 = 64;

/// Kept files are at most this part of the descriptors that a process may have.
const DESCRIPTORS_DIVISOR: u64 = 64;

/// How long a file is kept that is not used.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(1);

/// What gives back what this process keeps.
static GIVEN_BACK_BY: AtomicU8 = AtomicU8::new(BY_THREAD);

const BY_THREAD: u8 = 0;
/// The code that runs tasks here, by [`give_back`].
const BY_WORKER: u8 = 1;
/// Nothing is kept, so far.
const NOTHING_YET: u8 = 2;
/// Nothing is kept.
const NOTHING: u8 = 3;

/// Something is kept, or was.
static HAS_KEPT: AtomicBool = AtomicBool::new(false);

/// What a process keeps.
#[derive(Debug)]
struct KeptFiles {
    /// As it was when this process wrote its first large value.
    allowance: Allowance,
    /// Those that are not written just now; the one that was used last is the last.
    files: Vec<KeptFile>,
    /// Of all, those included that are written to.
    bytes: usize,
    count: usize,
    /// There is a thread that gives back.
    has_thread: bool,
}

static KEPT: PerProcess<Mutex<KeptFiles>> =
    PerProcess::new(|| Mutex::new(KeptFiles::new(Allowance::of_this_process())));

/// This process is a worker.
pub(crate) fn keep_nothing_yet() {
    change(BY_THREAD, NOTHING_YET);
}

/// This worker runs one task after another: it calls [`give_back`] between them.
pub(crate) fn give_back_between_tasks() {
    change(NOTHING_YET, BY_WORKER);
}

fn change(from: u8, to: u8) {
    let _ = GIVEN_BACK_BY.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
}

/// Nothing is to be kept in this process from now on: it may not do what that takes.
pub(crate) fn disable() {
    GIVEN_BACK_BY.store(NOTHING, Ordering::Relaxed);
}

/// A file with these bytes, `len` in all, that this process keeps. `None`: none can be had.
pub(super) fn write(parts: &[&[u8]], len: usize) -> Option<OwnedFd> {
    let by = GIVEN_BACK_BY.load(Ordering::Relaxed);
    if len > MOST_BYTES || !matches!(by, BY_THREAD | BY_WORKER) {
        return None;
    }
    let mut file = match take(len)? {
        WriteTarget::Taken(file) => file,
        WriteTarget::New(room) => room.fill()?,
    };
    put(parts, &file.mapping);
    file.clear_behind(len);
    // Until it is put back no other thread has it. Where the process has no descriptor left, it is
    // given up with its place.
    let reader = file.reader();
    file.used = Instant::now();
    match reader {
        Ok(reader) => {
            lock().put_back(file);
            Some(reader)
        }
        Err(_) => {
            lock().leave(file.mapping.len());
            None
        }
    }
}

/// Gives back what was not used for a while. Says whether anything is left.
pub(crate) fn give_back() -> bool {
    let mut kept = lock();
    let old = kept.take_old();
    let is_left = kept.count > 0;
    HAS_KEPT.store(is_left, Ordering::Relaxed);
    drop(kept);
    drop(old);
    is_left
}

/// Whether this process keeps anything, or has.
pub(crate) fn has_kept() -> bool {
    HAS_KEPT.load(Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, KeptFiles> {
    // It is never half-changed.
    KEPT.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a value is written to.
enum WriteTarget {
    Taken(KeptFile),
    New(KeepPermit),
}

/// A free file for `len` bytes; or the right to make one. `None`: as much is kept as may be.
fn take(len: usize) -> Option<WriteTarget> {
    let mut kept = lock();
    let old = kept.take_old();
    let place = kept.place(len);
    drop(kept);
    // Outside the lock: the kernel takes its time to let go of memory.
    drop(old);
    place
}

/// How much a process may keep.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    bytes: usize,
    files: usize,
}

impl Allowance {
    fn of_this_process() -> Allowance {
        let soft = |of| process::limit(of).and_then(|limit| limit.current);
        let memory = [
            process::memory_of_machine(),
            soft(Resource::As),
            cgroup::lowest_memory_max(),
        ];
        let share = match GIVEN_BACK_BY.load(Ordering::Relaxed) {
            BY_WORKER => WORKER_MEMORY_DIVISOR,
            _ => MEMORY_DIVISOR,
        };
        Allowance::of(
            memory.into_iter().flatten().min().unwrap_or(u64::MAX) / share,
            soft(Resource::Nofile).unwrap_or(u64::MAX) / DESCRIPTORS_DIVISOR,
        )
    }

    fn of(bytes: u64, files: u64) -> Allowance {
        Allowance {
            bytes: usize::try_from(bytes).map_or(MOST_BYTES, |n| n.min(MOST_BYTES)),
            files: usize::try_from(files).map_or(MOST_FILES, |n| n.min(MOST_FILES)),
        }
    }
}

impl KeptFiles {
    fn new(allowance: Allowance) -> KeptFiles {
        KeptFiles {
            allowance,
            files: Vec::new(),
            bytes: 0,
            count: 0,
            has_thread: false,
        }
    }

    fn place(&mut self, len: usize) -> Option<WriteTarget> {
        // A small value in a large file would keep it from a large one.
        let fits = |file: &KeptFile| {
            (len..=len.saturating_mul(4).max(HUGE_PAGE)).contains(&file.mapping.len())
        };
        let found = self
            .files
            .iter()
            .rposition(|file| fits(file) && file.is_free());
        if let Some(found) = found {
            return Some(WriteTarget::Taken(self.files.remove(found)));
        }
        let bytes = len.next_multiple_of(HUGE_PAGE);
        let Allowance { bytes: most, files } = self.allowance;
        if bytes > most || files == 0 {
            return None;
        }
        while self.bytes + bytes > most || self.count >= files {
            // One that is in use is used again soon.
            let unused = self.files.iter().position(KeptFile::is_free)?;
            let unused = self.files.remove(unused);
            self.leave(unused.mapping.len());
        }
        self.bytes += bytes;
        self.count += 1;
        Some(WriteTarget::New(KeepPermit(bytes)))
    }

    fn put_back(&mut self, file: KeptFile) {
        HAS_KEPT.store(true, Ordering::Relaxed);
        self.files.push(file);
        if !self.has_thread && GIVEN_BACK_BY.load(Ordering::Relaxed) == BY_THREAD {
            self.has_thread = start_thread().is_ok();
        }
    }

    /// A file is kept no longer.
    fn leave(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.count -= 1;
    }

    /// Those that were not used for a while, whichever thread has them.
    fn take_old(&mut self) -> Vec<KeptFile> {
        let now = Instant::now();
        let is_young = |file: &KeptFile| now.saturating_duration_since(file.used) < KEPT_FOR;
        let old = self
            .files
            .iter()
            .position(is_young)
            .unwrap_or(self.files.len());
        let old: Vec<_> = self.files.drain(..old).collect();
        for file in &old {
            self.leave(file.mapping.len());
        }
        old
    }
}

/// The right to keep one more file, of this many bytes.
struct KeepPermit(usize);

impl KeepPermit {
    fn fill(self) -> Option<KeptFile> {
        let made = KeptFile::new(self.0);
        if let Err(e) = &made {
            lock().leave(self.0);
            // Where there is only too little of something just now, there may be more later.
            if e.kind() == io::ErrorKind::Unsupported {
                disable();
            }
        }
        made.ok()
    }
}

fn start_thread() -> io::Result<()> {
    // The program's signals are for its own threads.
    let _blocked = Blocked::all();
    std::thread::Builder::new()
        .name("brigade-memory".to_owned())
        .spawn(|| {
            loop {
                futex::rest(KEPT_FOR);
                let is_left = give_back();
                let mut kept = lock();
                // What was kept since then saw that there is a thread.
                if !is_left && kept.count == 0 {
                    kept.has_thread = false;
                    return;
                }
            }
        })
        .map(drop)
}

/// A file that this process writes to, and no other can.
#[derive(Debug)]
struct KeptFile {
    file: OwnedFd,
    mapping: Mapping,
    /// Behind this many bytes there are zeros.
    filled: usize,
    used: Instant,
}

impl KeptFile {
    fn new(len: usize) -> io::Result<KeptFile> {
        // More than the value, which is allowed.
        allowed_size(len)?;
        // The kernel counts the times that a file is opened; its maker did not open it.
        let made = memfd("brigade-value")?;
        let file = open(&made, OFlags::RDWR)?;
        drop(made);
        mapping::set_len(&file, len)?;
        let mapping = Mapping::writable(&file, len)?;
        if !mapping.give_memory(&file)? {
            mapping.populate();
        }
        // A fork would have it, too, and keeps files of its own.
        mapping.keep_from_children()?;
        let by_none_later = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
        add_seals(&file, by_none_later | SealFlags::SEAL).map_err(unsupported)?;
        let file = KeptFile {
            file,
            mapping,
            filled: 0,
            used: Instant::now(),
        };
        file.keep_quiet()?;
        // Before anything is built on it: the kernel tells processes that have it from those that
        // have not.
        let reader = file.reader()?;
        let is_told = !file.is_free();
        drop(reader);
        match is_told && file.is_free() {
            true => Ok(file),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A value of `len` bytes was written. Nothing of a longer one before it is left.
    fn clear_behind(&mut self, len: usize) {
        self.mapping.clear(len..self.filled.max(len));
        self.filled = len;
    }

    /// A descriptor to read from, for others. While it is open, the file is not free.
    fn reader(&self) -> io::Result<OwnedFd> {
        open(&self.file, OFlags::RDONLY)
    }

    /// Whether no other process has it. The lease is given back at once.
    fn is_free(&self) -> bool {
        let lease = |kind: libc::c_int| {
            // SAFETY: an open descriptor; the command takes a number.
            let result = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, kind) };
            result == 0
        };
        lease(libc::F_WRLCK) && lease(libc::F_UNLCK)
    }

    /// A process that opens the file by way of /proc, just while this has the lease, has the kernel
    /// tell this process so: by SIGIO, which would end it. By another that is ignored, then.
    fn keep_quiet(&self) -> io::Result<()> {
        const F_SETSIG: libc::c_int = 10;
        // SAFETY: an open descriptor; the command takes a number.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), F_SETSIG, libc::SIGURG) } {
            -1 => Err(unsupported(io::Error::last_os_error())),
            _ => Ok(()),
        }
    }
}

/// The file behind a descriptor, opened anew.
fn open(fd: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    opened::file(path, flags).map_err(|e| match errno_of(&e) {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => e,
        _ => unsupported(e),
    })
}

fn unsupported(_: io::Error) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
