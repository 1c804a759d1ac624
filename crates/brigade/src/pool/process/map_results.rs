//! Where the results of a map are put, for the one that it was asked by.

use std::collections::VecDeque;

use super::deferred::Deferred;
use super::outcome::{Bytes, RawOutcome};
use crate::sim::local::thread::Thread;
use crate::transport::ring::NextFrame;
use crate::worker::process::ipc::reply::returned_at;

/// Results, in the order in which they came: those that are plain bytes one after another, and the
/// others. Those that came together are as they were in the mailbox, and come apart when they are
/// taken out.
#[derive(Default)]
pub(super) struct ResultBuffer {
    entries: VecDeque<ResultEntry>,
    bytes: Vec<u8>,
    /// Where the bytes of the next entry begin.
    from: usize,
    others: VecDeque<RawOutcome>,
}

/// One result, or several: the number of the input, or of the first; and what there is of them.
type ResultEntry = (u64, ResultForm);

#[derive(Clone, Copy)]
enum ResultForm {
    /// The result's length in bytes.
    Bytes(u32),
    /// The replies to this many tasks.
    Replies(u32),
    Other,
}

/// A result, as it is taken out.
pub(super) enum ResultRef<'r> {
    Bytes(&'r [u8]),
    Other(RawOutcome),
}

impl ResultBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how much memory they hold.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() - self.from + self.others.iter().map(RawOutcome::size).sum::<usize>()
    }

    pub(super) fn put(&mut self, index: u64, end: RawOutcome) {
        match &end {
            RawOutcome::Returned(bytes) => self.put_bytes(index, bytes),
            _ => {
                self.entries.push_back((index, ResultForm::Other));
                self.others.push_back(end);
            }
        }
    }

    fn put_bytes(&mut self, index: u64, bytes: &[u8]) {
        self.entries
            .push_back((index, ResultForm::Bytes(bytes.len() as u32)));
        self.bytes.extend_from_slice(bytes);
    }

    fn put_frame(&mut self, index: u64, frame: NextFrame<'_, '_>) {
        self.entries
            .push_back((index, ResultForm::Bytes(frame.len() as u32)));
        frame.append_to(&mut self.bytes);
    }

    /// Takes replies that are there, by `take`, which appends them and gives how many they are, and
    /// how many bytes the results are: those to the tasks from `index` on.
    fn put_replies(
        &mut self,
        index: u64,
        take: impl FnOnce(&mut Vec<u8>) -> (u32, usize),
    ) -> (u32, usize) {
        let (count, bytes) = take(&mut self.bytes);
        if count > 0 {
            self.entries.push_back((index, ResultForm::Replies(count)));
        }
        (count, bytes)
    }

    /// Takes the next one out.
    #[inline]
    pub(super) fn take(&mut self) -> Option<(u64, ResultRef<'_>)> {
        let Some(first) = self.entries.front_mut() else {
            // Its memory is used for the next.
            self.bytes.clear();
            self.from = 0;
            return None;
        };
        let (index, form) = *first;
        let from = self.from;
        let result = match form {
            ResultForm::Replies(count) => {
                *first = (index + 1, ResultForm::Replies(count - 1));
                // They are whole: that was seen when they were taken.
                let (result, next) =
                    returned_at(&self.bytes, from).unwrap_or((&[], self.bytes.len()));
                self.from = next;
                if count > 1 {
                    return Some((index, ResultRef::Bytes(result)));
                }
                ResultRef::Bytes(result)
            }
            ResultForm::Bytes(len) => {
                self.from += len as usize;
                ResultRef::Bytes(&self.bytes[from..self.from])
            }
            ResultForm::Other => ResultRef::Other(self.others.pop_front()?),
        };
        self.entries.pop_front();
        Some((index, result))
    }
}

/// The results of one map that were not fetched.
#[derive(Default)]
pub(super) struct MapState {
    there: ResultBuffer,
    /// Tasks that have not ended.
    open: u64,
    /// The caller fetches no more.
    closed: bool,
    waiter: Option<Thread>,
}

/// All maps of a pool, by number.
#[derive(Default)]
pub(super) struct MapTable(Vec<Option<MapState>>);

impl MapTable {
    pub(super) fn open(&mut self) -> u32 {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[at] = Some(MapState::default());
        at as u32
    }

    fn get(&mut self, map: u32) -> Option<&mut MapState> {
        self.0.get_mut(map as usize)?.as_mut()
    }

    /// The results of `count` tasks more will come.
    pub(super) fn expect(&mut self, map: u32, count: u32) {
        if let Some(map) = self.get(map) {
            map.open += u64::from(count);
        }
    }

    /// A result that is plain bytes, which are copied from the mailbox to where they are decoded.
    pub(super) fn put_frame(
        &mut self,
        number: u32,
        index: u64,
        frame: NextFrame<'_, '_>,
        deferred: &mut Deferred,
    ) {
        match self.get(number) {
            Some(map) if !map.closed => {
                map.open -= 1;
                map.there.put_frame(index, frame);
                deferred.wakeups.threads.extend(map.waiter.take());
            }
            _ => {
                frame.skip();
                self.put(number, index, RawOutcome::Returned(Bytes::new()), deferred);
            }
        }
    }

    /// Results that are plain bytes, of the tasks from `index` on, which `take` appends as they are
    /// in the mailbox: it gives how many they are, and how many bytes the results are. Not where
    /// no caller fetches them.
    pub(super) fn put_replies(
        &mut self,
        number: u32,
        index: u64,
        deferred: &mut Deferred,
        take: impl FnOnce(&mut Vec<u8>) -> (u32, usize),
    ) -> (u32, usize) {
        let Some(map) = self.get(number).filter(|map| !map.closed) else {
            return (0, 0);
        };
        let (count, bytes) = map.there.put_replies(index, take);
        if count > 0 {
            map.open -= u64::from(count);
            deferred.wakeups.threads.extend(map.waiter.take());
        }
        (count, bytes)
    }

    pub(super) fn put(
        &mut self,
        number: u32,
        index: u64,
        end: RawOutcome,
        deferred: &mut Deferred,
    ) {
        let Some(map) = self.get(number) else {
            deferred.rare().to_drop.push(end);
            return;
        };
        map.open -= 1;
        if map.closed {
            let free = map.open == 0;
            deferred.rare().to_drop.push(end);
            if free {
                self.0[number as usize] = None;
            }
            return;
        }
        map.there.put(index, end);
        deferred.wakeups.threads.extend(map.waiter.take());
    }

    pub(super) fn is_empty(&self, map: u32) -> bool {
        self.0
            .get(map as usize)
            .and_then(Option::as_ref)
            .is_none_or(|i| i.there.is_empty())
    }

    /// Fetches what is there. `into` is empty, and its memory is used for the next.
    pub(super) fn fetch(&mut self, map: u32, into: &mut ResultBuffer) {
        if let Some(map) = self.get(map) {
            std::mem::swap(&mut map.there, into);
        }
    }

    pub(super) fn set_waiter(&mut self, map: u32, waiter: Option<Thread>) {
        if let Some(map) = self.get(map) {
            map.waiter = waiter;
        }
    }

    pub(super) fn is_closed(&self, map: u32) -> bool {
        self.0
            .get(map as usize)
            .and_then(Option::as_ref)
            .is_none_or(|i| i.closed)
    }

    /// The caller fetches no more.
    pub(super) fn close(&mut self, number: u32, deferred: &mut Deferred) {
        let Some(map) = self.get(number) else {
            return;
        };
        map.closed = true;
        let others = std::mem::take(&mut map.there).others;
        if !others.is_empty() {
            deferred.rare().to_drop.extend(others);
        }
        if map.open == 0 {
            self.0[number as usize] = None;
        }
    }
}
