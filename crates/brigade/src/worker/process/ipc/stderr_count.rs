//! How much of each worker's stderr the fork server has read: what tells the text of one task from
//! that of the one before.
//!
//! Problem: the pipe of a worker of a pool carries the text of one task after another, and what
//! writes to it (a child, a C library) writes bytes and nothing else. A mark between them would be
//! text itself. So a place in the pipe is a number of bytes: those that were read, and those that
//! are still in the pipe. The fork server counts the first here; the worker asks for the second
//! (FIONREAD) when a task has ended, and notes the sum in its mailbox.
//!
//! A read takes bytes out of the pipe before they are counted, so a count says in its lowest bit
//! that a read is going on: a worker that sees that, or another count afterwards, asks again.
//!
//! Behind them is a word by which a worker sees that the fork server has ended, and has closed its
//! pipes ([`last_word`]): the worker does not report what a task that has met a broken pipe returns
//! then.
//!
//! The counts are one memory file for all workers of a fork server. It alone can write them: they
//! are sealed (F_SEAL_FUTURE_WRITE) when its own mapping is there, and that is not inherited.

#![expect(
    unsafe_code,
    reason = "memory shared by the fork server and its workers"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::SealFlags;

use crate::sys::last_word;
use crate::sys::mapping::{Mapping, add_seals, memfd, set_len};
use crate::worker::process::ipc::exit_table::SLOTS;

/// Where the word is, on cache lines of its own.
const LAST_WORD_AT: usize = SLOTS as usize * size_of::<AtomicU64>();
const LEN: usize = LAST_WORD_AT + 128;

/// A read is going on.
const READING: u64 = 1;

/// How often a worker asks until nothing was read meanwhile. A fork server that is in the middle of
/// a read is on another processor, or waits for this one.
const MAX_READS_SEEN: u32 = 100;

/// The counts of all workers, as the fork server sees them and as they do.
#[derive(Debug)]
pub(crate) struct StderrCounts {
    writable: &'static Mapping,
    readable: &'static Mapping,
    file: OwnedFd,
}

impl StderrCounts {
    /// In a fork server, which has them for as long as it lives.
    pub(crate) fn new() -> io::Result<StderrCounts> {
        let file = memfd("brigade-stderr")?;
        set_len(&file, LEN)?;
        let writable = Mapping::writable(&file, LEN)?;
        writable.keep_from_children()?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        add_seals(&file, seals | SealFlags::FUTURE_WRITE)?;
        let readable = Mapping::readable(&file, LEN)?;
        let writable: &'static Mapping = Box::leak(Box::new(writable));
        Ok(StderrCounts {
            writable,
            readable: Box::leak(Box::new(readable)),
            file,
        })
    }

    /// The fork server: its workers are to see when it has ended. Where that is refused, they do
    /// not.
    pub(crate) fn leave_last_word(&self) {
        let _ = last_word::leave(last_word_in(self.writable));
    }

    /// What they are in: for a worker that is no copy of the fork server.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The fork server's count of a worker that is about to be made.
    pub(crate) fn begin(&self, slot: u32) -> Count {
        let count = Count(word(self.writable, slot));
        count.0.store(0, Ordering::Release);
        count
    }

    /// This count, as the worker will see it.
    pub(crate) fn seen_by_worker(&self, slot: u32) -> StderrCount {
        StderrCount {
            count: word(self.readable, slot),
            last_word: last_word_in(self.readable),
        }
    }
}

fn last_word_in(mapping: &'static Mapping) -> &'static AtomicU32 {
    // SAFETY: in bounds (`LEN`) and aligned; an atomic of any bit pattern is valid; the mapping is
    // never dropped.
    unsafe { mapping.at().add(LAST_WORD_AT).cast().as_ref() }
}

fn word(mapping: &'static Mapping, slot: u32) -> &'static AtomicU64 {
    assert!(slot < SLOTS, "a slot of the exit table");
    // SAFETY: in bounds (asserted) and aligned (a mapping begins at a page); an atomic of any bit
    // pattern is valid; the mapping is never dropped.
    unsafe { mapping.at().cast::<AtomicU64>().add(slot as usize).as_ref() }
}

/// One worker's count; the fork server's side.
#[derive(Debug)]
pub(crate) struct Count(&'static AtomicU64);

impl Count {
    /// Of a worker that is none.
    #[cfg(test)]
    pub(in crate::worker::process) fn for_test() -> Count {
        Count(Box::leak(Box::default()))
    }

    /// How many bytes were read.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> 1
    }

    /// Reads, and counts what was read.
    pub(crate) fn reading<'b, E>(
        &self,
        read: impl FnOnce() -> Result<&'b [u8], E>,
    ) -> Result<&'b [u8], E> {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before | READING, Ordering::SeqCst);
        let read = read();
        let count = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.0
            .store((before & !READING) + (count << 1), Ordering::SeqCst);
        read
    }
}

/// One worker's count; the worker's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StderrCount {
    count: &'static AtomicU64,
    last_word: &'static AtomicU32,
}

impl StderrCount {
    /// That of a worker that was given the counts' file.
    pub(crate) fn map(file: impl AsFd, slot: u32) -> io::Result<StderrCount> {
        let readable = Mapping::readable(file, LEN)?;
        if slot >= SLOTS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let readable: &'static Mapping = Box::leak(Box::new(readable));
        Ok(StderrCount {
            count: word(readable, slot),
            last_word: last_word_in(readable),
        })
    }

    /// The word that the kernel marks when the fork server ends.
    #[inline]
    pub(crate) fn last_word(self) -> &'static AtomicU32 {
        self.last_word
    }

    /// How many bytes were ever written to this pipe. `None`: that cannot be found out now.
    pub(crate) fn written(self, pipe: BorrowedFd<'_>) -> Option<u64> {
        for _ in 0..MAX_READS_SEEN {
            let before = self.count.load(Ordering::SeqCst);
            if before & READING == 0 {
                // The task may have put something else there.
                let pending = rustix::io::ioctl_fionread(pipe).ok()?;
                // The kernel's lock on the pipe puts this after whatever was read before we asked.
                if self.count.load(Ordering::SeqCst) == before {
                    return Some((before >> 1) + pending);
                }
            }
            rustix::thread::sched_yield();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_what_was_not_is_counted() {
        let counts = StderrCounts::new().expect("memory");
        let (pipe, write) = rustix::pipe::pipe().expect("pipe");
        let (count, seen) = (counts.begin(7), counts.seen_by_worker(7));
        assert_eq!(seen.written(write.as_fd()), Some(0));
        rustix::io::write(&write, b"12345").expect("written");
        assert_eq!(seen.written(write.as_fd()), Some(5));
        let mut bytes = [0; 3];
        let read = count.reading(|| {
            // In the middle of a read it is not known.
            assert_eq!(seen.written(write.as_fd()), None);
            rustix::io::read(&pipe, &mut bytes[..]).map(|n| &bytes[..n])
        });
        assert_eq!((read, count.get()), (Ok(&b"123"[..]), 3));
        assert_eq!(seen.written(write.as_fd()), Some(5));
        // Another worker's.
        assert_eq!(counts.seen_by_worker(8).written(write.as_fd()), Some(2));
        assert_eq!(counts.begin(7).get(), 0);
    }
}
