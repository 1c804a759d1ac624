//! The liveness table in which every process that may hold a lock can be looked up by every
//! other, and the word to sleep on until one dies.
//!
//! Problem: a lock in shared memory outlives its holder. A process that waits for it must learn
//! that the holder is dead; be woken when it dies; and must not mistake another process, which was
//! given the same number later, for the holder. Process numbers are no good for this: they are used
//! again, and a process in a namespace of its own cannot see those outside it.
//!
//! So each process has a [`Token`], which a lock word holds while the process holds the lock:
//!
//! - The program itself, the *host*, has one that never dies: the others do not outlive it.
//! - A *worker* has a slot in its host's table and that slot's generation. The table says which
//!   generation lives there, or that it is dead.
//! - An *outsider* is a worker of a worker. Its fork server cannot write the table, so its token
//!   has its process number and a digest of the time when it was started, and the kernel is asked
//!   (`/proc`, proc(5)). A process that waits for an outsider looks again every 5 ms.
//!
//! **One table for each host**, whatever fork servers it has had, for a lock may be held by a
//! worker of any of them, and a process cannot map a table that was made after it was started. Two
//! fork servers may have workers at the same time (one was killed, and its last workers are still
//! dying while the next has begun). So the host gives out the slots ([`LivenessTable::allot`]),
//! each to one worker of one fork server, and gives a slot out again only when the generation that
//! had it is dead. A report of a death names the generation too: a late report never hits a
//! successor.
//!
//! **The writer**: the host, and its first fork server, which both map it before there is any
//! worker. Then the file is sealed ([`LivenessTable::seal`]), and no process can map it or write to
//! it any more: a worker that opens its read-only descriptor anew, which its mode does not keep it
//! from, for the worker is the file's owner, cannot write. A later fork server cannot either: it
//! tells its host of each death, and the host writes it down.
//!
//! Each death changes the *epoch*. A process that waits for what another may hold sleeps on two
//! words at once, its own and the epoch ([`DeathWatch`]); so no wake-up that a dying process has
//! forgotten, or has received and taken along, is ever missed.
//!
//! Limits: 16,384 workers of a host at a time, and more are outsiders; a lock that no process looks
//! at while its dead holder's slot is given out 65,535 times (slots are given out in turn, so that
//! is some 2^30 workers), and then when the same generation lives there again, seems held until
//! that one ends.
//!
//! **A fork** of any of them that is none of our workers (fork(2), past this library) becomes an
//! outsider at once ([`watch_forks`]), for it and its parent are two that may hold a lock; and it
//! reads its parent's table, as a worker would: its own workers are outsiders too. The host may end
//! before it; then the host's token is that of a dead process. A fork that is made by the bare
//! system call, without fork(3), has its parent's token: its own death is not noticed.

#![expect(unsafe_code, reason = "memory shared with other processes")]

mod death_watch;
#[cfg(test)]
pub(crate) mod testing;
mod token;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, SealFlags};

use crate::sys::fds::Pinned;
use crate::sys::futex;
use crate::sys::mapping::{self, Mapping, SIZE_SEALS, memfd_of};
use crate::sys::{opened, original, process};
pub(crate) use death_watch::DeathWatch;
use token::{GENERATIONS, MINE, ProcessLife, life_of};
pub(crate) use token::{SLOTS, Token};

/// The lowest bit of a slot's word; the others are the generation.
const DEAD: u32 = 1;

/// Where the slots begin. The epoch has the first cache lines of the page to itself.
const SLOTS_AT: usize = 128;
const LEN: usize = (SLOTS_AT + SLOTS as usize * 4).next_multiple_of(4096);

/// A fork of the host has another token than it, too, and is none.
static IS_WORKER: AtomicBool = AtomicBool::new(false);
/// The table of this process: made at the first need in a host, inherited by a worker.
static CURRENT: AtomicPtr<LivenessTable> = AtomicPtr::new(std::ptr::null_mut());

/// The table.
#[derive(Debug)]
pub(crate) struct LivenessTable {
    mapping: Mapping,
    /// The file, to read only and to pass on. A worker's task might close the number.
    file: Pinned,
    /// The file, to write, for a fork server: until it is sealed.
    to_write: Mutex<Option<OwnedFd>>,
    /// The process that made this; a fork of it (not one of ours) needs its own.
    maker: Option<u32>,
    /// In a fork of the host: the host, which may end before it.
    host: Option<u32>,
    /// Where a free slot is looked for next.
    next: AtomicU32,
}

impl LivenessTable {
    /// This process's table, made if there is none.
    pub(crate) fn get() -> io::Result<&'static LivenessTable> {
        let old = CURRENT.load(Ordering::Acquire);
        if let Some(liveness) = LivenessTable::usable(old) {
            return Ok(liveness);
        }
        // SAFETY: as in `usable`.
        if let Some(above) = unsafe { old.as_ref() } {
            return Ok(above.of_a_fork()?.install(old));
        }
        watch_forks();
        IS_KNOWN.store(true, Ordering::Relaxed);
        let file = memfd_of("brigade-liveness", LEN, SIZE_SEALS)?;
        let mapping = Mapping::writable(&file, LEN)?;
        let liveness = LivenessTable {
            // Here: a fork server may be another user's, if the program has become that meanwhile.
            file: Pinned::leaked(to_read(&file)?)?,
            to_write: Mutex::new(Some(file)),
            mapping,
            maker: Some(std::process::id()),
            host: None,
            next: AtomicU32::new(0),
        };
        Ok(liveness.install(old))
    }

    /// In a fork of the process that made this: the same table, to be read.
    fn of_a_fork(&self) -> io::Result<LivenessTable> {
        let file = self.file.get().ok_or(io::ErrorKind::NotFound)?;
        let file = opened::copy(file)?;
        Ok(LivenessTable {
            mapping: Mapping::readable(&file, LEN)?,
            file: Pinned::leaked(file)?,
            to_write: Mutex::new(None),
            maker: None,
            host: self.maker,
            next: AtomicU32::new(0),
        })
    }

    fn usable(current: *mut LivenessTable) -> Option<&'static LivenessTable> {
        // SAFETY: null, or from `install`, whose value is never freed.
        let liveness: &'static LivenessTable = unsafe { current.as_ref() }?;
        liveness
            .maker
            .is_none_or(|maker| maker == std::process::id())
            .then_some(liveness)
    }

    /// Makes this the process's table in place of `old`, unless another thread was quicker. It
    /// stays for good: others may be asleep on it.
    fn install(self, old: *mut LivenessTable) -> &'static LivenessTable {
        let new = Box::into_raw(Box::new(self));
        match CURRENT.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: see above.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: `new` was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, for it took the place of what was there; never freed.
                unsafe { &*theirs }
            }
        }
    }

    /// In a fork server: the table that came from the host, for the workers that will be forked.
    /// They can read it only; so can the fork server, if it did not get a second descriptor, or if
    /// that file is sealed: then it gets no writer.
    pub(crate) fn adopt(
        file: OwnedFd,
        to_write: Option<OwnedFd>,
    ) -> io::Result<Option<LivenessWriter>> {
        let liveness = LivenessTable {
            mapping: Mapping::readable(&file, LEN)?,
            file: Pinned::leaked(file)?,
            to_write: Mutex::new(None),
            maker: None,
            host: None,
            next: AtomicU32::new(0),
        };
        watch_forks();
        liveness.install(CURRENT.load(Ordering::Acquire));
        let Some(to_write) = to_write else {
            return Ok(None);
        };
        match Mapping::writable(&to_write, LEN) {
            Ok(mapping) => {
                mapping.keep_from_children()?;
                Ok(Some(LivenessWriter { mapping }))
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The file of the table, to read, to give to a fork server.
    pub(crate) fn file(&self) -> &Pinned {
        &self.file
    }

    /// The table to write, for a fork server that is started before it is sealed.
    pub(crate) fn to_write(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.to_write.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self) -> &AtomicU32 {
        epoch(&self.mapping)
    }

    /// Changes with each death.
    pub(crate) fn deaths(&self) -> u32 {
        self.epoch().load(Ordering::Relaxed)
    }

    /// Wakes all that wait for a death, though no epoch has changed: all that a fork server can do
    /// that may not write the table.
    pub(crate) fn announce_change(&self) {
        futex::wake_all_shared(self.epoch());
    }

    /// Whether this process is not the one that made the table, which alone gives out its slots.
    fn is_fork_of_owner(&self) -> bool {
        self.maker.is_none_or(|maker| maker != std::process::id())
    }

    /// The host, when the processes that may write the table have mapped it, and before there is
    /// any worker: no process can from now on, by whatever descriptor.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let mut to_write = self.to_write();
        let Some(file) = &*to_write else {
            return Ok(());
        };
        mapping::add_seals(file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        *to_write = None;
        Ok(())
    }

    /// The host: the token of a worker that will be made, alive from now on. `None`: there is no
    /// slot for it, or the table is that of a host further up.
    pub(crate) fn allot(&self) -> Option<Token> {
        if self.is_fork_of_owner() {
            return None;
        }
        (0..SLOTS).find_map(|_| {
            let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
            let word = slot_word(&self.mapping, slot);
            let seen = word.load(Ordering::Relaxed);
            if seen != 0 && seen & DEAD == 0 {
                return None;
            }
            let generation = ((seen >> 1) + 1) % GENERATIONS;
            let generation = generation.max(1);
            word.compare_exchange(seen, generation << 1, Ordering::AcqRel, Ordering::Relaxed)
                .ok()?;
            Some(Token::worker(slot, generation))
        })
    }

    /// Marks a worker that has died, or was never made, as dead, and wakes those that wait for a
    /// lock of its. For the host.
    pub(crate) fn mark_dead(&self, token: Token) {
        // Another host's table may only be read.
        if !self.is_fork_of_owner() {
            mark_dead(&self.mapping, token);
        }
    }
}

/// The first fork server's own mapping of the table, which it writes.
#[derive(Debug)]
pub(crate) struct LivenessWriter {
    mapping: Mapping,
}

impl LivenessWriter {
    /// This worker is dead: each process that waits looks again.
    pub(crate) fn mark_dead(&self, token: Token) {
        mark_dead(&self.mapping, token);
    }
}

/// Another descriptor of this file, which can only be read.
fn to_read(file: impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    opened::file(&path, OFlags::RDONLY)
}

fn epoch(mapping: &Mapping) -> &AtomicU32 {
    // SAFETY: the mapping is `LEN` long and page-aligned; an atomic of any value is valid. Where it
    // is mapped to be read only, it is only loaded.
    unsafe { mapping.at().cast().as_ref() }
}

fn slot_word(mapping: &Mapping, slot: u32) -> &AtomicU32 {
    assert!(slot < SLOTS, "a slot of the liveness table");
    // SAFETY: in bounds (asserted) and aligned; an atomic of any value is valid, and only loaded
    // where it is mapped to be read only.
    unsafe {
        mapping
            .at()
            .add(SLOTS_AT)
            .cast::<AtomicU32>()
            .add(slot as usize)
            .as_ref()
    }
}

/// Nothing happens if that generation is dead already, or another lives in its slot.
fn mark_dead(mapping: &Mapping, token: Token) {
    let Some((slot, generation)) = token.place() else {
        return;
    };
    let alive = generation << 1;
    let marked = slot_word(mapping, slot).compare_exchange(
        alive,
        alive | DEAD,
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    if marked.is_ok() {
        epoch(mapping).fetch_add(1, Ordering::AcqRel);
        futex::wake_all_shared(epoch(mapping));
    }
}

/// A worker, first thing after the fork: this is its name.
pub(crate) fn become_worker(token: Token) {
    IS_WORKER.store(true, Ordering::Relaxed);
    MINE.store(token.0, Ordering::Relaxed);
    IS_KNOWN.store(true, Ordering::Relaxed);
}

/// Others may know this process by its token, so a fork of it needs another. Not so the fork
/// server, of which each worker is a fork.
static IS_KNOWN: AtomicBool = AtomicBool::new(false);

/// Called when memory for locks is made: from then on each fork of this process gets a token of its
/// own. If the table cannot be made now, forks keep this process's token until a later call
/// succeeds.
pub(crate) fn expect_forks() {
    if !IS_KNOWN.load(Ordering::Relaxed) {
        // The error is for the next caller, which needs the table.
        let _ = LivenessTable::get();
    }
}

/// Has each fork of this process, and of those, become an outsider.
fn watch_forks() {
    extern "C" fn become_outsider() {
        // Without /proc, the parent's token is kept.
        if IS_KNOWN.load(Ordering::Relaxed) {
            if let Some(token) = Token::try_outsider() {
                MINE.store(token.0, Ordering::Relaxed);
            }
        }
    }
    original::watch_forks(become_outsider);
}

/// Whether this process, which is our parent or one above it, has ended.
fn has_ended(pid: u32) -> bool {
    pid != 0 && process::parent().ok() != Some(pid) && life_of(pid) == ProcessLife::Ended
}

/// Whether this process is a worker: the program that it is of goes on without it.
pub(crate) fn is_worker() -> bool {
    IS_WORKER.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {

    use super::testing::FakeProcess;
    use super::token::OUTSIDER;
    use super::*;

    fn is_dead(token: Token) -> bool {
        DeathWatch::begin().is_dead(token)
    }

    #[test]
    fn no_two_of_the_living_have_the_same_slot() {
        let all: Vec<_> = (0..1000).map(|_| FakeProcess::new()).collect();
        let mut slots: Vec<_> = all.iter().map(|p| p.token().place()).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), all.len());
        assert!(all.iter().all(|p| !is_dead(p.token())));
        all.into_iter().for_each(FakeProcess::kill);
    }

    #[test]
    fn a_late_report_of_a_death_does_not_hit_the_successor() {
        let liveness = LivenessTable::get().expect("a liveness table");
        let first = FakeProcess::dead();
        let (slot, generation) = first.place().expect("a worker's");
        // The one that would have the slot when all others were in use.
        let successor = loop {
            let next = FakeProcess::new();
            match next.token().place() {
                Some((same, _)) if same == slot => break next,
                _ => next.kill(),
            }
        };
        assert_eq!(successor.token(), Token::worker(slot, generation + 1));
        liveness.mark_dead(first);
        assert!(is_dead(first) && !is_dead(successor.token()));
        successor.kill();
    }

    #[test]
    fn a_table_that_is_full_gives_out_nothing_and_one_of_another_host_neither() {
        let table = |maker| LivenessTable {
            mapping: Mapping::writable(memfd_of("test", LEN, SIZE_SEALS).expect("memfd"), LEN)
                .expect("mmap"),
            file: Pinned::new(std::io::stdin()).expect("pinned"),
            to_write: Mutex::new(None),
            maker,
            host: None,
            next: AtomicU32::new(7),
        };
        let ours = table(Some(std::process::id()));
        let all: Vec<_> = std::iter::from_fn(|| ours.allot()).collect();
        assert_eq!(all.len(), SLOTS as usize);
        ours.mark_dead(all[9]);
        assert_eq!(
            ours.allot(),
            Some(Token::worker(all[9].place().expect("a worker's").0, 2))
        );
        assert_eq!(ours.allot(), None);
        assert_eq!(table(None).allot(), None);
    }

    #[test]
    fn garbage_is_nobody_alive() {
        for bits in [1, SLOTS - 1, Token::MASK & !OUTSIDER] {
            let token = Token::from_bits(bits).expect("somebody's");
            let lives_there = token.place().is_some() && !is_dead(token);
            assert!(!lives_there, "{bits:#x}");
            // No process in the table is marked dead by it.
            LivenessTable::get()
                .expect("a liveness table")
                .mark_dead(token);
        }
    }

    #[test]
    fn a_sealed_table_can_be_written_through_older_mappings_only() {
        let file = memfd_of("test", LEN, SIZE_SEALS).expect("memfd");
        let mapping = Mapping::writable(&file, LEN).expect("mmap");
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).expect("sealed");
        let e = Mapping::writable(&file, LEN).expect_err("sealed");
        assert_eq!(e.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            rustix::io::pwrite(&file, &[1], 0),
            Err(rustix::io::Errno::PERM)
        );
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(&file, punch, 0, 4096).is_err());
        let read = Mapping::readable(&file, LEN).expect("to be read");
        slot_word(&mapping, 3).store(8, Ordering::Release);
        assert_eq!(slot_word(&read, 3).load(Ordering::Acquire), 8);
    }
}
