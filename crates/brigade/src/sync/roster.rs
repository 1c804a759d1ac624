//! Who is alive: the table in which every process that may hold a lock can be looked up by every other, and the word to sleep on until one dies.
//!
//! Problem: a lock in shared memory outlives its holder. Whoever waits for it must learn that the holder is dead; be woken when it dies; and must not
//! mistake another process, which was given the same number later, for the holder. Process numbers are no good for this: they are used again, and a
//! process in a namespace of its own cannot see those outside it.
//!
//! So each process has a [`Token`], which a lock word holds while the process holds the lock:
//!
//! - The program itself, the *host*, has one that never dies: the others do not outlive it.
//! - A *worker* has its slot in the fork server's table and that slot's generation. The table says which generation lives there, or that it is dead. It is
//!   written by the fork server, when it reaps the worker, and by the host, when the fork server itself is gone. Workers have a descriptor and a mapping of it that
//!   can only be read.
//! - An *outsider* is a worker of a worker. Its fork server cannot write the table, so its token has its process number and a digest of the time when
//!   it was started, and the kernel is asked (`/proc`, proc(5)). Who waits for an outsider looks again every 5 ms.
//!
//! Each death changes the *epoch*. Who waits for anything that a process may hold sleeps on two words at once, its own and the epoch ([`Vigil`]); so no wake-up
//! that a dying process has forgotten, or has received and taken along, is ever missed.
//!
//! Limits: 16,384 workers of a host at a time; a lock that nobody looks at while its dead holder's slot is given out 65,535 times, and
//! then when the same generation lives there again, seems held until that one ends. A process that a task forks by itself has its parent's
//! token: its own death is not noticed.

#![expect(unsafe_code, reason = "memory shared with other processes")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::sys::fds::Pinned;
use crate::sys::futex::{self, Wake};
use crate::sys::mapping::{Mapping, sized_memfd};

/// Slots, one for each worker that the fork server may have at a time.
pub(crate) const SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
const GENERATIONS: u32 = 1 << 16;
const OUTSIDER: u32 = 1 << 30;
const PID_BITS: u32 = 22;

/// Where the slots begin; the epoch is alone on its page's first line.
const SLOTS_AT: usize = 128;
const LEN: usize = (SLOTS_AT + SLOTS as usize * 4).next_multiple_of(4096);

/// How long one sleep lasts when nobody would wake us: the holder is an outsider, or there is no table.
const SLICE: Duration = Duration::from_millis(5);

/// A process that may hold a lock, in 31 bits, not zero; the highest bit is the lock word's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u32);

impl Token {
    /// The bits of a word that are a token.
    pub(crate) const MASK: u32 = (1 << 31) - 1;
    const HOST: Token = Token(OUTSIDER);

    /// This process's.
    pub(crate) fn mine() -> Token {
        Token(MINE.load(Ordering::Relaxed))
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// Whatever is in shared memory: garbage is the token of somebody dead. `None`: nobody's.
    pub(crate) fn from_bits(bits: u32) -> Option<Token> {
        Some(Token(bits & Token::MASK)).filter(|t| t.0 != 0)
    }

    /// A worker's, in a slot of the table.
    pub(crate) fn worker(slot: u32, generation: u32) -> Token {
        debug_assert!(slot < SLOTS && (1..GENERATIONS).contains(&generation));
        Token(generation << SLOT_BITS | slot)
    }

    /// This process's, if the table is not its own fork server's to write.
    pub(crate) fn outsider() -> io::Result<Token> {
        let pid = std::process::id();
        let digest =
            start_digest(pid).ok_or_else(|| io::Error::other("/proc/self/stat says nothing"))?;
        if pid >= 1 << PID_BITS {
            return Err(io::Error::other("a process number of more than 22 bits"));
        }
        Ok(Token(OUTSIDER | digest << PID_BITS | pid))
    }

    fn is_outsider(self) -> bool {
        self.0 & OUTSIDER != 0 && self != Token::HOST
    }
}

/// Eight bits of the time at which a live process was started. `None`: there is no such process, or it has ended.
fn start_digest(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state …, and the time is field 22; the name may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let started: u64 = fields.nth(18)?.parse().ok()?;
    Some((started ^ started >> 8 ^ started >> 16) as u32 & 0xff)
}

static MINE: AtomicU32 = AtomicU32::new(Token::HOST.0);
/// The table of this process: made at the first need in a host, inherited by a worker.
static CURRENT: AtomicPtr<Roster> = AtomicPtr::new(std::ptr::null_mut());

/// The table.
#[derive(Debug)]
pub(crate) struct Roster {
    mapping: Mapping,
    /// The file, to pass on. A worker's task might close the number.
    file: Pinned,
    /// The process that made this; a fork of it (not one of ours) needs its own.
    maker: Option<u32>,
}

impl Roster {
    /// This process's table, made if there is none.
    pub(crate) fn get() -> io::Result<&'static Roster> {
        let old = CURRENT.load(Ordering::Acquire);
        if let Some(roster) = Roster::usable(old) {
            return Ok(roster);
        }
        let file = sized_memfd("brigade-roster", LEN)?;
        let mapping = Mapping::writable(&file, LEN)?;
        // So that a worker, which gets it to read, cannot open it anew to write, unless it is root.
        rustix::fs::fchmod(&file, Mode::RUSR)?;
        let roster = Roster {
            file: Pinned::leaked(file)?,
            mapping,
            maker: Some(std::process::id()),
        };
        Ok(roster.install(old))
    }

    fn usable(current: *mut Roster) -> Option<&'static Roster> {
        // SAFETY: null, or from `install`, whose value is never freed.
        let roster: &'static Roster = unsafe { current.as_ref() }?;
        roster
            .maker
            .is_none_or(|maker| maker == std::process::id())
            .then_some(roster)
    }

    /// Makes this the process's table in place of `old`, unless another thread was quicker. It stays for good: others may be asleep on it.
    fn install(self, old: *mut Roster) -> &'static Roster {
        let new = Box::into_raw(Box::new(self));
        match CURRENT.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: see above.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: `new` was made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, for it took the place of what was there; never freed.
                unsafe { &*theirs }
            }
        }
    }

    /// In a fork server: the table that came from the host, for the workers that will be forked. They can read it only.
    pub(crate) fn adopt(file: OwnedFd) -> io::Result<Option<Registrar>> {
        let writable = Mapping::writable(&file, LEN);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let roster = Roster {
            mapping: Mapping::readable(&file, LEN)?,
            file: Pinned::leaked(file)?,
            maker: None,
        };
        roster.install(CURRENT.load(Ordering::Acquire));
        match writable {
            Ok(mapping) => {
                mapping.keep_from_children()?;
                Ok(Some(Registrar { mapping }))
            }
            // Opened to be read: it is the table of a host further up.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The file of the table, to give to a fork server.
    pub(crate) fn file(&self) -> &Pinned {
        &self.file
    }

    fn epoch(&self) -> &AtomicU32 {
        epoch(&self.mapping)
    }

    /// Changes with each death.
    pub(crate) fn deaths(&self) -> u32 {
        self.epoch().load(Ordering::Relaxed)
    }

    /// Wakes all who wait for a death, though no epoch has changed: all that a fork server can do that may not write the table.
    pub(crate) fn stir(&self) {
        futex::wake_all_shared(self.epoch());
    }

    /// The host, when its fork server is gone and this worker with it.
    pub(crate) fn bury(&self, slot: u32) {
        // Another host's table, which this one may only read.
        if self.maker.is_some() {
            bury(&self.mapping, slot);
        }
    }
}

/// The fork server's own mapping of the table, which it writes.
#[derive(Debug)]
pub(crate) struct Registrar {
    mapping: Mapping,
}

impl Registrar {
    /// A new worker in this slot. Gives its token.
    pub(crate) fn enter(&self, slot: u32) -> Token {
        let word = slot_word(&self.mapping, slot);
        let generation = ((word.load(Ordering::Relaxed) >> 1) + 1) % GENERATIONS;
        let generation = generation.max(1);
        word.store(generation << 1, Ordering::Release);
        Token::worker(slot, generation)
    }

    /// The worker in this slot is dead: whoever waits for it looks again.
    pub(crate) fn bury(&self, slot: u32) {
        bury(&self.mapping, slot);
    }
}

fn epoch(mapping: &Mapping) -> &AtomicU32 {
    // SAFETY: the mapping is `LEN` long and page-aligned; an atomic of any value is valid.
    unsafe { mapping.at().cast().as_ref() }
}

fn slot_word(mapping: &Mapping, slot: u32) -> &AtomicU32 {
    assert!(slot < SLOTS, "a slot of the roster");
    // SAFETY: in bounds (asserted) and aligned; an atomic of any value is valid.
    unsafe {
        mapping
            .at()
            .add(SLOTS_AT)
            .cast::<AtomicU32>()
            .add(slot as usize)
            .as_ref()
    }
}

fn bury(mapping: &Mapping, slot: u32) {
    slot_word(mapping, slot).fetch_or(1, Ordering::AcqRel);
    epoch(mapping).fetch_add(1, Ordering::AcqRel);
    futex::wake_all_shared(epoch(mapping));
}

/// A worker, first thing after the fork: this is who it is.
pub(crate) fn become_worker(token: Token) {
    MINE.store(token.0, Ordering::Relaxed);
}

/// A watch over the living, to be begun *before* looking at who holds what: a death after that ends the sleep.
#[derive(Debug)]
pub(crate) struct Vigil {
    roster: Option<&'static Roster>,
    epoch: u32,
    /// Somebody that we looked up cannot wake us when it dies.
    sliced: bool,
}

impl Vigil {
    /// Begins to watch.
    pub(crate) fn begin() -> Vigil {
        // Without one (no descriptors left) the sleep is cut into slices, and there are no workers to look up.
        let roster = Roster::get().ok();
        Vigil {
            epoch: roster.map_or(0, |r| r.epoch().load(Ordering::Acquire)),
            sliced: roster.is_none(),
            roster,
        }
    }

    /// Whether this process is dead. Of one that lives and may die unseen, the sleep takes note.
    pub(crate) fn is_dead(&mut self, token: Token) -> bool {
        if token == Token::HOST || token == Token::mine() {
            return false;
        }
        if token.is_outsider() {
            let pid = token.0 & ((1 << PID_BITS) - 1);
            let digest = token.0 >> PID_BITS & 0xff;
            if start_digest(pid) != Some(digest) {
                return true;
            }
            self.sliced = true;
            return false;
        }
        let Some(roster) = self.roster else {
            return false;
        };
        let (slot, generation) = (token.0 & (SLOTS - 1), token.0 >> SLOT_BITS);
        // No worker has generation 0, though the table of a slot that was never used says so.
        generation == 0
            || slot_word(&roster.mapping, slot).load(Ordering::Acquire) != generation << 1
    }

    /// Sleeps while `word` is `expected` and nobody has died, and no longer than until the deadline. May come back early.
    pub(crate) fn sleep(&self, word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
        let now = Instant::now();
        if deadline.is_some_and(|at| at <= now) {
            return Wake::TimedOut;
        }
        let slice = self.sliced.then(|| now + SLICE);
        let (until, cut) = match (deadline, slice) {
            (Some(at), Some(slice)) if slice < at => (Some(slice), true),
            (None, Some(slice)) => (Some(slice), true),
            (at, _) => (at, false),
        };
        let woken = match self.roster {
            Some(roster) => {
                futex::wait_either((word, expected), (roster.epoch(), self.epoch), until)
            }
            None => futex::wait_shared(word, expected, until),
        };
        if cut { Wake::Look } else { woken }
    }
}

/// Processes that are none: for tests, which cannot kill a thread.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A slot that no worker of the test's own will get, alive until it is killed.
    #[derive(Debug)]
    pub(crate) struct Puppet {
        slot: u32,
    }

    impl Puppet {
        /// Alive. The fork server gives out slots from the lowest; puppets have the highest.
        pub(crate) fn new() -> Puppet {
            static NEXT: AtomicU32 = AtomicU32::new(SLOTS - 1);
            let puppet = Puppet {
                slot: NEXT.fetch_sub(1, Ordering::Relaxed),
            };
            let roster = Roster::get().expect("a roster");
            slot_word(&roster.mapping, puppet.slot).store(1 << 1, Ordering::Release);
            puppet
        }

        pub(crate) fn token(&self) -> Token {
            Token::worker(self.slot, 1)
        }

        pub(crate) fn kill(self) {
            Roster::get().expect("a roster").bury(self.slot);
        }

        /// The token of one that has been dead for long.
        pub(crate) fn dead() -> Token {
            let puppet = Puppet::new();
            let token = puppet.token();
            puppet.kill();
            token
        }
    }
}
