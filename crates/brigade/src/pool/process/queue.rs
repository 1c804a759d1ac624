//! The tasks that no worker has.

use std::collections::{BTreeMap, VecDeque};

use super::assignment::WorkerIndex;
use super::result_cell::ResultCell;
use super::task::{ResultSink, Task};
use crate::pool::policy::queue_and_retries::should_remove_cancelled;

/// The tasks that no worker has, in the order in which they are given to workers.
#[derive(Default)]
pub(super) struct TaskQueue {
    entries: VecDeque<Task>,
    /// How many tasks those are: an entry may be several of a map.
    tasks: usize,
    /// Tasks that one worker is to run, by its place, in their order. No list is empty.
    pinned: BTreeMap<WorkerIndex, VecDeque<Task>>,
    /// How many those are.
    pinned_tasks: usize,
    /// The number of these tasks that have handles and were cancelled: their ends are settled.
    cancelled: usize,
}

/// Among no more entries than these, a task that is cancelled is looked for. In a longer queue it
/// stays, with its input, until its turn comes or until enough were cancelled that to go through
/// all of them pays.
const SEARCHED: usize = 1024;

impl TaskQueue {
    /// Whether there is none that any worker may run.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is one at all.
    pub(super) fn has_any(&self) -> bool {
        !self.entries.is_empty() || self.has_pinned()
    }

    /// How many entries there are that any worker may run, of one task or several.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How many tasks there are that any worker may run, with those that were cancelled.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// How many tasks are to be run, by any worker or by one.
    pub(super) fn live(&self) -> usize {
        self.tasks + self.pinned_tasks - self.cancelled
    }

    pub(super) fn first(&self) -> Option<&Task> {
        self.entries.front()
    }

    pub(super) fn push_back(&mut self, task: Task) {
        if let Some(pinned) = self.pinned_with(&task) {
            return pinned.push_back(task);
        }
        self.tasks += task.count() as usize;
        self.entries.push_back(task);
    }

    /// Puts a task back that was taken from a worker, or that there was no room for. It is next.
    pub(super) fn push_front(&mut self, task: Task) {
        if let Some(pinned) = self.pinned_with(&task) {
            return pinned.push_front(task);
        }
        self.tasks += task.count() as usize;
        self.entries.push_front(task);
    }

    /// Takes the next one that any worker may run. The caller passes one that was cancelled to
    /// [`drop_cancelled`](Self::drop_cancelled).
    pub(super) fn pop(&mut self) -> Option<Task> {
        let task = self.entries.pop_front()?;
        self.tasks -= task.count() as usize;
        Some(task)
    }

    /// Whether there are so few entries that one that is cancelled is taken out at once.
    pub(super) fn is_short(&self) -> bool {
        self.entries.len() + self.pinned_tasks <= SEARCHED
    }

    /// One of these tasks was cancelled, and its end was settled. Returns those that are to be
    /// dropped now.
    pub(super) fn count_cancelled(&mut self) -> VecDeque<Task> {
        self.cancelled += 1;
        if !should_remove_cancelled(self.cancelled, self.entries.len() + self.pinned_tasks) {
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
        if let Some(at) = self.entries.iter().position(is_it) {
            let task = self.entries.remove(at)?;
            self.tasks -= task.count() as usize;
            return Some(task);
        }
        for (&place, tasks) in &mut self.pinned {
            let Some(at) = tasks.iter().position(is_it) else {
                continue;
            };
            let task = tasks.remove(at);
            self.pinned_tasks -= 1;
            if tasks.is_empty() {
                self.pinned.remove(&place);
            }
            return task;
        }
        None
    }

    /// Takes the tasks of a map out of the queue.
    pub(super) fn remove_map(&mut self, map: u32) -> VecDeque<Task> {
        self.remove_all(|task| matches!(task.sink, ResultSink::Map(of, _) if of == map))
    }

    fn remove_all(&mut self, is_one: impl Fn(&Task) -> bool) -> VecDeque<Task> {
        let entries = std::mem::take(&mut self.entries);
        let (mut removed, kept): (VecDeque<_>, _) = entries.into_iter().partition(&is_one);
        self.entries = kept;
        let tasks = removed.iter().map(|task| task.count() as usize);
        self.tasks -= tasks.sum::<usize>();
        let mut left = 0;
        self.pinned.retain(|_, tasks| {
            let (out, kept): (VecDeque<_>, _) = tasks.drain(..).partition(&is_one);
            *tasks = kept;
            left += tasks.len();
            removed.extend(out);
            !tasks.is_empty()
        });
        self.pinned_tasks = left;
        removed
    }
}

/// Tasks that one worker is to run.
impl TaskQueue {
    /// Where such a task is put; `None`: any worker may run it.
    #[inline]
    fn pinned_with(&mut self, task: &Task) -> Option<&mut VecDeque<Task>> {
        let place = task.pin?;
        self.pinned_tasks += 1;
        Some(self.pinned.entry(place).or_default())
    }

    #[inline]
    pub(super) fn has_pinned(&self) -> bool {
        self.pinned_tasks > 0
    }

    /// Whether the worker in this place is to run one.
    #[inline]
    pub(super) fn has_pinned_to(&self, place: WorkerIndex) -> bool {
        self.has_pinned() && self.pinned.contains_key(&place)
    }

    /// The places of workers that are to run one.
    pub(super) fn pinned_places(&self) -> Vec<WorkerIndex> {
        self.pinned.keys().copied().collect()
    }

    /// The next that the worker in this place is to run.
    pub(super) fn first_pinned(&self, place: WorkerIndex) -> Option<&Task> {
        self.pinned.get(&place)?.front()
    }

    /// Takes that one, as [`pop`](Self::pop).
    pub(super) fn pop_pinned(&mut self, place: WorkerIndex) -> Option<Task> {
        let tasks = self.pinned.get_mut(&place)?;
        let task = tasks.pop_front();
        if tasks.is_empty() {
            self.pinned.remove(&place);
        }
        self.pinned_tasks -= usize::from(task.is_some());
        task
    }

    /// Takes any, as [`pop`](Self::pop).
    pub(super) fn pop_any(&mut self) -> Option<Task> {
        self.pop().or_else(|| {
            let place = *self.pinned.keys().next()?;
            self.pop_pinned(place)
        })
    }

    /// What was for the worker in one place is for that in another, in the order in which it came.
    pub(super) fn repin(&mut self, from: WorkerIndex, to: WorkerIndex) {
        let Some(mut moved) = self.pinned.remove(&from) else {
            return;
        };
        for task in &mut moved {
            task.pin = Some(to);
        }
        let tasks = self.pinned.entry(to).or_default();
        tasks.append(&mut moved);
        tasks.make_contiguous().sort_by_key(|task| task.number);
    }
}
