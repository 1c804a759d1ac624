//! What each worker does now, by asking it. No lock is held while a worker is waited for, and no
//! task is ended by it.

use std::time::Duration;

use super::assignment::WorkerIndex;
use super::pool::ProcessPool;
use super::worker_slot::{SlotStatus, WorkerSlot};
use crate::Kind;
use crate::pool::stacks::WorkerStack;
use crate::publish::WorkerPicture;
use crate::sim::local::Instant;
use crate::task::crash::Phase;
use crate::task::whereabouts::Whereabouts;
use crate::worker::process::doubles::Question;

/// How long all workers of a group have to answer. One that the system gives no processor within
/// that time is listed without its stack.
const WITHIN: Duration = Duration::from_millis(50);

/// Workers that are asked before the first answer is waited for.
const GROUP: usize = 64;

/// What a worker was doing before it was asked.
struct BeforeAsking {
    at: WorkerIndex,
    /// The number of its task, by the pool's count of what this worker was given.
    task: u32,
    picture: WorkerPicture,
}

impl ProcessPool {
    pub(in crate::pool) fn stacks(&self) -> Vec<WorkerStack> {
        if self.is_fork_of_owner() {
            return Vec::new();
        }
        let workers: Vec<WorkerIndex> = self.lock().dispatcher.workers.indices().collect();
        let mut stacks = Vec::with_capacity(workers.len());
        for group in workers.chunks(GROUP) {
            self.ask(group, &mut stacks);
        }
        stacks
    }

    fn ask(&self, group: &[WorkerIndex], into: &mut Vec<WorkerStack>) {
        // So that the tasks are listed that run now.
        self.poll();
        let mut asked: Vec<(BeforeAsking, Option<Question>)> = {
            let inner = self.lock();
            let now = Instant::now();
            let initializes = self.options.initializer.is_some();
            let slots = group.iter().filter_map(|&at| {
                let slot = inner.dispatcher.workers.get(at)?;
                slot.connection.as_ref()?;
                Some((at, slot))
            });
            slots
                .map(|(at, slot)| {
                    let picture = slot.picture(&self.options, now);
                    let task = slot.first();
                    let connection = slot
                        .connection
                        .as_ref()
                        .filter(|_| slot.may_be_asked(initializes));
                    let question = connection.map(|c| c.question());
                    (BeforeAsking { at, task, picture }, question)
                })
                .collect()
        };
        for question in asked
            .iter_mut()
            .filter_map(|(_, question)| question.as_mut())
        {
            question.ask();
        }
        let deadline = std::time::Instant::now() + WITHIN;
        let answers: Vec<(BeforeAsking, Option<Whereabouts>)> = asked
            .into_iter()
            .map(|(before, question)| (before, question.map(|q| q.wait(deadline))))
            .collect();
        self.poll();
        let name = self.options.name.as_ref();
        let inner = self.lock();
        let told = answers.into_iter().map(|(before, place)| {
            let slot = inner.dispatcher.workers.get(before.at);
            let was_asked = place.is_some();
            // It has shown the task's result, which was not collected yet.
            let is_idle = place.as_ref().is_some_and(|p| p.phase == Some(Phase::Idle));
            let stack = WorkerStack::new(Kind::Process, &before.picture, name, place);
            if is_idle || was_asked && !slot.is_some_and(|slot| before.is_still(slot)) {
                return stack.has_gone_on();
            }
            stack
        });
        into.extend(told);
    }
}

impl BeforeAsking {
    /// Whether that worker still runs that task.
    fn is_still(&self, slot: &WorkerSlot) -> bool {
        let pid = slot.connection.as_ref().map(|c| c.pid());
        pid == Some(self.picture.id) && slot.first() == self.task
    }
}

impl WorkerSlot {
    /// Whether the worker runs what is the program's: a task, or the initializer, if there is one.
    fn may_be_asked(&self, initializes: bool) -> bool {
        match self.status {
            SlotStatus::Starting => initializes,
            SlotStatus::Ready => self.has_begun() && !self.assigned.is_empty(),
            SlotStatus::Vacant | SlotStatus::Leaving | SlotStatus::Terminating(_) => false,
        }
    }
}
