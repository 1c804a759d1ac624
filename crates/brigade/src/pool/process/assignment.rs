//! Which worker has a task.

/// A worker's index in the table of its pool. A worker that comes after another has its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerIndex(u32);

impl WorkerIndex {
    pub(super) const FIRST: WorkerIndex = WorkerIndex(0);

    /// The first `count` indices.
    pub(super) fn up_to(count: usize) -> impl Iterator<Item = WorkerIndex> {
        (0..count as u32).map(WorkerIndex)
    }

    /// Where it is in a list with a place for each worker.
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// A worker that lives: its place, and how many were there before it.
pub(super) type LivingWorker = (WorkerIndex, u64);

/// The worker that has a task, and the task's number among all that were given to that worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) worker: WorkerIndex,
    pub(super) number: u32,
}

impl Assignment {
    /// The assignment of a task whose worker is gone, and whose end is about to be settled: no
    /// table has this index.
    pub(super) const ENDED: Assignment = Assignment {
        worker: WorkerIndex(u32::MAX - 1),
        number: 0,
    };

    /// In one word; 0 stands for a task that no worker has.
    pub(super) fn to_word(assignment: Option<Assignment>) -> u64 {
        assignment.map_or(0, |a| {
            (u64::from(a.worker.0) + 1) << 32 | u64::from(a.number)
        })
    }

    pub(super) fn from_word(word: u64) -> Option<Assignment> {
        Some(Assignment {
            worker: WorkerIndex(((word >> 32) as u32).checked_sub(1)?),
            number: word as u32,
        })
    }
}
