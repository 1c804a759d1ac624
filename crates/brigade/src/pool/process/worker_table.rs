//! The workers of a pool: which are idle, which are busy, and how many tasks they have been given.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::assignment::WorkerIndex;
use super::task::Task;
use super::worker_slot::{Given, SlotStatus, WorkerSlot};
use crate::sim::local::Instant;

/// The workers of a pool.
///
/// A worker is in the list of idle ones if it is ready and was given nothing, and in the list of
/// busy ones from its first task until it has none. One that starts or ends may be in neither.
pub(super) struct WorkerTable {
    /// A place for each worker; more than are wanted, where there were more.
    entries: Vec<TableEntry>,
    /// How many workers there should be.
    wanted: usize,
    /// How many of the busy ones are to [leave](WorkerSlot::leaves).
    leaving: usize,
    /// The one that was used last is used next: its processor may still be looking.
    idle: Vec<WorkerIndex>,
    busy: Vec<WorkerIndex>,
    /// Tasks that were given to workers and have not ended, of all of them.
    assigned: usize,
    /// Where in `busy` the next look for room begins.
    scan_from: usize,
    /// No busy worker has room, until one has finished something.
    all_full: bool,
    /// Bytes of contexts that workers were given whose places were emptied.
    context_bytes: u64,
}

struct TableEntry {
    slot: WorkerSlot,
    /// Since when it is in the list of busy ones, if it is.
    busy_since: Option<Instant>,
    /// How many workers were ready in this place before the one that is there, or comes.
    generation: u64,
    /// How many keys were given to that one.
    keys: u64,
}

impl TableEntry {
    fn vacant(now: Instant) -> TableEntry {
        TableEntry {
            slot: WorkerSlot::vacant(now),
            busy_since: None,
            generation: 0,
            keys: 0,
        }
    }
}

impl Index<WorkerIndex> for WorkerTable {
    type Output = WorkerSlot;

    fn index(&self, i: WorkerIndex) -> &WorkerSlot {
        &self.entries[i.at()].slot
    }
}

impl IndexMut<WorkerIndex> for WorkerTable {
    fn index_mut(&mut self, i: WorkerIndex) -> &mut WorkerSlot {
        &mut self.entries[i.at()].slot
    }
}

impl WorkerTable {
    pub(super) fn new(workers: usize, now: Instant) -> WorkerTable {
        WorkerTable {
            entries: (0..workers).map(|_| TableEntry::vacant(now)).collect(),
            wanted: workers,
            leaving: 0,
            idle: Vec::new(),
            busy: Vec::new(),
            assigned: 0,
            scan_from: 0,
            all_full: false,
            context_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, i: WorkerIndex) -> Option<&WorkerSlot> {
        Some(&self.entries.get(i.at())?.slot)
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        WorkerIndex::up_to(self.entries.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &WorkerSlot> {
        self.entries.iter().map(|entry| &entry.slot)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut WorkerSlot> {
        self.entries.iter_mut().map(|entry| &mut entry.slot)
    }

    /// Empties a worker's slot. Returns since when it was busy, if it was.
    pub(super) fn clear(&mut self, i: WorkerIndex, now: Instant) -> Option<Instant> {
        let since = self.end_busy(i);
        self.context_bytes += self[i].contexts.carried();
        // Before it was ready it had no task.
        let had_tasks = !matches!(self[i].status, SlotStatus::Vacant | SlotStatus::Starting);
        let entry = &mut self.entries[i.at()];
        *entry = TableEntry {
            generation: entry.generation + u64::from(had_tasks),
            keys: if had_tasks { 0 } else { entry.keys },
            ..TableEntry::vacant(now)
        };
        since
    }

    // ---- keys

    /// How many workers were ready in this place before the one that is there, or comes.
    pub(super) fn generation(&self, i: WorkerIndex) -> u64 {
        self.entries[i.at()].generation
    }

    /// The worker that comes into this place is another than was expected.
    pub(super) fn end_generation(&mut self, i: WorkerIndex) {
        let entry = &mut self.entries[i.at()];
        entry.generation += 1;
        entry.keys = 0;
    }

    /// How many keys were given to the worker in this place.
    pub(super) fn keys(&self, i: WorkerIndex) -> u64 {
        self.entries[i.at()].keys
    }

    pub(super) fn count_key(&mut self, i: WorkerIndex) {
        self.entries[i.at()].keys += 1;
    }

    // ---- idle and busy

    pub(super) fn idle(&self) -> &[WorkerIndex] {
        &self.idle
    }

    pub(super) fn busy(&self) -> &[WorkerIndex] {
        &self.busy
    }

    /// How many take tasks, or did until a moment ago.
    pub(super) fn active(&self) -> usize {
        self.idle.len() + self.busy.len()
    }

    /// Whether as many workers take tasks as there should be.
    pub(super) fn is_complete(&self) -> bool {
        self.active() >= self.wanted + self.leaving
    }

    // ---- how many there should be

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Sets how many workers there should be from now on.
    pub(super) fn set_wanted(&mut self, workers: usize, now: Instant) {
        self.wanted = workers;
        while self.entries.len() < workers {
            self.entries.push(TableEntry::vacant(now));
        }
    }

    /// How many workers there are, or will be, that stay.
    pub(super) fn staying(&self) -> usize {
        self.iter().filter(|slot| slot.stays()).count()
    }

    /// Whether a busy worker is to leave when it has no task any more.
    pub(super) fn set_leaving(&mut self, i: WorkerIndex, leaves: bool) {
        if std::mem::replace(&mut self[i].leaves, leaves) != leaves {
            if leaves {
                self.leaving += 1;
            } else {
                self.leaving -= 1;
            }
        }
    }

    pub(super) fn is_busy(&self, i: WorkerIndex) -> bool {
        self.entries[i.at()].busy_since.is_some()
    }

    /// Puts a worker into the list of busy ones. Returns whether it was not there.
    pub(super) fn mark_busy(&mut self, i: WorkerIndex, now: Instant) -> bool {
        if self.is_busy(i) {
            return false;
        }
        self.entries[i.at()].busy_since = Some(now);
        self.busy.push(i);
        // Near the end, nearly always.
        if let Some(at) = self.idle.iter().rposition(|&other| other == i) {
            self.idle.remove(at);
        }
        true
    }

    /// Takes a worker out of the list of busy ones. Returns since when it was there.
    pub(super) fn end_busy(&mut self, i: WorkerIndex) -> Option<Instant> {
        let since = self.entries[i.at()].busy_since.take()?;
        self.set_leaving(i, false);
        if let Some(at) = self.busy.iter().position(|&other| other == i) {
            self.busy.swap_remove(at);
        }
        Some(since)
    }

    /// The worker is idle, and is used next.
    pub(super) fn mark_idle(&mut self, i: WorkerIndex) {
        self.idle.push(i);
    }

    /// The worker is idle, and is used when all other idle ones have something to do.
    pub(super) fn mark_idle_last(&mut self, i: WorkerIndex) {
        self.idle.insert(0, i);
    }

    pub(super) fn end_idle(&mut self, i: WorkerIndex) {
        self.idle.retain(|&other| other != i);
    }

    /// How long those that are busy have been so, all in all.
    pub(super) fn busy_time(&self, now: Instant) -> Duration {
        let since = |&i: &WorkerIndex| self.entries[i.at()].busy_since;
        let since = self.busy.iter().filter_map(since);
        since.map(|at| now.saturating_duration_since(at)).sum()
    }

    /// Bytes of contexts that all workers were given, those that are gone too.
    pub(super) fn context_bytes(&self) -> u64 {
        let slots = self.iter().map(|slot| slot.contexts.carried());
        self.context_bytes + slots.sum::<u64>()
    }

    // ---- tasks

    /// How many tasks were given to workers and have not ended.
    pub(super) fn assigned(&self) -> usize {
        self.assigned
    }

    /// How many of those wait behind another.
    pub(super) fn behind_first(&self) -> usize {
        self.assigned.saturating_sub(self.busy.len())
    }

    /// Whether some of those wait behind another.
    pub(super) fn has_queued_behind(&self) -> bool {
        self.behind_first() > 0
    }

    /// Writes a task, or several, into a worker's mailbox.
    pub(super) fn assign(&mut self, i: WorkerIndex, task: Task) -> Given {
        let given = self[i].give(task, i);
        self.assigned += given.took as usize;
        given
    }

    /// As [`assign`](Self::assign), of one task without descriptors. `false`: that cannot be done
    /// now, and it stays where it is.
    pub(super) fn assign_plain(&mut self, i: WorkerIndex, task: &mut Option<Task>) -> bool {
        let given = self[i].give_plain(task, i);
        self.assigned += usize::from(given);
        given
    }

    /// Takes out the first of a worker's tasks.
    pub(super) fn take_first(&mut self, i: WorkerIndex) -> Option<Task> {
        let task = self[i].assigned.take_first()?;
        self.assigned -= 1;
        Some(task)
    }

    /// Takes out the tasks that are no longer with a worker: all but the first `left`, counted as
    /// the worker does.
    pub(super) fn split_off(
        &mut self,
        i: WorkerIndex,
        left: u32,
    ) -> impl DoubleEndedIterator<Item = Task> + use<> {
        let slot = &mut self[i];
        let before = slot.assigned.count();
        let back = slot.split_off(left);
        let taken = before - slot.assigned.count();
        self.assigned -= taken;
        back.into_iter()
    }

    /// `tasks` tasks were taken out of what workers were
    /// [assigned](super::assigned_tasks::AssignedTasks) because they had returned.
    pub(super) fn count_done(&mut self, tasks: usize) {
        self.assigned -= tasks;
    }

    // ---- room

    /// The next of the first `among` busy workers, in turn, which may be given more.
    pub(super) fn next_busy(&mut self, among: usize) -> WorkerIndex {
        self.scan_from = (self.scan_from + 1) % among;
        self.busy[self.scan_from]
    }

    pub(super) fn is_all_full(&self) -> bool {
        self.all_full
    }

    pub(super) fn set_all_full(&mut self, all_full: bool) {
        self.all_full = all_full;
    }
}
