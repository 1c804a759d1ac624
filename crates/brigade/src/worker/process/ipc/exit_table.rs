//! The exit table: where the fork server writes how each worker ended, and the host reads it.
//!
//! One memory file, mapped by the host and by the fork server, and by no worker. A worker's slot
//! has one word that both sleep on and set bits in; a slot is free again when the worker has ended
//! *and* the host has released it, in whichever order.

#![expect(unsafe_code, reason = "memory shared by the host and its fork server")]

mod tail;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::sys::blocked::{Look, NoAnswer};
use crate::sys::futex;
use crate::sys::mapping::{Mapping, sized_memfd};
use crate::sys::process::Ended;
use crate::sys::remote_error::RemoteError;
use crate::task::text::floor_char_boundary;

/// The most workers that one fork server can have at a time.
pub(crate) const SLOTS: u32 = crate::sync::liveness::SLOTS;
/// The last bytes of a worker's stderr that are kept.
pub(crate) const TAIL: usize = 4096;

const ENDED: u32 = 1;
const RELEASED: u32 = 2;
const NOTIFY: u32 = 4;
/// The worker's parent has seen that it has ended, and is about to reap it: from then on its number
/// may be another's.
const REAPED: u32 = 8;

#[repr(C, align(64))]
#[derive(Debug)]
struct ExitSlot {
    word: AtomicU32,
    how: AtomicU32,
    code: AtomicI32,
    /// Whether the kernel killed something in the fork server's control group for lack of memory
    /// while the worker lived.
    oom_killed: AtomicU32,
    tail_len: AtomicU32,
    /// Odd while the last bytes of stderr are written.
    tail_number: AtomicU32,
    /// Bytes of stderr that were read, in all.
    written: AtomicU64,
    /// Not 0: it is stopped.
    stopped: AtomicU32,
    /// The process whose stderr that is, while it lives; else 0.
    tail_of: AtomicU32,
    /// For how long it has been, before it went on; nanoseconds.
    stood: AtomicU64,
    /// How often it was looked at, twice: odd while that is written. A word to sleep on.
    looks: AtomicU32,
    /// Why it cannot be asked where it is: 0, or an index into [`NoAnswer::ALL`] and 1.
    cannot_answer: AtomicU32,
}

const EXITED: u32 = 1;
const SIGNALED: u32 = 2;
const LOST: u32 = 3;
/// The worker's end is an error, which is where otherwise the last of its stderr is.
const UNSTARTED: u32 = 4;

const TAILS_AT: usize = SLOTS as usize * size_of::<ExitSlot>();
/// A word that changes with each end, for callers that wait for several workers.
const EPOCH_AT: usize = TAILS_AT + SLOTS as usize * TAIL;
/// How often a worker was stopped, or went on.
const STOPS_AT: usize = EPOCH_AT + 128;
/// How often the fork server has shown what workers have written to stderr.
const SHOWN_AT: usize = EPOCH_AT + 256;
const PLACES_AT: usize = EPOCH_AT + 4096;
/// The longest text that tells where in the kernel a worker is.
const PLACE: usize = 256;
const LEN: usize = PLACES_AT + SLOTS as usize * PLACE;

/// How a worker ended, as the exit table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExitRecord {
    /// `None`: its end cannot be known.
    pub(crate) ended: Option<Ended>,
    /// The process could not become a worker, and says why.
    pub(crate) unstarted: Option<Box<RemoteError>>,
    pub(crate) oom_killed: bool,
    pub(crate) stderr: Vec<u8>,
    /// How many bytes it wrote to stderr, of which those are the last.
    pub(crate) written: u64,
    /// How it looked from outside, where it was to be asked where it is before it was ended.
    pub(crate) look: Option<Look>,
}

impl ExitRecord {
    /// Drops the first `begin` bytes of what the worker wrote to stderr. `begin` is the worker's
    /// claim, and may be any number.
    pub(crate) fn forget_stderr_before(&mut self, begin: u64) {
        let own = usize::try_from(self.written.saturating_sub(begin)).unwrap_or(usize::MAX);
        let before = self.stderr.len().saturating_sub(own);
        self.stderr.drain(..before);
    }
}

/// The exit table, mapped.
#[derive(Debug)]
pub(crate) struct ExitTable {
    mapping: Mapping,
}

impl ExitTable {
    /// Sealed at its size only: no worker has the file, nor a mapping of it.
    pub(crate) fn file() -> io::Result<OwnedFd> {
        sized_memfd("brigade-exit table", LEN)
    }

    pub(crate) fn map(file: impl AsFd) -> io::Result<ExitTable> {
        Ok(ExitTable {
            mapping: Mapping::writable(file, LEN)?,
        })
    }

    /// In the fork server: workers do not get it.
    pub(crate) fn keep_from_workers(&self) -> io::Result<()> {
        self.mapping.keep_from_children()
    }

    fn slot(&self, slot: u32) -> &ExitSlot {
        assert!(slot < SLOTS, "a slot of the exit table");
        // SAFETY: in bounds (asserted) and aligned (a mapping begins at a page); atomics of any bit
        // pattern are valid.
        unsafe {
            self.mapping
                .at()
                .cast::<ExitSlot>()
                .add(slot as usize)
                .as_ref()
        }
    }

    fn tail(&self, slot: u32) -> &[AtomicU32; TAIL / 4] {
        assert!(slot < SLOTS, "a slot of the exit table");
        // SAFETY: as above.
        unsafe {
            self.mapping
                .at()
                .add(TAILS_AT + slot as usize * TAIL)
                .cast()
                .as_ref()
        }
    }

    /// How many ends there were, in 32 bits: a word to sleep on.
    pub(crate) fn epoch(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(EPOCH_AT).cast().as_ref() }
    }

    /// How often workers were stopped, or went on, in 32 bits.
    pub(crate) fn stops(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(STOPS_AT).cast().as_ref() }
    }

    /// How often all workers' last lines were shown, in 32 bits: a word to sleep on.
    pub(crate) fn shown(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(SHOWN_AT).cast().as_ref() }
    }

    /// The fork server: a worker was stopped, or goes on after it `stood` for this time.
    pub(crate) fn note_stop(&self, slot: u32, stopped: bool, stood: Duration) {
        let entry = self.slot(slot);
        let nanos = u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX);
        entry.stood.fetch_add(nanos, Ordering::Relaxed);
        entry.stopped.store(u32::from(stopped), Ordering::Release);
        self.stops().fetch_add(1, Ordering::Release);
    }

    /// The host: whether a worker is stopped, and how long it has stood before it went on, all in
    /// all.
    pub(crate) fn stop(&self, slot: u32) -> (bool, Duration) {
        let entry = self.slot(slot);
        let stopped = entry.stopped.load(Ordering::Acquire) != 0;
        let stood = Duration::from_nanos(entry.stood.load(Ordering::Relaxed));
        (stopped, stood)
    }

    fn place(&self, slot: u32) -> &[AtomicU8; PLACE] {
        assert!(slot < SLOTS, "a slot of the exit table");
        // SAFETY: as above.
        unsafe {
            self.mapping
                .at()
                .add(PLACES_AT + slot as usize * PLACE)
                .cast()
                .as_ref()
        }
    }

    /// The fork server: how a worker looks from outside.
    pub(crate) fn note_look(&self, slot: u32, look: &Look) {
        let entry = self.slot(slot);
        let number = |cannot_answer| {
            NoAnswer::ALL
                .iter()
                .position(|&d| d == cannot_answer)
                .map_or(0, |at| at + 1)
        };
        let cannot_answer = look.cannot_answer.map_or(0, number);
        entry.looks.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        entry
            .cannot_answer
            .store(cannot_answer as u32, Ordering::Relaxed);
        let place = &look.place[..floor_char_boundary(&look.place, PLACE - 1)];
        for (into, byte) in self.place(slot).iter().zip(place.bytes().chain([0])) {
            into.store(byte, Ordering::Relaxed);
        }
        entry.looks.fetch_add(1, Ordering::Release);
        futex::wake_all_shared(&entry.looks);
    }

    /// The host: a word to sleep on until a worker is looked at, and its value now.
    pub(crate) fn looks(&self, slot: u32) -> (&AtomicU32, u32) {
        let word = &self.slot(slot).looks;
        (word, word.load(Ordering::Acquire))
    }

    /// The host: how a worker looked, if the fork server has looked since `looks` returned
    /// `before`.
    pub(crate) fn look_since(&self, slot: u32, before: u32) -> Option<Look> {
        let entry = self.slot(slot);
        let looks = entry.looks.load(Ordering::Acquire);
        if looks % 2 == 1 || looks == before || looks == 0 {
            return None;
        }
        let cannot_answer = entry.cannot_answer.load(Ordering::Relaxed) as usize;
        let place = self.place(slot).iter().map(|b| b.load(Ordering::Relaxed));
        let place: Vec<u8> = place.take_while(|&byte| byte != 0).collect();
        fence(Ordering::Acquire);
        let is_whole = entry.looks.load(Ordering::Relaxed) == looks;
        is_whole.then(|| Look {
            cannot_answer: cannot_answer
                .checked_sub(1)
                .and_then(|at| NoAnswer::ALL.get(at).copied()),
            place: String::from_utf8_lossy(&place).into_owned(),
        })
    }

    fn turn_epoch(&self) {
        self.epoch().fetch_add(1, Ordering::SeqCst);
        futex::wake_all_shared(self.epoch());
    }

    /// The fork server, before a slot's new worker is announced.
    pub(crate) fn reset(&self, slot: u32) {
        self.slot(slot).tail_len.store(0, Ordering::Relaxed);
        self.slot(slot).tail_of.store(0, Ordering::Relaxed);
        self.slot(slot).written.store(0, Ordering::Relaxed);
        self.slot(slot).oom_killed.store(0, Ordering::Relaxed);
        self.slot(slot).stopped.store(0, Ordering::Relaxed);
        self.slot(slot).stood.store(0, Ordering::Relaxed);
        self.slot(slot).looks.store(0, Ordering::Relaxed);
        self.slot(slot).word.store(0, Ordering::Release);
    }

    /// The fork server, before it reaps a worker.
    pub(crate) fn reap(&self, slot: u32) {
        self.slot(slot).word.fetch_or(REAPED, Ordering::SeqCst);
    }

    /// The host: whether the fork server has seen the worker's end, and so may have reaped it.
    pub(crate) fn is_reaped(&self, slot: u32) -> bool {
        self.slot(slot).word.load(Ordering::SeqCst) & REAPED != 0
    }

    /// The fork server: the worker is gone. Says whether the host asked for an event, and
    /// whether the slot is free now.
    pub(crate) fn end(
        &self,
        slot: u32,
        ended: Option<Ended>,
        oom_killed: bool,
        (stderr, written): (&[u8], u64),
    ) -> (bool, bool) {
        let how = match ended {
            Some(Ended::Exited(code)) => (EXITED, code),
            Some(Ended::Signaled(signal)) => (SIGNALED, signal),
            None => (LOST, 0),
        };
        self.end_how(slot, how, oom_killed, (stderr, written))
    }

    /// As [`end`](Self::end), of a worker that could not start.
    pub(crate) fn end_unstarted(&self, slot: u32, why: &RemoteError) -> (bool, bool) {
        let why = postcard::to_stdvec(why).unwrap_or_default();
        self.end_how(slot, (UNSTARTED, 0), false, (&why, 0))
    }

    fn end_how(
        &self,
        slot: u32,
        (how, code): (u32, i32),
        oom_killed: bool,
        (stderr, written): (&[u8], u64),
    ) -> (bool, bool) {
        let entry = self.slot(slot);
        entry.how.store(how, Ordering::Relaxed);
        entry.code.store(code, Ordering::Relaxed);
        entry
            .oom_killed
            .store(u32::from(oom_killed), Ordering::Relaxed);
        self.write_tail(slot, 0, (stderr, written));
        let before = entry.word.fetch_or(ENDED, Ordering::AcqRel);
        futex::wake_all_shared(&entry.word);
        self.turn_epoch();
        (before & NOTIFY != 0, before & RELEASED != 0)
    }

    /// The fork server: whether a slot whose worker has ended may be used again.
    pub(crate) fn is_free(&self, slot: u32) -> bool {
        self.slot(slot).word.load(Ordering::Acquire) & (ENDED | RELEASED) == ENDED | RELEASED
    }

    /// The host: no interest in this worker's end any more. Says whether it had ended.
    pub(crate) fn release(&self, slot: u32) -> bool {
        self.slot(slot).word.fetch_or(RELEASED, Ordering::AcqRel) & ENDED != 0
    }

    /// The host: tell me of the end by an event.
    pub(crate) fn ask_for_events(&self, slot: u32) {
        self.slot(slot).word.fetch_or(NOTIFY, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Records that the worker is gone, and that how it ended is unknown, for its fork server is
    /// gone too or does not answer. The host calls this. Returns `false` if the end was known
    /// before.
    ///
    /// A fork server that answers again says it once more, which does no harm: only it gives slots
    /// out again, and not before it has said so itself.
    pub(crate) fn lose(&self, slot: u32) -> bool {
        let entry = self.slot(slot);
        if entry.word.load(Ordering::Acquire) & ENDED != 0 {
            return false;
        }
        entry.how.store(LOST, Ordering::Relaxed);
        entry.word.fetch_or(ENDED, Ordering::AcqRel);
        futex::wake_all_shared(&entry.word);
        self.turn_epoch();
        true
    }

    pub(crate) fn has_ended(&self, slot: u32) -> bool {
        self.slot(slot).word.load(Ordering::Acquire) & ENDED != 0
    }

    /// The word to sleep on, and its value now, unless the worker has ended.
    pub(crate) fn still_alive(&self, slot: u32) -> Option<(&AtomicU32, u32)> {
        let word = &self.slot(slot).word;
        let value = word.load(Ordering::Acquire);
        (value & ENDED == 0).then_some((word, value))
    }

    pub(crate) fn exit_record(&self, slot: u32) -> ExitRecord {
        let entry = self.slot(slot);
        let code = entry.code.load(Ordering::Relaxed);
        let ended = match entry.how.load(Ordering::Relaxed) {
            EXITED => Some(Ended::Exited(code)),
            SIGNALED => Some(Ended::Signaled(code)),
            _ => None,
        };
        // A fork server that ended while it wrote this has left a half of it.
        let is_whole = entry.tail_number.load(Ordering::Relaxed) % 2 == 0;
        let mut stderr = if is_whole {
            self.read_tail(slot)
        } else {
            Vec::new()
        };
        let mut unstarted = None;
        if entry.how.load(Ordering::Relaxed) == UNSTARTED {
            unstarted = postcard::from_bytes(&std::mem::take(&mut stderr)).ok();
        }
        ExitRecord {
            ended,
            unstarted,
            oom_killed: entry.oom_killed.load(Ordering::Relaxed) != 0,
            stderr,
            written: entry.written.load(Ordering::Relaxed),
            look: self.look_since(slot, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_it_was() {
        let exit_table = ExitTable::map(ExitTable::file().expect("memfd")).expect("mmap");
        for (ended, stderr) in [
            (Some(Ended::Exited(3)), &b""[..]),
            (Some(Ended::Signaled(9)), b"12345"),
            (None, &[b'x'; TAIL]),
        ] {
            exit_table.reset(SLOTS - 1);
            assert!(exit_table.still_alive(SLOTS - 1).is_some());
            assert_eq!(
                exit_table.end(SLOTS - 1, ended, false, (stderr, 9000)),
                (false, false)
            );
            assert!(exit_table.still_alive(SLOTS - 1).is_none());
            assert_eq!(
                exit_table.exit_record(SLOTS - 1),
                ExitRecord {
                    ended,
                    unstarted: None,
                    oom_killed: false,
                    stderr: stderr.to_vec(),
                    written: 9000,
                    look: None,
                }
            );
            assert!(!exit_table.is_free(SLOTS - 1));
            exit_table.release(SLOTS - 1);
            assert!(exit_table.is_free(SLOTS - 1));
        }
        let long: Vec<u8> = (0..=255).cycle().take(TAIL + 100).collect();
        exit_table.reset(0);
        exit_table.end(0, None, false, (&long, long.len() as u64));
        let mut exit_record = exit_table.exit_record(0);
        assert_eq!(exit_record.stderr, &long[100..]);
        exit_record.forget_stderr_before(99);
        assert_eq!(exit_record.stderr, &long[100..]);
        exit_record.forget_stderr_before(110);
        assert_eq!(exit_record.stderr, &long[110..]);
        // A lie costs only the process that tells it.
        exit_record.forget_stderr_before(u64::MAX);
        assert!(exit_record.stderr.is_empty());

        let look = Look {
            cannot_answer: Some(NoAnswer::Blocks),
            place: "x".repeat(2 * PLACE),
        };
        exit_table.note_look(0, &look);
        let told = exit_table.exit_record(0).look.expect("it was looked at");
        assert_eq!(
            (told.cannot_answer, told.place.len()),
            (look.cannot_answer, PLACE - 1)
        );
        let (_, before) = exit_table.looks(0);
        assert_eq!(exit_table.look_since(0, before), None);
        let why = RemoteError::other("no parent");
        exit_table.reset(0);
        assert_eq!(exit_table.exit_record(0).look, None);
        assert_eq!(exit_table.end_unstarted(0, &why), (false, false));
        let exit_record = exit_table.exit_record(0);
        assert_eq!(
            (exit_record.unstarted, exit_record.ended),
            (Some(Box::new(why)), None)
        );
        assert!(exit_record.stderr.is_empty());
    }
}
