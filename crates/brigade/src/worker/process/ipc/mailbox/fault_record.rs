//! What a dying worker notes of its fault, and what its sandbox has refused; and what the host
//! believes of that.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Mailbox;
use crate::sys::fault::Fault;
use crate::sys::{image, unwind};

const CALLS: usize = 64;

/// What a dying worker notes of its fault.
#[repr(C)]
#[derive(Debug)]
pub(super) struct FaultRecord {
    /// 0: nothing happened; 1: being written; 2: whole.
    state: AtomicU32,
    signal: AtomicU32,
    sender: AtomicU32,
    overflow: AtomicU32,
    address: AtomicUsize,
    len: AtomicU64,
    calls: [AtomicUsize; CALLS],
    /// What a sandbox has refused, as text; 0 ends it.
    refused: [AtomicU8; REFUSED_TEXT],
}

/// The longest text about what a sandbox has refused.
pub(crate) const REFUSED_TEXT: usize = 240;

/// A fault, as a worker noted it, and as the host believes it: a hint that the wait status must
/// agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedFault {
    pub(crate) signal: i32,
    pub(crate) sender: Option<u32>,
    pub(crate) overflow: bool,
    pub(crate) address: usize,
    pub(crate) calls: Vec<usize>,
    /// Whether it finished noting: otherwise its own alarm ended it (see `sys::fault`).
    pub(crate) whole: bool,
}

impl Mailbox {
    /// In a worker's signal handler: notes the fault and the calls that led to it. Touches memory
    /// that is there, and allocates nothing.
    pub(crate) fn note(&self, fault: &Fault, overflow: bool) {
        let record = self.record();
        if record
            .state
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        record.signal.store(fault.signal as u32, Ordering::Relaxed);
        // One more, so that 0 is no process: a process outside our pid namespace has the number 0.
        record.sender.store(
            fault.sender.map_or(0, |s| s.saturating_add(1)),
            Ordering::Relaxed,
        );
        record
            .overflow
            .store(u32::from(overflow), Ordering::Relaxed);
        record.address.store(fault.address, Ordering::Relaxed);
        // The first call is known without walking; walking may go wrong on a broken stack, and then
        // this is what remains.
        record.calls[0].store(image::as_there(fault.instruction), Ordering::Relaxed);
        record
            .len
            .store(u64::from(fault.instruction != 0), Ordering::Release);
        let mut calls = [0; CALLS + 16];
        let len = unwind::walk(&mut calls);
        let calls = &calls[..len];
        let calls = match unwind::interrupted(calls, fault.instruction) {
            [] => calls,
            interrupted => interrupted,
        };
        for (into, call) in record.calls.iter().zip(calls) {
            into.store(image::as_there(*call), Ordering::Relaxed);
        }
        record
            .len
            .store(calls.len().min(CALLS) as u64, Ordering::Release);
        record.state.store(2, Ordering::Release);
    }

    /// The worker, also in its signal handler: what its sandbox has refused, or will have.
    #[cfg(feature = "sandbox")]
    pub(crate) fn note_refused(&self, what: &str) {
        let ended = what.bytes().chain([0]);
        for (into, byte) in self.record().refused.iter().zip(ended) {
            into.store(byte, Ordering::Relaxed);
        }
    }

    /// The host, after the worker's end: what its sandbox has refused, by the worker's word.
    /// `None`: it had none.
    pub(crate) fn refused(&self) -> Option<String> {
        let bytes = self.record().refused.iter();
        let text: String = bytes
            .map(|byte| char::from(byte.load(Ordering::Relaxed)))
            // It may be printed on a terminal.
            .take_while(|c| (' '..='~').contains(c))
            .collect();
        (!text.is_empty()).then_some(text)
    }

    /// The host, after the worker's end: what it noted.
    pub(crate) fn noted(&self) -> Option<RecordedFault> {
        let record = self.record();
        let state = record.state.load(Ordering::Acquire);
        if state == 0 {
            return None;
        }
        let len =
            usize::try_from(record.len.load(Ordering::Acquire)).map_or(CALLS, |l| l.min(CALLS));
        Some(RecordedFault {
            signal: record.signal.load(Ordering::Relaxed) as i32,
            sender: record.sender.load(Ordering::Relaxed).checked_sub(1),
            whole: state == 2,
            overflow: record.overflow.load(Ordering::Relaxed) != 0,
            address: record.address.load(Ordering::Relaxed),
            calls: record.calls[..len]
                .iter()
                .map(|c| c.load(Ordering::Relaxed))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::RECORD_AT;
    use super::*;

    #[test]
    fn a_record_of_garbage_is_read_without_harm() {
        let mailbox = Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap");
        assert_eq!(mailbox.noted(), None);
        for offset in (0..size_of::<FaultRecord>()).step_by(4) {
            // SAFETY: inside the record.
            let word: &AtomicU32 =
                unsafe { mailbox.mapping.at().add(RECORD_AT + offset).cast().as_ref() };
            word.store(u32::MAX, Ordering::Relaxed);
        }
        assert_eq!(
            mailbox.noted().expect("there is something").calls.len(),
            CALLS
        );
    }
}
