//! Where a worker is that is asked: the question, and the answer from its signal handler.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use super::Mailbox;
use crate::sys::{futex, image, unwind};
use crate::task::crash::Phase;

/// Calls that are noted of a worker that is asked where it is.
const STACK_CALLS: usize = 128;

/// Where a worker was when it was asked. One page, which is there from the first question on.
///
/// The host counts questions, from 1, and writes the last one's number; the worker writes the
/// number of the one that it answers when the answer is whole, and 0 before it begins. So one that
/// is half written, or is an earlier one, is not believed.
#[repr(C)]
#[derive(Debug)]
pub(super) struct StackRecord {
    /// The host's last question.
    asked: AtomicU32,
    /// Not 0: the worker is to end itself when it has answered.
    ends: AtomicU32,
    /// The question that was answered. A word to sleep on.
    answered: AtomicU32,
    len: AtomicU32,
    calls: [AtomicUsize; STACK_CALLS],
}

impl Mailbox {
    /// The host, before the worker is sent the signal: asks where it is. `ends`: it is to end when
    /// it has answered. Gives the number of the question.
    pub(crate) fn ask(&self, ends: bool) -> u32 {
        let next = |n: u32| n.wrapping_add(1).max(1);
        let before = self
            .questions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(next(n)));
        let number = next(before.unwrap_or_else(|n| n));
        let record = self.stack();
        if ends {
            record.ends.store(1, Ordering::Relaxed);
        }
        record.asked.store(number, Ordering::Release);
        number
    }

    /// In the signal handler of a worker that is asked: notes the calls that it is in. Touches
    /// memory that is there, and allocates nothing. [`finish_answer`](Self::finish_answer)
    /// publishes what is noted, also where the walk has gone wrong.
    pub(crate) fn begin_answer(&self, instruction: usize) {
        let record = self.stack();
        record.answered.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        record.calls[0].store(image::as_there(instruction), Ordering::Relaxed);
        record
            .len
            .store(u32::from(instruction != 0), Ordering::Relaxed);
        if self.phase() == Phase::Idle {
            // Between two tasks: the calls are ours.
            record.len.store(0, Ordering::Relaxed);
            return;
        }
        let mut calls = [0; STACK_CALLS + 16];
        let len = unwind::walk(&mut calls);
        let calls = unwind::interrupted(&calls[..len], instruction);
        if calls.is_empty() {
            return;
        }
        for (into, call) in record.calls.iter().zip(calls) {
            into.store(image::as_there(*call), Ordering::Relaxed);
        }
        let len = calls.len().min(STACK_CALLS) as u32;
        record.len.store(len, Ordering::Relaxed);
    }

    /// Ends the record begun by [`begin_answer`](Self::begin_answer): the answer is whole. Says
    /// whether the worker is to end itself.
    pub(crate) fn finish_answer(&self) -> bool {
        let record = self.stack();
        let asked = record.asked.load(Ordering::Acquire);
        record.answered.store(asked, Ordering::Release);
        futex::wake_all_shared(&record.answered);
        record.ends.load(Ordering::Relaxed) != 0
    }

    /// The host: a word to sleep on until a question is answered, and its value now.
    pub(crate) fn answered(&self) -> (&AtomicU32, u32) {
        let word = &self.stack().answered;
        (word, word.load(Ordering::Acquire))
    }

    /// The host: the worker's calls, innermost first, by its answer to this question or to one
    /// after it; empty, if it was between two tasks. `None`: there is none yet.
    pub(crate) fn answer(&self, question: u32) -> Option<Vec<usize>> {
        let record = self.stack();
        let number = record.answered.load(Ordering::Acquire);
        // Not one that was never asked.
        let last = self.questions.load(Ordering::Relaxed);
        let is_later = number.wrapping_sub(question) <= last.wrapping_sub(question);
        if number == 0 || !is_later {
            return None;
        }
        let len = (record.len.load(Ordering::Relaxed) as usize).min(STACK_CALLS);
        let calls = record.calls[..len].iter();
        let calls = calls.map(|c| c.load(Ordering::Relaxed)).collect();
        fence(Ordering::Acquire);
        (record.answered.load(Ordering::Relaxed) == number).then_some(calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_when_it_is_whole_and_was_asked_for() {
        let mailbox = Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap");
        let first = mailbox.ask(false);
        assert_eq!(mailbox.answer(first), None);
        let here = an_answer_is_believed_when_it_is_whole_and_was_asked_for as fn() as usize;
        mailbox.begin_answer(here);
        assert_eq!(mailbox.answer(first), None, "half of it is none");
        assert!(!mailbox.finish_answer());
        assert_eq!(mailbox.answer(first), Some(vec![here]));
        let second = mailbox.ask(true);
        assert_eq!(
            mailbox.answer(second),
            None,
            "it is older than the question"
        );
        mailbox.begin_answer(here);
        assert!(mailbox.finish_answer());
        assert_eq!(mailbox.answer(first), Some(vec![here]), "a later one does");
        // Garbage.
        for word in [u32::MAX, second + 1, 0] {
            mailbox.stack().answered.store(word, Ordering::Relaxed);
            assert_eq!(mailbox.answer(first), None, "{word}");
        }
        mailbox.stack().answered.store(second, Ordering::Relaxed);
        mailbox.stack().len.store(u32::MAX, Ordering::Relaxed);
        let calls = mailbox.answer(second).expect("it may lie");
        assert_eq!(calls.len(), STACK_CALLS);
    }
}
