//! Where the results of a map are put, for the one that it was asked by.

use std::thread::Thread;

use super::state::After;
use super::task::End;

/// The results of one map that were not fetched.
#[derive(Default)]
pub(super) struct Inbox {
    there: Vec<(u64, End)>,
    /// Tasks that have not ended.
    open: u64,
    /// Nobody fetches any more.
    closed: bool,
    waiter: Option<Thread>,
}

/// All maps of a pool, by number.
#[derive(Default)]
pub(super) struct Inboxes(Vec<Option<Inbox>>);

impl Inboxes {
    pub(super) fn open(&mut self) -> u32 {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[at] = Some(Inbox::default());
        at as u32
    }

    fn get(&mut self, inbox: u32) -> Option<&mut Inbox> {
        self.0.get_mut(inbox as usize)?.as_mut()
    }

    /// A task more whose result will come.
    pub(super) fn expect(&mut self, inbox: u32) {
        if let Some(inbox) = self.get(inbox) {
            inbox.open += 1;
        }
    }

    pub(super) fn put(&mut self, number: u32, index: u64, end: End, after: &mut After) {
        let Some(inbox) = self.get(number) else {
            after.rubbish.push(end);
            return;
        };
        inbox.open -= 1;
        if inbox.closed {
            let free = inbox.open == 0;
            after.rubbish.push(end);
            if free {
                self.0[number as usize] = None;
            }
            return;
        }
        inbox.there.push((index, end));
        after.wakes.threads.extend(inbox.waiter.take());
    }

    pub(super) fn is_empty(&self, inbox: u32) -> bool {
        self.0
            .get(inbox as usize)
            .and_then(Option::as_ref)
            .is_none_or(|i| i.there.is_empty())
    }

    /// Fetches what is there. `into` is empty, and its memory is used for the next.
    pub(super) fn fetch(&mut self, inbox: u32, into: &mut Vec<(u64, End)>) {
        if let Some(inbox) = self.get(inbox) {
            std::mem::swap(&mut inbox.there, into);
        }
    }

    pub(super) fn set_waiter(&mut self, inbox: u32, waiter: Option<Thread>) {
        if let Some(inbox) = self.get(inbox) {
            inbox.waiter = waiter;
        }
    }

    pub(super) fn is_closed(&self, inbox: u32) -> bool {
        self.0
            .get(inbox as usize)
            .and_then(Option::as_ref)
            .is_none_or(|i| i.closed)
    }

    /// Nobody fetches any more.
    pub(super) fn close(&mut self, number: u32, after: &mut After) {
        let Some(inbox) = self.get(number) else {
            return;
        };
        inbox.closed = true;
        after
            .rubbish
            .extend(inbox.there.drain(..).map(|(_, end)| end));
        if inbox.open == 0 {
            self.0[number as usize] = None;
        }
    }
}
