//! Tasks that have a timeout or a deadline of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::result_cell::{HasResultCell, ResultCell};
use super::task::{ResultSink, Task};
use crate::sim::local::Instant;

/// The times of tasks that were accepted, have not ended, and have some of their own. Nothing is
/// here for other tasks.
#[derive(Default)]
pub(super) struct OwnTimes {
    /// How many tasks have this timeout.
    timeouts: BTreeMap<Duration, usize>,
    /// By deadline; and by the cell's address, for several may have the same.
    deadlines: BTreeMap<(Instant, usize), Arc<dyn HasResultCell>>,
}

fn address(cell: &ResultCell) -> usize {
    std::ptr::from_ref(cell).addr()
}

impl OwnTimes {
    pub(super) fn is_empty(&self) -> bool {
        self.timeouts.is_empty() && self.deadlines.is_empty()
    }

    /// A task was accepted.
    pub(super) fn add(&mut self, task: &Task) {
        let (ResultSink::Handle(of), Some(own)) = (&task.sink, task.options()) else {
            return;
        };
        if let Some(time) = own.own_timeout() {
            *self.timeouts.entry(time).or_default() += 1;
        }
        if let Some(at) = own.deadline {
            self.deadlines
                .insert((at, address(of.cell())), Arc::clone(of));
        }
    }

    /// A task has ended.
    pub(super) fn remove(&mut self, cell: &ResultCell) {
        let Some(own) = cell.options() else {
            return;
        };
        if let Some(time) = own.own_timeout() {
            if let Some(tasks) = self.timeouts.get_mut(&time) {
                *tasks -= 1;
                if *tasks == 0 {
                    self.timeouts.remove(&time);
                }
            }
        }
        if let Some(at) = own.deadline {
            self.deadlines.remove(&(at, address(cell)));
        }
    }

    pub(super) fn shortest_timeout(&self) -> Option<Duration> {
        self.timeouts.keys().next().copied()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.keys().next().map(|&(at, _)| at)
    }

    /// Takes out a task whose deadline has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Arc<dyn HasResultCell>> {
        let first = self.deadlines.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
