//! The last bytes of a worker's stderr: written when it has ended, and before that where the host
//! asks. Only the fork server writes them; a number, odd meanwhile, tells the host that it has read
//! half of two texts, and so does the worker's process number, for a slot has one worker after
//! another.

use std::sync::atomic::{Ordering, fence};

use super::{ExitTable, TAIL};
use crate::sys::futex;

impl ExitTable {
    /// The fork server: the last lines of all workers were shown.
    pub(crate) fn note_shown(&self) {
        self.shown().fetch_add(1, Ordering::Release);
        futex::wake_all_shared(self.shown());
    }

    /// The fork server: what this worker, which lives, has written to stderr last.
    pub(crate) fn show_stderr(&self, slot: u32, pid: u32, (stderr, written): (&[u8], u64)) {
        // It has written nothing, or nothing since.
        if self.slot(slot).written.load(Ordering::Relaxed) != written {
            self.write_tail(slot, pid, (stderr, written));
        }
    }

    /// The host: what was shown of this worker. `None`: nothing was, or that of another worker.
    pub(crate) fn shown_stderr(&self, slot: u32, pid: u32) -> Option<Vec<u8>> {
        let entry = self.slot(slot);
        let number = entry.tail_number.load(Ordering::Acquire);
        let is_its = entry.tail_of.load(Ordering::Relaxed) == pid;
        let stderr = self.read_tail(slot);
        fence(Ordering::Acquire);
        let is_whole = number % 2 == 0 && entry.tail_number.load(Ordering::Relaxed) == number;
        (is_its && is_whole && !self.has_ended(slot)).then_some(stderr)
    }

    pub(super) fn write_tail(&self, slot: u32, pid: u32, (stderr, written): (&[u8], u64)) {
        let entry = self.slot(slot);
        entry.tail_number.fetch_add(1, Ordering::Relaxed);
        // The odd number is seen no later than what follows.
        fence(Ordering::Release);
        entry.tail_of.store(pid, Ordering::Relaxed);
        let stderr = &stderr[stderr.len().saturating_sub(TAIL)..];
        for (into, bytes) in self.tail(slot).iter().zip(stderr.chunks(4)) {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            into.store(u32::from_ne_bytes(word), Ordering::Relaxed);
        }
        entry.tail_len.store(stderr.len() as u32, Ordering::Relaxed);
        entry.written.store(written, Ordering::Relaxed);
        entry.tail_number.fetch_add(1, Ordering::Release);
    }

    pub(super) fn read_tail(&self, slot: u32) -> Vec<u8> {
        let len = (self.slot(slot).tail_len.load(Ordering::Relaxed) as usize).min(TAIL);
        let words = self.tail(slot).iter().take(len.div_ceil(4));
        let mut stderr: Vec<u8> = words
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        stderr.truncate(len);
        stderr
    }
}

#[cfg(test)]
mod tests {
    use super::super::SLOTS;
    use super::*;

    const LAST: u32 = SLOTS - 1;

    #[test]
    fn what_a_worker_has_written_is_shown_while_it_lives_as_its_own() {
        let exit_table = ExitTable::map(ExitTable::file().expect("memfd")).expect("mmap");
        exit_table.reset(LAST);
        assert_eq!(exit_table.shown_stderr(LAST, 40), None);
        exit_table.show_stderr(LAST, 40, (b"", 0));
        assert_eq!(exit_table.shown_stderr(LAST, 40), None);
        exit_table.show_stderr(LAST, 40, (b"one\n", 4));
        assert_eq!(
            exit_table.shown_stderr(LAST, 40).as_deref(),
            Some(&b"one\n"[..])
        );
        assert_eq!(exit_table.shown_stderr(LAST, 41), None);
        exit_table.end(LAST, None, false, (b"one\ntwo\n", 8));
        assert_eq!(exit_table.shown_stderr(LAST, 40), None);
        assert_eq!(exit_table.exit_record(LAST).stderr, b"one\ntwo\n");
        // The next worker of the slot has written nothing.
        exit_table.release(LAST);
        exit_table.reset(LAST);
        assert_eq!(exit_table.shown_stderr(LAST, 40), None);
        assert_eq!(exit_table.shown_stderr(LAST, 42), None);
        // A fork server that is killed while it writes leaves nothing that can be read.
        exit_table.show_stderr(LAST, 42, (b"three\n", 6));
        exit_table
            .slot(LAST)
            .tail_number
            .fetch_add(1, Ordering::Relaxed);
        assert_eq!(exit_table.shown_stderr(LAST, 42), None);
        assert!(exit_table.lose(LAST));
        assert!(exit_table.exit_record(LAST).stderr.is_empty());
    }
}
