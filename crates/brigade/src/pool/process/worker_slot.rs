//! A worker's place in a pool: who sits there, and what it has in hand.

use std::collections::VecDeque;
use std::time::Duration;

use super::assigned_tasks::AssignedTasks;
use super::assignment::{Assignment, WorkerIndex};
use super::input::Input;
use super::outcome::Bytes;
use super::task::{Owner, Task};
use crate::sim::local::Instant;
use crate::worker::process::host::connection::{NotNow, WorkerConnection};
use crate::worker::process::ipc::reply::ReplyTag;

/// How a worker is to be ended, and its task with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Its task's time is over.
    TimedOut,
    /// Its task was cancelled.
    Cancelled,
    /// It broke the protocol.
    Lost,
    /// It does not begin what it is given. Its task is no part of that.
    Stuck,
}

/// What a seat is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nobody sits here.
    Vacant,
    /// It is getting ready.
    Starting,
    /// It takes tasks.
    Ready,
    /// It takes no more, and ends by itself.
    Leaving,
    /// It is being ended.
    Doomed(Doom),
}

/// A worker's place.
pub(super) struct Seat {
    pub(super) status: Status,
    pub(super) line: Option<WorkerConnection>,
    /// What it has in hand, oldest first: that one it runs, or will next.
    pub(super) hand: AssignedTasks,
    /// Something was written to its mailbox that is not offered yet.
    pub(super) dirty: bool,
    /// There is no room in its mailbox.
    pub(super) full: bool,
    /// The plan of the task that was written last.
    pub(super) plan: Option<[u64; 2]>,
    /// A reply of which a part is still to come through the lane.
    pub(super) held: Option<(ReplyTag, Bytes)>,
    /// It has answered for the first task in its hand, but that made no sense, or came too late: it
    /// is being ended.
    pub(super) answered: bool,
    /// When it got something to do, or finished something.
    pub(super) mark: Instant,
    /// How many it had finished when that was looked at last, and when its next one was first seen;
    /// later, by the time in which this program or the worker could not run.
    pub(super) head: (u32, Instant),
    /// Since when its worker is stopped, as far as one has seen.
    pub(super) stopped: Option<Instant>,
    /// How long its worker had been stopped before, all in all.
    pub(super) stood: Duration,
    /// What the task that is first in its hand, by its number, was given back because of that.
    given: (u32, Duration),
    /// How many tasks those who listen know to have begun.
    pub(super) announced: u32,
    /// Its worker did not begin what it was given, for a while: others come first.
    pub(super) slow: bool,
    /// A task of its worker has closed the way that descriptors come: it gets no more, and is ended
    /// when it has nothing in hand.
    pub(super) unfit: bool,
    /// Not before this is a new worker hired.
    pub(super) hire_at: Option<Instant>,
}

impl Seat {
    pub(super) fn vacant(now: Instant) -> Seat {
        Seat {
            status: Status::Vacant,
            line: None,
            hand: AssignedTasks::default(),
            dirty: false,
            full: false,
            plan: None,
            held: None,
            answered: false,
            mark: now,
            head: (0, now),
            stopped: None,
            stood: Duration::ZERO,
            given: (0, Duration::ZERO),
            announced: 0,
            slow: false,
            unfit: false,
            hire_at: None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status == Status::Ready
    }

    /// Whether its worker comes or goes.
    pub(super) fn is_in_transit(&self) -> bool {
        self.line.is_some() && !self.is_ready()
    }

    /// When the time is over of what it has first in its hand: so long it may run, and so long its
    /// worker may be stopped meanwhile, at a time. `None`: that one has ended, or is being ended.
    pub(super) fn over_at(&self, timeout: Duration) -> Option<Instant> {
        let is_running = self.is_ready() && self.held.is_none();
        is_running.then(|| match self.stopped {
            Some(since) => since + timeout.min(self.may_be_given(timeout)),
            None => self.head.1 + timeout,
        })
    }

    /// What the first in its hand was given back of its time, because its worker was stopped.
    fn given(&self) -> Duration {
        if self.given.0 == self.head.0 {
            self.given.1
        } else {
            Duration::ZERO
        }
    }

    /// How much more of its time that one may be given back because of that: it could have itself
    /// stopped and continued for ever.
    fn may_be_given(&self, timeout: Duration) -> Duration {
        timeout
            .saturating_mul(MOST_STOPS)
            .saturating_sub(self.given())
    }

    /// Its worker was stopped for so long, and goes on.
    pub(super) fn went_on(&mut self, time: Duration, timeout: Duration, now: Instant) {
        let time = time.min(self.may_be_given(timeout));
        self.given = (self.head.0, self.given() + time);
        self.give_time_back(time, now);
    }

    /// So much of the time until now does not count.
    pub(super) fn give_time_back(&mut self, time: Duration, now: Instant) {
        for at in [&mut self.head.1, &mut self.mark]
            .into_iter()
            .chain(&mut self.stopped)
        {
            *at = (*at + time).min(now);
        }
    }

    /// Whether it can be given more.
    pub(super) fn has_room(&self) -> bool {
        self.is_ready() && !self.full && !self.unfit
    }

    /// Whether there is nothing that its worker could ring for: what it waits for, or its end, is
    /// heard in another way.
    pub(super) fn is_mute(&self) -> bool {
        self.held.is_some() || self.answered || self.status == Status::Doomed(Doom::Lost)
    }

    /// Whether those who listen do not know yet that the first in its hand runs.
    pub(super) fn is_unannounced(&self) -> bool {
        self.announced.wrapping_sub(self.first()) as i32 <= 0
    }

    /// The tasks in its hand that its worker has begun, `begun` since it came, and that nobody was
    /// told of: each with when it was submitted.
    pub(super) fn announce(&mut self, begun: u32) -> Vec<(u64, Instant)> {
        let first = self.first();
        let known = (self.announced.wrapping_sub(first) as i32).max(0);
        let begun = (begun.wrapping_sub(first) as i32).max(known);
        self.announced = first.wrapping_add(begun as u32);
        let tasks = self.hand.iter().flat_map(|task| {
            (0..u64::from(task.count())).map(|n| (task.number + n, task.submitted))
        });
        let (known, begun) = (known as usize, begun as usize);
        tasks.take(begun).skip(known).collect()
    }

    /// Whether its worker has begun what is first in its hand.
    pub(super) fn has_begun(&self) -> bool {
        let line = self.line.as_ref();
        line.is_some_and(|line| line.begun() != Ok(line.taken()))
    }

    /// The number of the first task in its hand.
    pub(super) fn first(&self) -> u32 {
        self.line.as_ref().map_or(0, WorkerConnection::taken)
    }

    /// Writes a task, or several, into its mailbox. Gives back what there is no room for, or not
    /// yet; and how many there was room for.
    pub(super) fn give(&mut self, mut task: Task, worker: WorkerIndex) -> (u32, Option<Task>) {
        let (given, rest) = match self.write(&mut task) {
            Ok((given, rest)) => (given, rest),
            // Failed: as many descriptors as this process may have; some are closed with each
            // result.
            Err(why) => {
                self.full = true;
                self.unfit |= matches!(why, NotNow::Gone);
                return (0, Some(task));
            }
        };
        if let (Owner::Handle(slot), Some(line)) = (&task.owner, &self.line) {
            let number = line.next().wrapping_sub(1);
            let assignment = Assignment { worker, number };
            slot.slot().set_assignment(Some(assignment));
        }
        self.full |= rest.is_some();
        self.hand.push(task);
        self.dirty = true;
        (given, rest)
    }

    /// As many as there is room for; the task is then only those.
    fn write(&mut self, task: &mut Task) -> Result<(u32, Option<Task>), NotNow> {
        let Some(line) = &mut self.line else {
            return Err(NotNow::Gone);
        };
        if self.plan != Some(task.job.plan) {
            self.plan = None;
            line.write_plan(task.job.plan)?;
            self.plan = Some(task.job.plan);
        }
        let at = line.position();
        let mut rest = None;
        let mut given = 1;
        match &task.input {
            Input::Small(bytes) => line.write(bytes)?,
            Input::Carried(carried) => line.write_with_parcel(carried.bytes(), carried.parcel())?,
            Input::Strip(strip) => {
                let room = line.room_for(strip.size());
                let (frames, fit) = strip.fitting(room);
                if fit == 0 {
                    return Err(NotNow::Full);
                }
                line.write_frames(frames, fit)?;
                given = fit;
            }
        }
        task.at = at;
        if given < task.count() {
            rest = task.split_off(given);
        }
        Ok((given, rest))
    }

    /// Closes our copies of the descriptors of a task that was begun, and that nobody else will
    /// run.
    pub(super) fn close_copies(&mut self) {
        let first = self.first();
        let Some(Task {
            input: Input::Carried(carried),
            ..
        }) = self.hand.first_mut()
        else {
            return;
        };
        if carried.has_descriptors() {
            let begun = self.line.as_ref().map(WorkerConnection::begun);
            if matches!(begun, Some(Ok(begun)) if begun != first) {
                carried.close();
            }
        }
    }

    /// Takes those out of its hand that are no longer with its worker: all but the first `left`,
    /// counted as the worker does.
    pub(super) fn let_go(&mut self, left: u32) -> VecDeque<Task> {
        let back = self.hand.split_off(left.wrapping_sub(self.first()));
        if let (Some(first), Some(line)) = (back.front(), &mut self.line) {
            line.forget(first.at);
        }
        // They are in its lane, and open there until it ends.
        self.unfit |= back.iter().any(|task| task.input.descriptors() > 0);
        self.plan = None;
        self.full = false;
        back
    }
}

/// A task's worker may be stopped for as many times its timeout, all in all.
const MOST_STOPS: u32 = 10;
