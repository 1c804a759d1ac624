//! A task on its way through a pool of processes: what is run, on what, for whom.

use std::panic::Location;
use std::sync::Arc;

use super::input::Input;
use super::outcome::Bytes;
use super::result_cell::Settle;
use crate::Message;
use crate::pool::policy::limits::Attempts;
use crate::sim::local::Instant;
use crate::task::entry::Plan;
use crate::task::identity;
use crate::task::name::TaskName;

/// A function to run, and who asked for it where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) plan: [u64; 2],
    started: &'static Location<'static>,
}

impl Job {
    #[track_caller]
    pub(super) fn new<A: Message, R: Message>(task: fn(A) -> R) -> std::io::Result<Job> {
        Ok(Job {
            plan: Plan::of(task)?.to_words(),
            started: Location::caller(),
        })
    }

    /// One that no worker can find.
    #[track_caller]
    pub(super) fn nowhere() -> Job {
        Job {
            plan: [u64::MAX; 2],
            started: Location::caller(),
        }
    }

    /// What it is called.
    pub(super) fn name(&self, worker: Option<&Arc<str>>) -> TaskName {
        let address = identity::Function(self.plan[1]).address().unwrap_or(0);
        TaskName::at(address, worker.cloned(), self.started)
    }
}

/// A task that was accepted and has not ended; or several of a map, one after another.
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) input: Input,
    pub(super) owner: Owner,
    /// How often it was run and did not end.
    pub(super) attempts: Attempts,
    /// How often its worker died and said that it had not run it.
    pub(super) spared: u8,
    /// The process of the worker that was given it last, where somebody listens; or 0.
    pub(super) with: u32,
    pub(super) submitted: Instant,
    /// Where it lies in its worker's mailbox.
    pub(super) at: u64,
    pub(super) number: u64,
}

/// Who hears how it ended.
pub(super) enum Owner {
    Handle(Arc<dyn Settle>),
    /// A map, and the number of the input, or of the first.
    Map(u32, u64),
}

impl Task {
    /// How many tasks this is.
    pub(super) fn count(&self) -> u32 {
        match &self.input {
            Input::Strip(strip) => strip.count(),
            _ => 1,
        }
    }

    /// Of several tasks, keeps the first so many, and gives the others.
    pub(super) fn split_off(&mut self, keep: u32) -> Option<Task> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&mut self.input, &self.owner) else {
            return None;
        };
        let (rest, kept) = strip.split_off(keep);
        Some(Task {
            job: self.job,
            owner: Owner::Map(*inbox, index + u64::from(keep)),
            attempts: self.attempts,
            spared: 0,
            with: self.with,
            submitted: self.submitted,
            at: self.at + kept as u64,
            number: self.number + u64::from(keep),
            input: Input::Strip(rest),
        })
    }

    /// Of several tasks, lets go of the first, which is done. Gives whose it was.
    pub(super) fn advance(&mut self) -> Option<(u32, u64)> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&mut self.input, &mut self.owner)
        else {
            return None;
        };
        self.at += strip.advance() as u64;
        self.number += 1;
        *index += 1;
        Some((*inbox, *index - 1))
    }

    /// Of several tasks, takes the first out, to be one by itself.
    pub(super) fn take_first(&mut self) -> Option<Task> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&self.input, &self.owner) else {
            return None;
        };
        let one = Task {
            job: self.job,
            input: Input::Small(Bytes::from_slice(strip.first())),
            owner: Owner::Map(*inbox, *index),
            attempts: self.attempts,
            spared: 0,
            with: self.with,
            submitted: self.submitted,
            at: self.at,
            number: self.number,
        };
        self.advance();
        Some(one)
    }
}
