//! What names a process in a lock's word; and whether a process lives that is in no table.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::sys::{numbers, process};

/// Slots, one for each worker that a host may have at a time.
pub(crate) const SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
pub(super) const GENERATIONS: u32 = 1 << 16;
pub(super) const OUTSIDER: u32 = 1 << 30;
pub(super) const PID_BITS: u32 = 22;

/// This process's token.
pub(super) static MINE: AtomicU32 = AtomicU32::new(Token::HOST.0);

/// A process that may hold a lock, in 31 bits, not zero; the highest bit is the lock word's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(super) u32);

impl Token {
    /// The bits of a word that are a token.
    pub(crate) const MASK: u32 = (1 << 31) - 1;
    pub(super) const HOST: Token = Token(OUTSIDER);

    /// This process's.
    pub(crate) fn mine() -> Token {
        Token(MINE.load(Ordering::Relaxed))
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// Whatever is in shared memory: garbage is the token of a dead process. `None`: no process has
    /// the lock.
    pub(crate) fn from_bits(bits: u32) -> Option<Token> {
        Some(Token(bits & Token::MASK)).filter(|t| t.0 != 0)
    }

    /// A worker's, in a slot of the table.
    pub(super) fn worker(slot: u32, generation: u32) -> Token {
        debug_assert!(slot < SLOTS && (1..GENERATIONS).contains(&generation));
        Token(generation << SLOT_BITS | slot)
    }

    /// The slot and the generation, of a worker's. No worker has generation 0, though the table of
    /// a slot that was never used says so.
    pub(super) fn place(self) -> Option<(u32, u32)> {
        let (slot, generation) = (self.0 & (SLOTS - 1), self.0 >> SLOT_BITS);
        (self.0 & OUTSIDER == 0 && generation != 0).then_some((slot, generation))
    }

    /// This process's, if the table is not its own fork server's to write.
    pub(crate) fn outsider() -> io::Result<Token> {
        Token::try_outsider().ok_or_else(|| {
            io::Error::other("/proc/self/stat has no process id, or one of more than 22 bits")
        })
    }

    /// As [`outsider`](Self::outsider), and async-signal-safe.
    pub(super) fn try_outsider() -> Option<Token> {
        let pid = std::process::id();
        let ProcessLife::Started(digest) = life_of(pid) else {
            return None;
        };
        (pid < 1 << PID_BITS).then_some(Token(OUTSIDER | digest << PID_BITS | pid))
    }

    pub(super) fn is_outsider(self) -> bool {
        self.0 & OUTSIDER != 0 && self != Token::HOST
    }
}

/// What can be found out about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessLife {
    /// The process lives, and this is eight bits of the time at which it was started.
    Started(u32),
    Ended,
    /// There is no descriptor left to look, or no /proc: that is no reason to take anything over
    /// from it.
    Unknown,
}

/// Looks whether a process lives. Nothing is allocated: it is asked in a process that was just
/// forked.
pub(super) fn life_of(pid: u32) -> ProcessLife {
    // A process that no parent has waited for is there to the kernel, but /proc says that it has
    // ended.
    match stat_of(pid) {
        Some(life) => life,
        // Asked last, so that it holds for one that has ended since.
        None if !process::is_there(pid) => ProcessLife::Ended,
        None => ProcessLife::Unknown,
    }
}

/// What /proc says. `None`: nothing.
fn stat_of(pid: u32) -> Option<ProcessLife> {
    let mut path = [0_u8; 32];
    let mut rest = &mut path[..];
    write!(rest, "/proc/{}/stat", numbers::in_proc(pid)?).ok()?;
    let unused = rest.len();
    let path = &path[..path.len() - unused];
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // All that precedes the time is shorter: a name of 16 bytes, and numbers.
    let mut stat = [0_u8; 1024];
    let len = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut stat[..])).ok()?;
    let stat = &stat[..len];
    // pid (name) state …, and the time is field 22; the name may contain anything.
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[name_ends + 1..])
        .ok()?
        .split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return Some(ProcessLife::Ended);
    }
    let started: u64 = fields.nth(18)?.parse().ok()?;
    let digest = (started ^ started >> 8 ^ started >> 16) as u32 & 0xff;
    Some(ProcessLife::Started(digest))
}
