//! The tasks that one worker has.

use std::collections::VecDeque;

use super::result_cell::ResultCell;
use super::task::{ResultSink, Task};
use crate::sim::local::Instant;

/// The tasks that were written to a worker's mailbox and have not ended, oldest first. The worker
/// runs the first one, or will next.
#[derive(Default)]
pub(super) struct AssignedTasks {
    entries: VecDeque<Task>,
    /// How many tasks those are: an entry may be several of a map.
    count: usize,
}

/// A task of a map that is done.
pub(super) struct MapTask {
    pub(super) map: u32,
    /// The number of its input.
    pub(super) index: u64,
    pub(super) submitted: Instant,
}

impl AssignedTasks {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many wait behind the first.
    pub(super) fn behind_first(&self) -> usize {
        self.count.saturating_sub(1)
    }

    pub(super) fn first(&self) -> Option<&Task> {
        self.entries.front()
    }

    pub(super) fn first_mut(&mut self) -> Option<&mut Task> {
        self.entries.front_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.entries.iter()
    }

    /// Whether its worker may be given others beside these.
    pub(super) fn may_grow(&self) -> bool {
        self.first().is_none_or(|task| !task.isolated)
    }

    /// See [`Task::isolated`].
    pub(super) fn isolate(&mut self) {
        for task in &mut self.entries {
            task.isolated = true;
        }
    }

    /// The first goes back: see [`Task::doubt`]. Of several, it is one by itself from then on: the
    /// others were not its worker's next.
    pub(super) fn doubt_first(&mut self) {
        let Some(first) = self.entries.front_mut() else {
            return;
        };
        let Some(mut one) = first.take_first() else {
            return first.doubt();
        };
        if first.count() == 0 {
            self.entries.pop_front();
        }
        one.doubt();
        self.entries.push_front(one);
    }

    /// Whether that it has not begun the first is no longer believed of any worker.
    pub(super) fn is_first_doubted(&self) -> bool {
        self.first().is_some_and(Task::is_doubted)
    }

    pub(super) fn push(&mut self, task: Task) {
        self.count += task.count() as usize;
        self.entries.push_back(task);
    }

    /// Puts one task behind the others, if there is one.
    pub(super) fn push_one(&mut self, task: Option<Task>) {
        if let Some(task) = task {
            self.count += 1;
            self.entries.push_back(task);
        }
    }

    /// Takes the first task out.
    pub(super) fn take_first(&mut self) -> Option<Task> {
        let first = self.entries.front_mut()?;
        self.count -= 1;
        match first.take_first() {
            Some(one) => {
                if first.count() == 0 {
                    self.entries.pop_front();
                }
                Some(one)
            }
            None => self.entries.pop_front(),
        }
    }

    /// The cell that gets the end of the first task, if that is its handle's, and the task has
    /// nothing otherwise than the pool.
    pub(super) fn first_plain_cell(&self) -> Option<&ResultCell> {
        let first = self.first()?;
        match &first.sink {
            ResultSink::Handle(of) if !first.has_options => Some(of.cell()),
            _ => None,
        }
    }

    /// Removes the first entry, which is a single task, and has ended.
    pub(super) fn drop_first(&mut self) {
        self.count -= 1;
        drop(self.entries.pop_front());
    }

    /// Removes the first task, which has ended, if it is of a map.
    pub(super) fn pop_of_map(&mut self) -> Option<MapTask> {
        let first = self.entries.front_mut()?;
        let (map, index) = first.pop_completed()?;
        let submitted = first.submitted;
        self.count -= 1;
        if first.count() == 0 {
            self.entries.pop_front();
        }
        Some(MapTask {
            map,
            index,
            submitted,
        })
    }

    /// Lets go of `count` tasks of the first entry, which is of a map: they were a part of it, or
    /// all.
    pub(super) fn drop_of_map(&mut self, count: u32) {
        if let Some(first) = self.entries.front_mut() {
            first.drop_completed(count);
            self.count -= count as usize;
            if first.count() == 0 {
                self.entries.pop_front();
            }
        }
    }

    /// Keeps the first `keep`, and returns the others.
    pub(super) fn split_off(&mut self, mut keep: u32) -> VecDeque<Task> {
        let mut at = 0;
        while let Some(task) = self.entries.get(at).filter(|task| task.count() <= keep) {
            keep -= task.count();
            at += 1;
        }
        let mut others = self.entries.split_off(at);
        if let Some(first) = others.front_mut().filter(|_| keep > 0) {
            if let Some(rest) = first.split_off(keep) {
                self.entries.push_back(std::mem::replace(first, rest));
            }
        }
        self.count -= others.iter().map(|t| t.count() as usize).sum::<usize>();
        others
    }
}
