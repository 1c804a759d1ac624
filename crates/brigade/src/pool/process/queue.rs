//! The tasks that no worker has.

use std::collections::VecDeque;

use super::result_cell::ResultCell;
use super::task::{ResultSink, Task};
use crate::pool::policy::limits::should_remove_cancelled;

/// The tasks that no worker has, in the order in which they are given to workers.
#[derive(Default)]
pub(super) struct TaskQueue {
    entries: VecDeque<Task>,
    /// How many tasks those are: an entry may be several of a map.
    tasks: usize,
    /// Of them, those of handles whose end was told when they were cancelled.
    cancelled: usize,
}

/// Among no more entries than these, a task that is cancelled is looked for. In a longer queue it
/// stays, with its input, until its turn comes or until so many were cancelled that to go through
/// all of them pays.
const SEARCHED: usize = 1024;

impl TaskQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries there are, of one task or several.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How many tasks there are, with those that were cancelled.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// How many of them are to be run.
    pub(super) fn live(&self) -> usize {
        self.tasks - self.cancelled
    }

    pub(super) fn first(&self) -> Option<&Task> {
        self.entries.front()
    }

    pub(super) fn push_back(&mut self, task: Task) {
        self.tasks += task.count() as usize;
        self.entries.push_back(task);
    }

    /// Puts a task back that was taken from a worker, or that there was no room for. It is next.
    pub(super) fn push_front(&mut self, task: Task) {
        self.tasks += task.count() as usize;
        self.entries.push_front(task);
    }

    /// Takes the next one. One that was cancelled is to be told to
    /// [`drop_cancelled`](Self::drop_cancelled).
    pub(super) fn pop(&mut self) -> Option<Task> {
        let task = self.entries.pop_front()?;
        self.tasks -= task.count() as usize;
        Some(task)
    }

    /// Whether there are so few entries that one that is cancelled is taken out at once.
    pub(super) fn is_short(&self) -> bool {
        self.entries.len() <= SEARCHED
    }

    /// The end of one of these tasks was told, since it was cancelled. Returns those that are to be
    /// dropped now.
    pub(super) fn count_cancelled(&mut self) -> VecDeque<Task> {
        self.cancelled += 1;
        if !should_remove_cancelled(self.cancelled, self.entries.len()) {
            return VecDeque::new();
        }
        self.cancelled = 0;
        self.remove_all(|task| matches!(&task.sink, ResultSink::Handle(of) if of.cell().is_done()))
    }

    /// A cancelled task was taken out.
    pub(super) fn drop_cancelled(&mut self, task: Task) {
        self.cancelled = self.cancelled.saturating_sub(1);
        drop(task);
    }

    /// Takes the task of a handle out of the queue.
    pub(super) fn remove(&mut self, cell: &ResultCell) -> Option<Task> {
        let is_it = |task: &Task| matches!(&task.sink, ResultSink::Handle(of) if std::ptr::eq(of.cell(), cell));
        let at = self.entries.iter().position(is_it)?;
        let task = self.entries.remove(at)?;
        self.tasks -= task.count() as usize;
        Some(task)
    }

    /// Takes the tasks of a map out of the queue.
    pub(super) fn remove_map(&mut self, map: u32) -> VecDeque<Task> {
        self.remove_all(|task| matches!(task.sink, ResultSink::Map(of, _) if of == map))
    }

    fn remove_all(&mut self, is_one: impl Fn(&Task) -> bool) -> VecDeque<Task> {
        let entries = std::mem::take(&mut self.entries);
        let (removed, kept): (VecDeque<_>, _) = entries.into_iter().partition(is_one);
        self.entries = kept;
        let tasks = removed.iter().map(|task| task.count() as usize);
        self.tasks -= tasks.sum::<usize>();
        removed
    }
}
