//! Asking a worker where it is, without ending it: it notes the calls on its stack in its mailbox,
//! and the fork server notes on the exit table how it looks from outside.
//!
//! 1. The host writes the question's number into the mailbox, and has the fork server ask.
//! 2. The fork server looks at the worker, writes that to the exit table, and sends the signal,
//!    unless it sees that the worker cannot answer.
//! 3. The host sleeps on three words: the answer, the look, and the worker's end; until a deadline.
//!
//! All in the mailbox is the worker's word. What is waited for under no lock may take as long as
//! the deadline; several workers are asked before the first answer is waited for.

use std::sync::Arc;
use std::time::Instant;

use super::ForkServerClient;
use crate::sys::blocked::{self, Look};
use crate::sys::futex;
use crate::task::crash::Phase;
use crate::task::whereabouts::Whereabouts;
use crate::worker::process::ipc::mailbox::Mailbox;

/// A question to a worker. It can be asked, and its answer waited for, under no lock.
pub(crate) struct Question {
    server: Arc<ForkServerClient>,
    slot: u32,
    pid: u32,
    mailbox: Arc<Mailbox>,
    /// 0: it was not asked yet.
    number: u32,
    /// How often the worker had been looked at before.
    looks: u32,
}

impl Question {
    pub(crate) fn new(
        server: &Arc<ForkServerClient>,
        (slot, pid): (u32, u32),
        mailbox: &Arc<Mailbox>,
    ) -> Question {
        Question {
            server: Arc::clone(server),
            slot,
            pid,
            mailbox: Arc::clone(mailbox),
            number: 0,
            looks: 0,
        }
    }

    /// Asks the worker.
    pub(crate) fn ask(&mut self) {
        (_, self.looks) = self.server.exit_table.looks(self.slot);
        self.number = self.mailbox.ask(false);
        self.server.ask_where(self.slot, self.pid);
    }

    /// Waits for the answer, or until there is no hope of one.
    pub(crate) fn wait(self, deadline: Instant) -> Whereabouts {
        let mut look = None;
        let mut in_time = true;
        let calls = loop {
            let answered = self.mailbox.answered();
            let looked = self.server.exit_table.looks(self.slot);
            let alive = self.server.exit_table.still_alive(self.slot);
            if look.is_none() {
                look = self.server.exit_table.look_since(self.slot, self.looks);
            }
            let answer = self.mailbox.answer(self.number);
            let cannot_answer = look
                .as_ref()
                .is_some_and(|look| look.cannot_answer.is_some());
            let (Some(alive), None, false, true) = (alive, &answer, cannot_answer, in_time) else {
                break answer;
            };
            let words = [answered, looked, alive];
            in_time = futex::wait_any(&words, Some(deadline)) != futex::Wake::TimedOut;
        };
        // A fork server that is stopped looks at no worker.
        let look = look.unwrap_or_else(|| match calls {
            Some(_) => Look::default(),
            None => blocked::look(self.pid, self.pid),
        });
        // It may have gone on since.
        let phase = match &calls {
            Some(calls) if calls.is_empty() => Phase::Idle,
            _ => self.mailbox.phase(),
        };
        let phase = Some(phase);
        Whereabouts::asked(Some(self.pid), phase, &self.server.symbols, calls, look)
    }
}
