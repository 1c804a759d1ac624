//! Where the results of a map are put, for the one that it was asked by.

use std::collections::VecDeque;

use super::deferred::Deferred;
use super::outcome::{Bytes, RawOutcome};
use crate::sim::local::thread::Thread;
use crate::transport::ring::NextFrame;

/// Results, in the order in which they came: those that are plain bytes one after another, and the
/// others.
#[derive(Default)]
pub(super) struct ResultBuffer {
    entries: VecDeque<ResultEntry>,
    bytes: Vec<u8>,
    /// Where the bytes of the next entry begin.
    from: usize,
    others: VecDeque<RawOutcome>,
}

/// One result: the number of its input, and the length of its bytes, or [`OTHER`].
type ResultEntry = (u64, u32);
const OTHER: u32 = u32::MAX;

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
                self.entries.push_back((index, OTHER));
                self.others.push_back(end);
            }
        }
    }

    fn put_bytes(&mut self, index: u64, bytes: &[u8]) {
        self.entries.push_back((index, bytes.len() as u32));
        self.bytes.extend_from_slice(bytes);
    }

    fn put_frame(&mut self, index: u64, frame: NextFrame<'_, '_>) {
        self.entries.push_back((index, frame.len() as u32));
        frame.append_to(&mut self.bytes);
    }

    /// Takes the next one out.
    pub(super) fn take(&mut self) -> Option<(u64, ResultRef<'_>)> {
        if self.entries.is_empty() {
            // Its memory is used for the next.
            self.bytes.clear();
            self.from = 0;
        }
        let (index, len) = self.entries.pop_front()?;
        if len == OTHER {
            return Some((index, ResultRef::Other(self.others.pop_front()?)));
        }
        let from = self.from;
        self.from += len as usize;
        Some((index, ResultRef::Bytes(&self.bytes[from..self.from])))
    }
}

/// The results of one map that were not fetched.
#[derive(Default)]
pub(super) struct MapState {
    there: ResultBuffer,
    /// Tasks that have not ended.
    open: u64,
    /// Nobody fetches any more.
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

    /// So many tasks more whose results will come.
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

    pub(super) fn put(
        &mut self,
        number: u32,
        index: u64,
        end: RawOutcome,
        deferred: &mut Deferred,
    ) {
        let Some(map) = self.get(number) else {
            deferred.to_drop.push(end);
            return;
        };
        map.open -= 1;
        if map.closed {
            let free = map.open == 0;
            deferred.to_drop.push(end);
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

    /// Nobody fetches any more.
    pub(super) fn close(&mut self, number: u32, deferred: &mut Deferred) {
        let Some(map) = self.get(number) else {
            return;
        };
        map.closed = true;
        deferred
            .to_drop
            .extend(std::mem::take(&mut map.there).others);
        if map.open == 0 {
            self.0[number as usize] = None;
        }
    }
}
