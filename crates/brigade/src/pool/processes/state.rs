//! What a pool of processes has to do, and who does it: the dispatcher. Everything here is done under the pool's lock, and nothing here waits.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Inboxes;
use super::seat::{Doom, Pace, Seat, Status};
use super::slot::{Place, Slot, Wakes};
use super::task::{Delivered, End, Job, Owner, Refused, Task};
use crate::pool::builder::Options;
use crate::task::crash::Phase;
use crate::task::panic::{Panic, Unwound};
use crate::task::symbols::{Frames, Symbols};
use crate::worker::process::ending::Evidence;
use crate::worker::process::line::NotNow;
use crate::worker::process::mailbox::reply;
use crate::worker::process::protocol::{NotReady, Setup};
use crate::worker::process::world::{ForkServer, Instant, Ordering, spin};
use crate::{JoinError, PoolStats};

/// A pool's work.
pub(super) struct State {
    pub(super) options: Arc<Options>,
    pub(super) setup: Setup,
    pub(super) grace: Duration,
    pub(super) server: Arc<ForkServer>,
    /// What the fork server calls this pool.
    pub(super) employer: u64,
    pub(super) seats: Vec<Seat>,
    /// Ready, with nothing in hand. The one that was used last is used next: its processor may still be looking.
    pub(super) idle: Vec<u32>,
    /// With something in hand.
    pub(super) busy: Vec<u32>,
    /// Tasks that they have in hand.
    pub(super) in_hand: usize,
    /// Somebody waits in an executor: results are to be taken when they are there.
    pub(super) watched: bool,
    /// Seats whose bells are to be set, and whether that is all of them.
    pub(super) unarmed: Vec<u32>,
    pub(super) disarmed: bool,
    /// For what the others' are set.
    pub(super) armed: bool,
    /// Where the next look for room begins.
    cursor: usize,
    /// No seat has room, until something is finished.
    pub(super) no_room: bool,
    /// Tasks that no worker has yet.
    pub(super) queue: VecDeque<Task>,
    /// How many tasks those are.
    queued: usize,
    /// Of them, those that were cancelled, and only wait to be thrown away.
    pub(super) thrown: usize,
    /// Tasks whose end is known and not yet told.
    pub(super) casualties: usize,
    /// Deaths that are being written down, of tasks that are run again.
    pub(super) reporting: usize,
    pub(super) inboxes: Inboxes,
    pub(super) pace: Pace,
    pub(super) stats: PoolStats,
    /// The board's epoch when it was looked at last.
    epoch: u32,
    /// Ends that could not be dealt with yet.
    postponed: bool,
    /// Seats without a worker, and since when there is nobody to be had.
    stillborn: u32,
    /// Why there are no workers, if that is given up.
    pub(super) halted: Option<Reason>,
    /// Something came of the last look.
    pub(super) news: bool,
    pub(super) closing: bool,
    /// The pool is being made: the first worker that does not come is the end of it.
    building: bool,
    pub(super) first_failure: Option<Reason>,
    /// When the listener will call us.
    pub(super) alarm: Option<Instant>,
    next_number: u64,
    frame: Vec<u8>,
}

/// Why there is no worker.
#[derive(Clone)]
pub(super) enum Reason {
    Died(Evidence, Arc<Symbols>),
    NotReady(NotReady, Arc<Symbols>),
    NotHired(String),
}

/// A task that died with its worker, and what is known of that. It is told outside the lock: names have to be looked up, and files written.
pub(super) struct Casualty {
    pub(super) task: Task,
    pub(super) end: Ending,
    pub(super) seat: u32,
}

/// How such a task is to end.
pub(super) enum Ending {
    Crashed(Evidence, Arc<Symbols>),
    Lost(Evidence, Arc<Symbols>),
    Failed(JoinError),
}

/// A death whose task is run again: what is known of it is kept all the same.
pub(super) struct Report {
    pub(super) job: Job,
    pub(super) input: std::io::Result<Vec<u8>>,
    pub(super) descriptors: usize,
    pub(super) attempts: u32,
    pub(super) evidence: Evidence,
    pub(super) symbols: Arc<Symbols>,
    pub(super) lost: bool,
}

/// What is to be done when the lock is free.
#[derive(Default)]
pub(super) struct After {
    pub(super) wakes: Wakes,
    pub(super) casualties: Vec<Casualty>,
    pub(super) reports: Vec<Report>,
    /// Nobody's any more: user code may run when it is dropped.
    pub(super) rubbish: Vec<End>,
    /// The driver, which sleeps, has to look again.
    pub(super) nudge: bool,
}

/// Replacements that may fail in a row, for each worker of the pool.
const STILLBORN: u32 = 2;

/// How long a seat stays vacant after its worker did not come, the first time.
const RETRY: Duration = Duration::from_millis(2);

impl State {
    pub(super) fn new(
        options: Arc<Options>,
        setup: Setup,
        server: Arc<ForkServer>,
        employer: u64,
    ) -> State {
        let now = Instant::now();
        let epoch = server.board.epoch().load(Ordering::Acquire);
        State {
            grace: options.process.grace_time(),
            seats: (0..options.workers).map(|_| Seat::vacant(now)).collect(),
            stats: PoolStats {
                workers: options.workers,
                ..PoolStats::default()
            },
            options,
            setup,
            server,
            employer,
            idle: Vec::new(),
            busy: Vec::new(),
            in_hand: 0,
            watched: false,
            unarmed: Vec::new(),
            disarmed: false,
            armed: false,
            cursor: 0,
            no_room: false,
            queue: VecDeque::new(),
            queued: 0,
            thrown: 0,
            casualties: 0,
            reporting: 0,
            inboxes: Inboxes::default(),
            pace: Pace::default(),
            epoch,
            postponed: false,
            stillborn: 0,
            halted: None,
            news: false,
            closing: false,
            building: true,
            first_failure: None,
            alarm: None,
            next_number: 0,
            frame: Vec::new(),
        }
    }

    // ---- accepting

    /// How many tasks wait that nobody has begun.
    pub(super) fn waiting(&self) -> usize {
        self.queued - self.thrown + self.in_hand - self.busy.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.options
            .queue_limit
            .is_some_and(|limit| self.waiting() >= limit)
    }

    /// Takes a task on.
    pub(super) fn accept(&mut self, mut task: Task) {
        if self.halted.take().is_some() {
            self.stillborn = 0;
            for seat in &mut self.seats {
                seat.hire_at = None;
            }
        }
        let count = task.count();
        task.number = self.next_number;
        self.next_number += u64::from(count);
        self.stats.submitted += u64::from(count);
        self.stats.bytes_in += task.input.len();
        self.queued += count as usize;
        self.queue.push_back(task);
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// All workers have come.
    pub(super) fn is_built(&mut self) {
        self.building = false;
    }

    /// How many tasks more there is room for ahead of the workers.
    pub(super) fn room_for_more(&self) -> usize {
        let room = self.pace.window() * (self.idle.len() + self.busy.len());
        let limit = self.options.queue_limit.unwrap_or(usize::MAX);
        // With no worker at hand, one task waits for the first.
        room.max(1).saturating_sub(self.in_hand + self.queued).min(
            limit
                .saturating_sub(self.waiting())
                .max(usize::from(self.busy.is_empty())),
        )
    }

    /// The numbers as they are now.
    pub(super) fn snapshot(&self, now: Instant) -> PoolStats {
        let mut stats = self.stats.clone();
        // A replacement may have been given something before the end of the task that its predecessor died of is told: that has hardly begun.
        let running = self.busy.len() + self.casualties;
        let over = running.saturating_sub(self.seats.len());
        stats.queued = (self.waiting() + over) as u64;
        stats.running = (running - over) as u64;
        for &i in &self.busy {
            stats.busy += now.saturating_duration_since(self.seats[i as usize].busy_since);
        }
        stats
    }

    /// Nothing to do, and nothing to tell.
    pub(super) fn is_done(&self) -> bool {
        self.queued == self.thrown
            && self.busy.is_empty()
            && self.casualties == 0
            && self.reporting == 0
    }

    // ---- looking

    /// Looks at everything: results, ends, empty seats; and gives out what there is to do. Whether anything came of it is in `news`.
    ///
    /// `more`: whether the caller has more to do for those who have nothing, which is then not taken from others.
    pub(super) fn look(&mut self, after: &mut After, more: bool) {
        // One time for all: it is a large part of what a small task costs.
        let now = Instant::now();
        self.drain(now, after);
        let epoch = self.server.board.epoch().load(Ordering::Acquire);
        if epoch != self.epoch || self.postponed {
            self.epoch = epoch;
            self.bury(now, after);
        }
        if self.idle.len() + self.busy.len() < self.seats.len() {
            self.staff(now, after);
        }
        if !(more && self.queue.is_empty()) {
            self.feed(now, after);
        }
    }

    /// Takes the results that are there.
    pub(super) fn drain(&mut self, now: Instant, after: &mut After) {
        let mut at = 0;
        while let Some(&i) = self.busy.get(at) {
            self.drain_seat(i, now, after);
            // One that has nothing left is no longer in the list.
            if self.busy.get(at) == Some(&i) {
                at += 1;
            }
        }
    }

    fn drain_seat(&mut self, i: u32, now: Instant, after: &mut After) {
        let seat = &mut self.seats[i as usize];
        let Some(line) = &mut seat.line else {
            return;
        };
        if seat.held.is_none() && !line.is_ready() {
            if self.options.retries == 0 {
                seat.close_copies();
            }
            return;
        }
        let was_held = seat.held.is_some();
        let said = line.finished();
        let before = line.taken();
        let mut frame = std::mem::take(&mut self.frame);
        let mut bytes = 0;
        let (mut returned, mut returned_bytes) = (0, 0);
        let mut tally = (now, 0);
        loop {
            let seat = &mut self.seats[i as usize];
            let Some(line) = &mut seat.line else {
                break;
            };
            let tag = match seat.held.take() {
                Some((tag, held)) => {
                    frame = held;
                    tag
                }
                None => match line.reply(&mut frame) {
                    Ok(None) => break,
                    Ok(Some(tag)) => tag,
                    Err(_) => {
                        self.lose(i, now, after);
                        break;
                    }
                },
            };
            bytes += frame.len() + 16;
            // By far the most of what is heard.
            if tag == reply::RETURNED
                && seat.status == Status::Ready
                && let Some((inbox, index, submitted)) = seat.advance()
            {
                if let Some(line) = &mut seat.line {
                    line.count_result();
                }
                if tally.0 != submitted {
                    self.stats
                        .latencies
                        .record_many(now.saturating_duration_since(tally.0), tally.1);
                    tally = (submitted, 0);
                }
                tally.1 += 1;
                returned += 1;
                returned_bytes += frame.len() as u64;
                self.inboxes.put_bytes(inbox, index, &frame, after);
                continue;
            }
            match self.heard(i, tag, &mut frame, now, after) {
                Heard::More => {}
                Heard::Later => break,
                Heard::Nonsense => {
                    self.lose(i, now, after);
                    break;
                }
            }
        }
        frame.clear();
        self.frame = frame;
        self.in_hand -= returned as usize;
        self.stats.done += returned;
        self.stats.bytes_out += returned_bytes;
        self.stats
            .latencies
            .record_many(now.saturating_duration_since(tally.0), tally.1);
        let seat = &mut self.seats[i as usize];
        let Some(line) = &mut seat.line else {
            return;
        };
        let took = line.taken().wrapping_sub(before);
        // A worker may wait for room only where there was little.
        if bytes >= ROOMY || was_held || seat.held.is_some() {
            line.made_room();
        }
        let lied = seat.held.is_none() && (said.wrapping_sub(line.taken()) as i32) > 0;
        if took > 0 {
            self.no_room = false;
            seat.full = false;
            self.news = true;
            self.pace.saw(took, now - seat.mark);
            seat.mark = now;
            seat.slow = false;
            seat.head = (line.taken(), now);
            self.unarmed.push(i);
            if seat.hand.is_empty() {
                self.unlist(i, now);
            }
        }
        if lied
            && matches!(
                self.seats[i as usize].status,
                Status::Ready | Status::Leaving
            )
        {
            self.lose(i, now, after);
        }
    }

    /// There seemed to be news, and looking found none: a worker that says it has finished what it has not shown lies.
    pub(super) fn check_words(&mut self, after: &mut After) {
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            if let Some(line) = seat.line.as_ref().filter(|_| seat.held.is_none()) {
                let said = line.finished().wrapping_sub(line.taken()) as i32;
                if said > 0 && !line.is_ready() {
                    self.lose(i, Instant::now(), after);
                }
            }
        }
    }

    /// One reply of a worker.
    fn heard(
        &mut self,
        i: u32,
        tag: u32,
        frame: &mut Vec<u8>,
        now: Instant,
        after: &mut After,
    ) -> Heard {
        let seat = &mut self.seats[i as usize];
        let Some(line) = &mut seat.line else {
            return Heard::Nonsense;
        };
        match (seat.status, tag) {
            (Status::Doomed(_), _) => {
                // It is done before its time of grace is over: it need not wait for that.
                if !self.grace.is_zero() {
                    line.kill(Duration::ZERO);
                }
                return Heard::More;
            }
            (Status::Starting, reply::READY) if frame.is_empty() => {
                seat.status = Status::Ready;
                seat.mark = now;
                self.stillborn = 0;
                self.idle.push(i);
                self.no_room = false;
                self.news = true;
                return Heard::More;
            }
            (Status::Starting, reply::READY) => {
                let reason = match postcard::from_bytes::<NotReady>(frame) {
                    Ok(why) => Reason::NotReady(why, Arc::clone(&self.server.symbols)),
                    Err(_) => Reason::NotHired("a worker broke the protocol".to_owned()),
                };
                self.vacate(i, now);
                self.no_worker(i, reason, now, after);
                return Heard::Later;
            }
            (Status::Ready, reply::LEAVING) => {
                seat.status = Status::Leaving;
                self.stats.recycled += 1;
                self.reclaim(i, line_end(&self.seats[i as usize]), now, after);
                self.idle.retain(|&s| s != i);
                // Its end is waited for by the one that comes after it.
                self.vacate(i, now);
                self.news = true;
                return Heard::Later;
            }
            (Status::Ready, _) => {}
            _ => return Heard::Nonsense,
        }
        if seat.hand.is_empty() {
            return Heard::Nonsense;
        }
        let end = match tag {
            reply::RETURNED => {
                self.stats.bytes_out += frame.len() as u64;
                Ok(End::Returned(super::task::Bytes::from_slice(frame)))
            }
            reply::ACCOMPANIED_RETURNED | reply::LARGE_RETURNED => {
                let descriptors = match line.fetch() {
                    Ok(descriptors) => descriptors,
                    Err(NotNow::LaneComing) => {
                        seat.held = Some((tag, std::mem::take(frame)));
                        return Heard::Later;
                    }
                    Err(NotNow::Failed(e))
                        if e.raw_os_error() == Some(libc::EMFILE)
                            || e.raw_os_error() == Some(libc::ENFILE) =>
                    {
                        return self.undelivered(
                            i,
                            format!("its result could not be received: {e}"),
                            now,
                            after,
                        );
                    }
                    // It sent before it replied, so it would be there.
                    Err(_) => return Heard::Nonsense,
                };
                self.delivered(tag, frame, descriptors)
            }
            reply::PANICKED => match postcard::from_bytes::<Unwound>(frame) {
                Ok(unwound) => Err(Some(unwound)),
                Err(_) => return Heard::Nonsense,
            },
            reply::UNDELIVERABLE => {
                let why = String::from_utf8_lossy(frame).into_owned();
                return self.undelivered(i, why, now, after);
            }
            _ => return Heard::Nonsense,
        };
        let Some(task) = self.answered(i) else {
            return Heard::Nonsense;
        };
        let end = match end {
            Ok(end) => end,
            Err(unwound) => {
                let symbols = Arc::clone(&self.server.symbols);
                let unwound = unwound.unwrap_or_else(|| Unwound {
                    message: String::new(),
                    location: None,
                    calls: Vec::new(),
                });
                End::failed(JoinError::Panicked(Panic::new(
                    task.job.name(self.options.name.as_ref()),
                    unwound,
                    |calls| Frames::new(&symbols, calls),
                )))
            }
        };
        self.finish(task, end, now, after);
        Heard::More
    }

    fn delivered(
        &mut self,
        tag: u32,
        frame: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<End, Option<Unwound>> {
        let large = (tag == reply::LARGE_RETURNED)
            .then(|| frame.try_into().map_or(u64::MAX, u64::from_ne_bytes));
        self.stats.bytes_out += large.unwrap_or(frame.len() as u64);
        let bytes = if large.is_some() { &[] } else { frame };
        Ok(End::Carried(Box::new(Delivered {
            bytes: super::task::Bytes::from_slice(bytes),
            large,
            descriptors,
        })))
    }

    fn undelivered(&mut self, i: u32, why: String, now: Instant, after: &mut After) -> Heard {
        let Some(task) = self.answered(i) else {
            return Heard::Nonsense;
        };
        let name = task.job.name(self.options.name.as_ref());
        self.finish(
            task,
            End::failed(Refused::Why(why).into_error(name)),
            now,
            after,
        );
        Heard::More
    }

    /// The task that a reply is for.
    fn answered(&mut self, i: u32) -> Option<Task> {
        let seat = &mut self.seats[i as usize];
        let task = seat.take_first()?;
        self.in_hand -= 1;
        seat.line.as_mut()?.count_result();
        Some(task)
    }

    /// A task has ended.
    pub(super) fn finish(&mut self, task: Task, end: End, now: Instant, after: &mut After) {
        match &end {
            End::Returned(_) | End::Carried(_) => self.stats.done += 1,
            End::Failed(why) => match &**why {
                JoinError::Panicked(_) => self.stats.panicked += 1,
                JoinError::Crashed(crash) => self.stats.count_crash(crash.cause()),
                JoinError::TimedOut { .. } => self.stats.timed_out += 1,
                JoinError::Cancelled => self.stats.cancelled += 1,
                JoinError::Undeliverable(_) => self.stats.undeliverable += 1,
                JoinError::Closed => self.stats.closed += 1,
            },
        }
        self.stats
            .latencies
            .record(now.saturating_duration_since(task.submitted));
        match task.owner {
            Owner::Handle(slot) => slot.slot().settle(end, &mut after.wakes),
            Owner::Map(inbox, index) => self.inboxes.put(inbox, index, end, after),
        }
        self.news = true;
    }

    // ---- workers that end

    /// Deals with the workers that have ended.
    fn bury(&mut self, now: Instant, after: &mut After) {
        self.postponed = false;
        for i in 0..self.seats.len() as u32 {
            if self.seats[i as usize]
                .line
                .as_ref()
                .is_some_and(|line| line.has_ended())
            {
                self.bury_one(i, now, after);
            }
        }
    }

    fn bury_one(&mut self, i: u32, now: Instant, after: &mut After) {
        // What it said last, it said before it ended.
        self.drain_seat(i, now, after);
        let seat = &mut self.seats[i as usize];
        let status = seat.status;
        if seat.held.is_some() {
            self.postponed = true;
            return;
        }
        let Some(line) = &seat.line else {
            // It left, or never was ready, and that was dealt with.
            return;
        };
        let evidence = line.evidence();
        let symbols = Arc::clone(&line.server().symbols);
        if status == Status::Starting {
            self.vacate(i, now);
            return self.no_worker(i, Reason::Died(evidence, symbols), now, after);
        }
        let first = line.taken();
        // Whether it had begun what is first in its hand, and come as far as to decode it. Where the count itself is written over, there is only what it said last of
        // what it does.
        let runs = !matches!(evidence.phase, Phase::Starting | Phase::Idle);
        let begun = runs && line.begun().map_or(true, |begun| begun != first);
        let victim = if begun && status != Status::Doomed(Doom::Stuck) {
            seat.take_first()
        } else {
            None
        };
        self.in_hand -= usize::from(victim.is_some());
        self.reclaim(i, first, now, after);
        self.stats.restarts += 1;
        self.idle.retain(|&s| s != i);
        self.vacate(i, now);
        self.news = true;
        let Some(mut task) = victim else {
            return;
        };
        let may_retry =
            !matches!(status, Status::Doomed(Doom::Cancelled)) && !self.is_unwanted(&task);
        if may_retry && task.attempts < self.options.retries {
            if self.options.keep_crashes.is_some()
                && !matches!(status, Status::Doomed(Doom::TimedOut))
            {
                let lost = status == Status::Doomed(Doom::Lost);
                self.reporting += 1;
                after.reports.push(Report {
                    job: task.job,
                    input: task.input.read(),
                    descriptors: task.input.descriptors(),
                    attempts: task.attempts,
                    evidence,
                    symbols,
                    lost,
                });
            }
            task.attempts += 1;
            self.stats.retried += 1;
            self.give_back(task);
            return;
        }
        let end = match status {
            Status::Doomed(Doom::TimedOut) => Ending::Failed(JoinError::TimedOut {
                after: self.options.timeout.unwrap_or_default(),
            }),
            Status::Doomed(Doom::Cancelled) => Ending::Failed(JoinError::Cancelled),
            Status::Doomed(Doom::Lost) => Ending::Lost(evidence, symbols),
            _ => Ending::Crashed(evidence, symbols),
        };
        if let Owner::Handle(slot) = &task.owner {
            slot.slot().set_place(Some(NOWHERE));
        }
        self.casualties += 1;
        after.casualties.push(Casualty { task, end, seat: i });
    }

    fn is_unwanted(&self, task: &Task) -> bool {
        match &task.owner {
            Owner::Handle(slot) => slot.slot().is_done(),
            Owner::Map(inbox, _) => self.inboxes.is_closed(*inbox),
        }
    }

    /// Puts a task back where it came from: it is the next.
    fn give_back(&mut self, task: Task) {
        if let Owner::Handle(slot) = &task.owner {
            slot.slot().set_place(None);
        }
        self.requeue(task);
    }

    /// It is the next.
    fn requeue(&mut self, task: Task) {
        self.queued += task.count() as usize;
        self.queue.push_front(task);
    }

    fn unqueue(&mut self) -> Option<Task> {
        let task = self.queue.pop_front()?;
        self.queued -= task.count() as usize;
        Some(task)
    }

    /// Takes out of a seat's hand what its worker will not do, all but the first `left` that it was ever given.
    fn reclaim(&mut self, i: u32, left: u32, now: Instant, _after: &mut After) {
        let seat = &mut self.seats[i as usize];
        let before = seat.load;
        let back = seat.let_go(left);
        self.in_hand -= before - seat.load;
        for task in back.into_iter().rev() {
            self.give_back(task);
        }
        self.no_room = false;
        if self.seats[i as usize].hand.is_empty() {
            self.unlist(i, now);
        }
    }

    /// Takes back from a worker what it has not begun, but for the first `keep`. `false`: it broke the protocol.
    fn take_back(&mut self, i: u32, keep: u32, now: Instant, after: &mut After) -> bool {
        self.publish_seat(i);
        let Some(line) = &mut self.seats[i as usize].line else {
            return false;
        };
        match line.take_back(keep) {
            Ok(left) => {
                self.reclaim(i, left, now, after);
                true
            }
            Err(_) => {
                self.lose(i, now, after);
                false
            }
        }
    }

    /// A worker broke the protocol: it is ended.
    fn lose(&mut self, i: u32, now: Instant, after: &mut After) {
        let seat = &mut self.seats[i as usize];
        let Some(line) = &seat.line else {
            return;
        };
        // Garbage from one that has ended by itself: the kernel's word says more, and is about to be heard.
        if matches!(seat.status, Status::Doomed(_)) || line.has_ended() {
            return;
        }
        line.kill(Duration::ZERO);
        if seat.status == Status::Starting {
            seat.hand.clear();
        }
        seat.status = Status::Doomed(Doom::Lost);
        // All that is behind the first is believed to be untouched.
        let keep = line.taken().wrapping_add(1);
        self.reclaim(i, keep, now, after);
        self.idle.retain(|&s| s != i);
    }

    /// Ends a worker, and the task that it runs with it. Everything else was taken back.
    fn doom(&mut self, i: u32, doom: Doom, grace: Duration) {
        let seat = &mut self.seats[i as usize];
        if let Some(line) = &seat.line {
            seat.status = Status::Doomed(doom);
            line.kill(grace);
        }
    }

    fn vacate(&mut self, i: u32, now: Instant) {
        let seat = &mut self.seats[i as usize];
        debug_assert!(seat.hand.is_empty());
        let (listed, since) = (seat.listed, seat.busy_since);
        *seat = Seat::vacant(now);
        if listed {
            self.busy.retain(|&s| s != i);
            self.stats.busy += now.saturating_duration_since(since);
        }
    }

    // ---- workers that come

    /// Sees to it that every seat is taken.
    fn staff(&mut self, now: Instant, after: &mut After) {
        if self.closing && self.is_done() || self.halted.is_some() {
            return;
        }
        let wanted =
            |seat: &Seat| seat.status == Status::Vacant && seat.hire_at.is_none_or(|at| at <= now);
        let mut lacks = self.seats.iter().filter(|s| wanted(s)).count();
        for i in 0..self.seats.len() as u32 {
            if self.seats[i as usize].status == Status::Starting {
                self.drain_seat(i, now, after);
            }
            if !wanted(&self.seats[i as usize]) || self.halted.is_some() {
                continue;
            }
            if self.server.is_gone() && !self.move_house() {
                let why = "the fork server could not be started again".to_owned();
                self.no_worker(i, Reason::NotHired(why), now, after);
                continue;
            }
            let hired = match self.server.hire_soon(self.employer, lacks) {
                Ok(Some(hired)) => hired,
                Ok(None) => continue,
                Err(_) if self.server.is_gone() => continue,
                Err(e) => {
                    self.no_worker(i, Reason::NotHired(e.to_string()), now, after);
                    continue;
                }
            };
            lacks = lacks.saturating_sub(1);
            let opened = crate::worker::process::line::Line::open(
                Arc::clone(&self.server),
                hired,
                &self.setup,
            );
            match opened {
                Ok(line) => {
                    let seat = &mut self.seats[i as usize];
                    seat.line = Some(line);
                    seat.status = Status::Starting;
                    seat.mark = now;
                }
                Err(e) => self.no_worker(i, Reason::NotHired(e.to_string()), now, after),
            }
        }
    }

    /// Starts another fork server, where the old one has ended.
    fn move_house(&mut self) -> bool {
        let Ok(server) = ForkServer::get() else {
            return false;
        };
        if !Arc::ptr_eq(&server, &self.server) {
            self.employer = self.server.move_employer(self.employer, &server);
            self.epoch = server.board.epoch().load(Ordering::Acquire);
            self.server = server;
            self.alarm = None;
            self.postponed = true;
        }
        true
    }

    /// A worker did not come, or did not get ready.
    fn no_worker(&mut self, i: u32, reason: Reason, now: Instant, after: &mut After) {
        self.stillborn += 1;
        self.stats.restarts += 1;
        let most = STILLBORN * self.seats.len() as u32 + 1;
        let alive = !self.idle.is_empty() || !self.busy.is_empty();
        self.news = true;
        if self.building {
            self.first_failure.get_or_insert(reason);
            self.seats[i as usize].hire_at = Some(now + Duration::from_secs(3600));
            return;
        }
        if alive || self.stillborn < most {
            let pause = RETRY * 2_u32.pow((self.stillborn - 1).min(9));
            // At once, the first time.
            let at = (self.stillborn > 1).then(|| now + pause);
            self.seats[i as usize].hire_at = at;
            return;
        }
        while let Some(task) = self.unqueue() {
            if self.is_unwanted(&task) {
                self.drop_unwanted(task, now, after);
                continue;
            }
            let name = task.job.name(self.options.name.as_ref());
            self.fail(task, || reason.to_error(name.clone()), now, after);
        }
        self.thrown = 0;
        self.halted = Some(reason);
    }

    // ---- giving out

    /// Gives out what there is to do.
    pub(super) fn feed(&mut self, now: Instant, after: &mut After) {
        loop {
            if self.queue.is_empty() && !self.balance(now, after) {
                break;
            }
            let idle = self.idle.len();
            self.feed_idle(now, after);
            self.feed_ahead(now, after);
            // What was taken from one for another is shared further, as long as there is somebody who takes it.
            if !self.queue.is_empty() || self.idle.len() == idle {
                break;
            }
        }
        self.publish();
    }

    /// Those that do nothing, the one that was used last first.
    fn feed_idle(&mut self, now: Instant, after: &mut After) {
        let window = self.pace.window();
        let ready = self.idle.len() + self.busy.len();
        let mut at = self.idle.len();
        let mut misses = 0;
        while at > 0 && !self.queue.is_empty() && misses <= self.queue.len() {
            at -= 1;
            let share = (self.queued / (2 * ready)).clamp(1, window);
            // One that cannot take it now asks for what it needs to do so later.
            if !self.give(self.idle[at], share, now, after) {
                misses += 1;
            }
        }
    }

    /// Some ahead, so that nobody waits for us.
    fn feed_ahead(&mut self, now: Instant, after: &mut After) {
        let window = self.pace.window();
        let ready = self.idle.len() + self.busy.len();
        let mut seen = 0;
        while !self.queue.is_empty() && !self.no_room && seen < self.busy.len() {
            self.cursor = (self.cursor + 1) % self.busy.len();
            let i = self.busy[self.cursor];
            let seat = &self.seats[i as usize];
            let room = window.saturating_sub(seat.load);
            if room == 0 || seat.full || !seat.is_ready() {
                seen += 1;
                continue;
            }
            seen = 0;
            let share = self.queued.div_ceil(2 * ready).clamp(1, room);
            self.give(i, share, now, after);
        }
        self.no_room |= seen > 0 && seen == self.busy.len();
    }

    /// Gives a seat so many of the next tasks. `false`: it took none, and it is not idle any more.
    fn give(&mut self, i: u32, count: usize, now: Instant, after: &mut After) -> bool {
        let mut given = 0;
        while given < count {
            let Some(mut task) = self.unqueue() else {
                break;
            };
            if self.is_unwanted(&task) {
                self.drop_unwanted(task, now, after);
                continue;
            }
            let wanted = (count - given) as u32;
            if task.count() > wanted
                && let Some(rest) = task.split_off(wanted)
            {
                self.requeue(rest);
            }
            let (took, rest) = self.seats[i as usize].give(task, i);
            given += took as usize;
            self.in_hand += took as usize;
            if let Some(rest) = rest {
                self.requeue(rest);
                break;
            }
        }
        let seat = &mut self.seats[i as usize];
        if given > 0 {
            if !seat.listed {
                seat.listed = true;
                seat.mark = now;
                seat.busy_since = now;
                seat.head = (seat.first(), now);
                self.unarmed.push(i);
                self.busy.push(i);
                self.idle.retain(|&s| s != i);
                // The one that sleeps does not know of this one.
                after.nudge = true;
            }
            return true;
        }
        // What it cannot take now, for its lane is still to come, it can take when it is called again.
        if seat.full && !seat.listed {
            seat.full = false;
        }
        false
    }

    /// A task that nobody wants any more, in the queue: its end was told.
    fn drop_unwanted(&mut self, task: Task, now: Instant, after: &mut After) {
        match &task.owner {
            Owner::Handle(_) => self.thrown = self.thrown.saturating_sub(1),
            Owner::Map(..) => self.fail(task, || JoinError::Cancelled, now, after),
        }
    }

    /// Ends a task, or several, that never ran.
    fn fail(
        &mut self,
        mut task: Task,
        why: impl Fn() -> JoinError,
        now: Instant,
        after: &mut After,
    ) {
        while task.count() > 1
            && let Some(one) = task.take_first()
        {
            self.finish(one, End::failed(why()), now, after);
        }
        self.finish(task, End::failed(why()), now, after);
    }

    /// There is nothing in the queue, somebody has nothing to do, and somebody else has more than the one task that it runs: takes back a
    /// part of what it has not begun. `false`: there is none.
    fn balance(&mut self, now: Instant, after: &mut After) -> bool {
        if self.idle.is_empty() || self.in_hand <= self.busy.len() {
            return false;
        }
        let loaded = self
            .busy
            .iter()
            .copied()
            .filter(|&i| self.seats[i as usize].is_ready())
            .max_by_key(|&i| self.seats[i as usize].ahead());
        let Some(i) = loaded.filter(|&i| self.seats[i as usize].ahead() > 0) else {
            return false;
        };
        let seat = &self.seats[i as usize];
        // All but the one that it runs, shared with those who have nothing to do.
        let share = seat.ahead() / (1 + self.idle.len());
        let keep = seat.first().wrapping_add(1 + share as u32);
        self.take_back(i, keep, now, after);
        !self.queue.is_empty()
    }

    fn publish(&mut self) {
        for at in 0..self.busy.len() {
            self.publish_seat(self.busy[at]);
        }
    }

    fn publish_seat(&mut self, i: u32) {
        // Whether there is a processor for a worker that only looks: one for each that works, and one for us.
        let patience = self.busy.len() < processors() && spin::pays();
        let seat = &mut self.seats[i as usize];
        if std::mem::take(&mut seat.dirty)
            && let Some(line) = &mut seat.line
        {
            line.publish(patience);
        }
    }

    /// A seat has nothing in hand any more.
    fn unlist(&mut self, i: u32, now: Instant) {
        let seat = &mut self.seats[i as usize];
        if !std::mem::take(&mut seat.listed) {
            return;
        }
        self.stats.busy += now.saturating_duration_since(seat.busy_since);
        if let Some(at) = self.busy.iter().position(|&s| s == i) {
            self.busy.swap_remove(at);
        }
        if seat.is_ready() && seat.slow {
            self.idle.insert(0, i);
        } else if seat.is_ready() {
            self.idle.push(i);
        }
    }

    // ---- ending tasks early

    /// Cancels a task that has not ended.
    pub(super) fn cancel(&mut self, slot: &Slot, now: Instant, after: &mut After) {
        let Some(Place { seat: i, number }) = slot.place() else {
            // In the queue, where it is thrown away when its turn comes.
            self.thrown += 1;
            self.stats.cancelled += 1;
            self.stats
                .latencies
                .record(now.saturating_duration_since(slot.submitted()));
            self.news = true;
            slot.settle(End::failed(JoinError::Cancelled), &mut after.wakes);
            return;
        };
        if !self.seats.get(i as usize).is_some_and(Seat::is_ready) {
            // It is being ended anyway, or its end is about to be told.
            return;
        }
        let first = self.seats[i as usize].first();
        if number == first {
            self.publish_seat(i);
            let begun = self.seats[i as usize].line.as_ref().map(|l| l.begun());
            if let Some(Ok(begun)) = begun
                && begun != first
            {
                // It runs: all others first, then it.
                if self.take_back(i, first.wrapping_add(1), now, after) {
                    self.doom(i, Doom::Cancelled, self.grace);
                }
                return;
            }
        }
        if !self.take_back(i, number, now, after) {
            return;
        }
        match slot.place() {
            // It was not begun, and is in the queue again.
            None => self.cancel(slot, now, after),
            // It was begun meanwhile.
            Some(_) => {
                if self.seats[i as usize].first() == number {
                    if self.take_back(i, number.wrapping_add(1), now, after) {
                        self.doom(i, Doom::Cancelled, self.grace);
                    }
                } else {
                    // It was begun because those before it are finished: that is heard first.
                    self.drain_seat(i, now, after);
                    if !slot.is_done() && self.seats[i as usize].first() == number {
                        self.doom(i, Doom::Cancelled, self.grace);
                    }
                }
            }
        }
        self.feed(now, after);
    }

    /// Gives what a worker has not begun for some time to those that have nothing to do: it may be stopped, or starved. Whether there may be more of that.
    pub(super) fn relieve(&mut self, now: Instant, after: &mut After) -> bool {
        let mut unbegun = false;
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            let first = seat.first();
            let begun = seat.line.as_ref().and_then(|l| l.begun().ok());
            if !seat.is_ready() || begun != Some(first) || seat.hand.is_empty() {
                continue;
            }
            unbegun = true;
            if now.saturating_duration_since(seat.head.1) >= SLOW && !self.idle.is_empty() {
                self.seats[i as usize].slow = true;
                self.take_back(i, first, now, after);
            }
        }
        if unbegun {
            self.feed(now, after);
        }
        unbegun
    }

    /// Ends the tasks whose time is over, and workers that take as long to get ready.
    pub(super) fn end_overdue(&mut self, now: Instant, after: &mut After) {
        let Some(timeout) = self.options.timeout else {
            return;
        };
        for i in 0..self.seats.len() as u32 {
            let seat = &self.seats[i as usize];
            if seat.status == Status::Starting
                && now.saturating_duration_since(seat.mark) >= timeout
            {
                let what = if self.options.initializer.is_some() {
                    "its initializer"
                } else {
                    "its preparation"
                };
                let why = format!("a worker was not ready: {what} took longer than {timeout:?}");
                self.vacate(i, now);
                self.no_worker(i, Reason::NotHired(why), now, after);
            }
        }
        for at in (0..self.busy.len()).rev() {
            let Some(&i) = self.busy.get(at) else {
                continue;
            };
            let seat = &self.seats[i as usize];
            if !seat.is_ready() || now.saturating_duration_since(seat.head.1) < timeout {
                continue;
            }
            let first = seat.first();
            let begun = seat.line.as_ref().map(|l| l.begun());
            match begun {
                Some(Ok(begun)) if begun != first => {
                    if self.take_back(i, first.wrapping_add(1), now, after) {
                        self.doom(i, Doom::TimedOut, self.grace);
                    }
                }
                // All this time it has not begun: it is stopped, or worse. Somebody else will do it.
                Some(Ok(_)) => {
                    if self.take_back(i, first, now, after) {
                        self.idle.retain(|&s| s != i);
                        self.doom(i, Doom::Stuck, Duration::ZERO);
                    }
                }
                _ => self.lose(i, now, after),
            }
        }
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self, now: Instant, after: &mut After) {
        for i in self.busy.clone() {
            if !self.seats[i as usize].is_ready() {
                continue;
            }
            let first = self.seats[i as usize].first();
            if self.take_back(i, first, now, after) && !self.seats[i as usize].hand.is_empty() {
                self.doom(i, Doom::Cancelled, self.grace);
            }
        }
        while let Some(task) = self.unqueue() {
            if !self.is_unwanted(&task) || matches!(task.owner, Owner::Map(..)) {
                self.fail(task, || JoinError::Cancelled, now, after);
            }
        }
        self.thrown = 0;
    }

    /// Nobody wants the results of a map any more: what it has that was not begun never is.
    pub(super) fn close_inbox(&mut self, inbox: u32, now: Instant, after: &mut After) {
        self.inboxes.close(inbox, after);
        for i in self.busy.clone() {
            let seat = &self.seats[i as usize];
            let mine = |t: &Task| matches!(t.owner, Owner::Map(of, _) if of == inbox);
            if seat.is_ready() && seat.load > 1 && seat.hand.iter().any(mine) {
                let first = seat.first();
                self.take_back(i, first.wrapping_add(1), now, after);
            }
        }
        for task in std::mem::take(&mut self.queue) {
            if matches!(task.owner, Owner::Map(of, _) if of == inbox) {
                self.queued -= task.count() as usize;
                self.fail(task, || JoinError::Cancelled, now, after);
            } else {
                self.queue.push_back(task);
            }
        }
        self.feed(now, after);
    }
}

/// What was made of a reply.
enum Heard {
    More,
    /// There is nothing more to be heard now.
    Later,
    /// It broke the protocol.
    Nonsense,
}

/// How long a worker may take to begin what it was given, before it is given to another that has nothing to do.
const SLOW: Duration = Duration::from_millis(10);

/// As many bytes of replies as can be taken without a worker having waited for room.
const ROOMY: usize = 16 * 1024;

/// Where a task is whose worker is gone, and whose end is about to be told.
const NOWHERE: Place = Place {
    seat: u32::MAX - 1,
    number: 0,
};

/// The end of what a seat's worker has finished: it keeps nothing.
fn line_end(seat: &Seat) -> u32 {
    seat.first()
}

/// Processors of this machine.
pub(super) fn processors() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Reason {
    pub(super) fn to_error(&self, name: crate::task::name::TaskName) -> JoinError {
        match self {
            Reason::Died(evidence, symbols) => {
                JoinError::Crashed(evidence.clone().into_crash(name, symbols))
            }
            Reason::NotReady(why, symbols) => match &why.panic {
                Some(unwound) => JoinError::Panicked(Panic::new(name, unwound.clone(), |calls| {
                    Frames::new(symbols, calls)
                })),
                None => JoinError::Undeliverable(format!(
                    "task `{name}`: no worker process could be prepared: {}",
                    why.what
                )),
            },
            Reason::NotHired(why) => JoinError::Undeliverable(format!(
                "task `{name}`: there is no worker process: {why}"
            )),
        }
    }
}
