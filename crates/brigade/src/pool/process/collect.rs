//! What workers say: results taken, and told to those who asked for them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::assigned_tasks::MapTask;
use super::assignment::WorkerIndex;
use super::deferred::{Ctx, Deferred, Event};
use super::dispatcher::State;
use super::outcome::{Bytes, Content, Delivered, End, Refused, take_frame};
use super::respawn::Reason;
use super::supervise::SPARED;
use super::task::{Owner, Task};
use super::worker_slot::Status;
use crate::pool::policy::outcome::TaskOutcome;
use crate::sim::local::{Instant, Ordering};
use crate::sys::error::errno_of;
use crate::task::panic::Unwound;
use crate::transport::bounds::{MAX_BYTES, Unclaimed};
use crate::worker::process::host::connection::NotNow;
use crate::worker::process::ipc::lane;
use crate::worker::process::ipc::reply::{self, Reply, ReplyTag};
use crate::{JoinError, PoolStats};

/// What was made of a reply.
enum Heard {
    More,
    /// There is nothing more to be heard now.
    Later,
    /// It broke the protocol.
    Nonsense,
}

/// What a reply says of its task.
enum Answer {
    Returned(End),
    Panicked(Unwound),
    Undeliverable(String),
}

/// Replies that were taken together.
#[derive(Default)]
struct Batch {
    /// About how many bytes of the ring they took.
    frame_bytes: usize,
    /// Of them, results of maps: they are counted together.
    tasks: u64,
    result_bytes: u64,
    /// How many results in a row are of tasks that were submitted together, and when that was.
    submitted: Option<Instant>,
    in_a_row: u64,
}

impl Batch {
    fn count(&mut self, task: &MapTask, bytes: usize, stats: &mut PoolStats, now: Instant) {
        if self.submitted != Some(task.submitted) {
            self.record_latencies(stats, now);
            self.submitted = Some(task.submitted);
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        self.tasks += 1;
        self.result_bytes += bytes as u64;
    }

    fn record_latencies(&self, stats: &mut PoolStats, now: Instant) {
        if let Some(submitted) = self.submitted {
            let time = now.saturating_duration_since(submitted);
            stats.latencies.record_many(time, self.in_a_row);
        }
    }
}

/// As many bytes of replies as can be taken without a worker having waited for room.
const ROOMY: usize = 16 * 1024;

impl State {
    /// Looks at everything: results, ends, empty seats; and gives out what there is to do. Whether
    /// anything came of it is in `news`.
    ///
    /// `more`: whether the caller has more to do for those who have nothing, which is then not
    /// taken from others.
    pub(super) fn look(&mut self, deferred: &mut Deferred, more: bool) {
        // One time for all: it is a large part of what a small task costs.
        let ctx = &mut deferred.at(Instant::now());
        self.drain(ctx);
        let epoch = self.server.board.epoch().load(Ordering::Acquire);
        if epoch != self.epoch || self.postponed {
            self.epoch = epoch;
            self.bury(ctx);
        }
        if !self.workers.is_complete() {
            self.staff(ctx);
        }
        if !(more && self.queue.is_empty()) {
            self.feed(ctx);
        }
    }

    /// Takes the results that are there.
    pub(super) fn drain(&mut self, ctx: &mut Ctx<'_>) {
        let mut at = 0;
        while let Some(&i) = self.workers.busy().get(at) {
            self.announce_begun(i, ctx);
            self.drain_seat(i, ctx);
            // One that has nothing left is no longer in the list.
            if self.workers.busy().get(at) == Some(&i) {
                at += 1;
            }
        }
    }

    /// Tells those who listen of the tasks that a worker has begun.
    pub(super) fn announce_begun(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        if !self.heard {
            return;
        }
        let line = self.workers[i].line.as_ref();
        if let Some(Ok(begun)) = line.map(|line| line.begun()) {
            self.announce(i, begun, ctx);
        }
    }

    fn announce(&mut self, i: WorkerIndex, begun: u32, ctx: &mut Ctx<'_>) {
        let seat = &mut self.workers[i];
        let pid = seat.line.as_ref().map_or(0, |line| line.pid());
        let started = seat.announce(begun).into_iter().map(|(task, submitted)| {
            Event::Started(pid, task, ctx.now.saturating_duration_since(submitted))
        });
        ctx.deferred.events.extend(started);
    }

    /// Takes all replies of a worker that are there.
    pub(super) fn drain_seat(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) {
        let seat = &mut self.workers[i];
        let Some(line) = &seat.line else {
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
        let mut batch = Batch::default();
        while let Heard::More = self.take_reply(i, &mut batch, ctx) {}
        self.count_batch(&batch, ctx.now);
        let seat = &mut self.workers[i];
        let Some(line) = &mut seat.line else {
            return;
        };
        // A worker may wait for room only where there was little.
        if batch.frame_bytes >= ROOMY || was_held || seat.held.is_some() {
            line.made_room();
        }
        let taken = line.taken().wrapping_sub(before);
        let lied = seat.held.is_none() && (said.wrapping_sub(line.taken()) as i32) > 0;
        if taken > 0 {
            self.note_progress(i, taken, ctx.now);
        }
        if lied && matches!(self.workers[i].status, Status::Ready | Status::Leaving) {
            self.lose(i, ctx);
        }
        if was_held {
            self.end_cancelled(i, ctx);
        }
    }

    /// Takes one reply. [`Heard::Later`]: there is none, or none that can be dealt with now.
    fn take_reply(&mut self, i: WorkerIndex, batch: &mut Batch, ctx: &mut Ctx<'_>) -> Heard {
        let seat = &mut self.workers[i];
        let Some(line) = &mut seat.line else {
            return Heard::Later;
        };
        let (tag, bytes) = match seat.held.take() {
            Some(held) => held,
            None => {
                let (tag, frame) = match line.next_reply() {
                    Ok(None) => return Heard::Later,
                    Ok(Some(next)) => next,
                    Err(_) => {
                        self.lose(i, ctx);
                        return Heard::Later;
                    }
                };
                let len = frame.len();
                batch.frame_bytes += len + 16;
                // By far the most of what is heard.
                if tag.is_returned() && seat.status == Status::Ready && !self.heard {
                    if let Some(task) = seat.hand.pop_of_map() {
                        let (inbox, index) = (task.inbox, task.index);
                        self.inboxes.put_frame(inbox, index, frame, ctx.deferred);
                        line.count_result();
                        batch.count(&task, len, &mut self.stats, ctx.now);
                        return Heard::More;
                    }
                }
                (tag, take_frame(frame, &mut self.frame))
            }
        };
        let is_news = self.heard && seat.is_ready() && seat.is_unannounced();
        if is_news && tag.read(&bytes) != Reply::Leaving {
            // One that was begun, and has ended, since we looked.
            let begun = seat.first().wrapping_add(1);
            self.announce(i, begun, ctx);
        }
        let mut heard = self.heard(i, tag, bytes, ctx);
        if let Heard::Nonsense = heard {
            self.workers[i].answered = true;
            self.lose(i, ctx);
            heard = Heard::Later;
        }
        heard
    }

    /// Counts the tasks of maps that were taken together.
    fn count_batch(&mut self, batch: &Batch, now: Instant) {
        self.workers.count_done(batch.tasks as usize);
        self.stats.done += batch.tasks;
        self.stats.bytes_out += batch.result_bytes;
        batch.record_latencies(&mut self.stats, now);
    }

    /// A worker has finished so many tasks.
    fn note_progress(&mut self, i: WorkerIndex, tasks: u32, now: Instant) {
        let seat = &mut self.workers[i];
        seat.full = false;
        self.news = true;
        self.pace.record(tasks, now - seat.mark);
        seat.mark = now;
        seat.slow = false;
        seat.head = (seat.first(), now);
        let is_done = seat.hand.is_empty();
        self.workers.set_all_full(false);
        self.wakeups.mark_stale(i);
        if is_done {
            self.unlist(i, now);
        }
    }

    /// There seemed to be news, and looking found none: a worker that says it has finished what it
    /// has not shown lies.
    pub(super) fn check_words(&mut self, deferred: &mut Deferred) {
        for i in self.workers.busy().to_vec() {
            let seat = &self.workers[i];
            if let Some(line) = seat.line.as_ref().filter(|_| seat.held.is_none()) {
                let said = line.finished().wrapping_sub(line.taken()) as i32;
                if said > 0 && !line.is_ready() {
                    self.lose(i, &mut deferred.at(Instant::now()));
                }
            }
        }
    }

    /// One reply of a worker.
    fn heard(&mut self, i: WorkerIndex, tag: ReplyTag, frame: Bytes, ctx: &mut Ctx<'_>) -> Heard {
        match (self.workers[i].status, tag.read(&frame)) {
            (Status::Doomed(_), _) => self.heard_of_doomed(i),
            (Status::Starting, Reply::Ready) => self.heard_ready(i, ctx),
            (Status::Starting, Reply::NotReady(why)) => self.heard_not_ready(i, why, ctx),
            (Status::Ready, Reply::Leaving) => self.heard_leaving(i, ctx),
            (Status::Ready, _) => self.heard_end(i, tag, frame, ctx),
            _ => Heard::Nonsense,
        }
    }

    fn heard_of_doomed(&mut self, i: WorkerIndex) -> Heard {
        let seat = &mut self.workers[i];
        // It is done before its time of grace is over: it need not wait for that.
        if let Some(line) = seat.line.as_ref().filter(|_| !self.grace.is_zero()) {
            line.kill(Duration::ZERO);
        }
        seat.answered = true;
        Heard::More
    }

    /// A worker has done its setup.
    fn heard_ready(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) -> Heard {
        let seat = &mut self.workers[i];
        seat.status = Status::Ready;
        seat.mark = ctx.now;
        self.respawn.record_start();
        self.workers.mark_idle(i);
        self.workers.set_all_full(false);
        self.news = true;
        Heard::More
    }

    /// A worker could not do its setup.
    fn heard_not_ready(&mut self, i: WorkerIndex, why: &[u8], ctx: &mut Ctx<'_>) -> Heard {
        let reason = match reply::decoded(why) {
            Some(why) => Reason::NotReady(why, Arc::clone(&self.server.symbols)),
            None => Reason::not_hired("a worker broke the protocol"),
        };
        self.vacate(i, ctx.now);
        self.no_worker(i, reason, ctx);
        Heard::Later
    }

    /// A worker begins no more tasks, and ends by itself.
    fn heard_leaving(&mut self, i: WorkerIndex, ctx: &mut Ctx<'_>) -> Heard {
        let seat = &mut self.workers[i];
        let Some(line) = &seat.line else {
            return Heard::Nonsense;
        };
        seat.status = Status::Leaving;
        // It may have begun one, and found that it could not be given it.
        let claimed = line.begun() != Ok(line.taken());
        let (pid, unflushed) = (line.pid(), line.mailbox().is_unflushed());
        let refused = claimed.then(|| self.workers.take_first(i)).flatten();
        self.stats.recycled += 1;
        // Its own word for it.
        let why = if unflushed {
            "a task has left a thread behind that holds stdout, and what was printed there is lost"
        } else {
            "it has reached its limit of tasks or of memory"
        };
        ctx.deferred.events.push(Event::Replaced(pid, why));
        self.reclaim(i, self.workers[i].first(), ctx);
        if let Some(task) = refused {
            self.refused(task, ctx);
        }
        self.workers.end_idle(i);
        // Its end is waited for by the one that comes after it.
        self.vacate(i, ctx.now);
        self.news = true;
        Heard::Later
    }

    /// The first task that a worker has is done.
    fn heard_end(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
        ctx: &mut Ctx<'_>,
    ) -> Heard {
        if self.workers[i].hand.is_empty() {
            return Heard::Nonsense;
        }
        let answer = match self.answer(i, tag, frame) {
            Ok(answer) => answer,
            Err(heard) => return heard,
        };
        let Some(task) = self.answered(i) else {
            return Heard::Nonsense;
        };
        let name = || task.job.name(self.options.name.as_ref());
        let end = match answer {
            Answer::Returned(end) => end,
            Answer::Panicked(unwound) => {
                End::failed(JoinError::panicked(name(), unwound, &self.server.symbols))
            }
            Answer::Undeliverable(why) => End::failed(Refused::Why(why).into_error(name())),
        };
        self.finish(task, end, ctx);
        Heard::More
    }

    /// What a reply says of its task.
    fn answer(&mut self, i: WorkerIndex, tag: ReplyTag, frame: Bytes) -> Result<Answer, Heard> {
        match tag.read(&frame) {
            Reply::Returned(result) => {
                self.stats.bytes_out += result.len() as u64;
                Ok(Answer::Returned(End::Returned(frame)))
            }
            Reply::AccompaniedReturned(_) | Reply::LargeReturned(_) => {
                self.answer_with_descriptors(i, tag, frame)
            }
            Reply::Panicked(unwound) => match reply::decoded(unwound) {
                Some(unwound) => Ok(Answer::Panicked(unwound)),
                None => Err(Heard::Nonsense),
            },
            Reply::Undeliverable(why) => {
                let why = String::from_utf8_lossy(why).into_owned();
                Ok(Answer::Undeliverable(why))
            }
            Reply::Ready | Reply::NotReady(_) | Reply::Leaving | Reply::Unknown(_) => {
                Err(Heard::Nonsense)
            }
        }
    }

    /// A result whose descriptors come through the lane.
    fn answer_with_descriptors(
        &mut self,
        i: WorkerIndex,
        tag: ReplyTag,
        frame: Bytes,
    ) -> Result<Answer, Heard> {
        let seat = &mut self.workers[i];
        let line = seat.line.as_mut().ok_or(Heard::Nonsense)?;
        let not_received = |why: &dyn std::fmt::Display| {
            Answer::Undeliverable(format!("its result could not be received: {why}"))
        };
        let descriptors = match line.fetch() {
            Ok(descriptors) => descriptors,
            Err(NotNow::LaneComing) => {
                seat.held = Some((tag, frame));
                return Err(Heard::Later);
            }
            Err(NotNow::Failed(e)) if matches!(errno_of(&e), Some(libc::EMFILE | libc::ENFILE)) => {
                return Ok(not_received(&e));
            }
            // It sent before it replied, so it would be there.
            Err(_) => return Err(Heard::Nonsense),
        };
        let content = match tag.read(&frame) {
            Reply::LargeReturned(Some(len)) if len <= MAX_BYTES as u64 => Content::File(len),
            Reply::AccompaniedReturned(_) => Content::Here(frame),
            _ => return Err(Heard::Nonsense),
        };
        let len = content.len() as u64;
        match delivered(content, descriptors) {
            Ok(delivered) => {
                self.stats.bytes_out += len;
                Ok(Answer::Returned(End::Carried(Box::new(delivered))))
            }
            Err(why) => Ok(not_received(&why)),
        }
    }

    /// A worker could not be given a task that it had begun: another tries, but not for ever.
    fn refused(&mut self, mut task: Task, ctx: &mut Ctx<'_>) {
        task.spared += 1;
        if task.spared <= SPARED {
            self.give_back(task, ctx);
            return;
        }
        let name = task.job.name(self.options.name.as_ref());
        let why = "no worker could be given its input: in each, a task has closed the socket through which inputs arrive";
        let end = Refused::Why(why.to_owned()).into_error(name);
        self.finish(task, End::failed(end), ctx);
    }

    /// The task that a reply is for.
    pub(super) fn answered(&mut self, i: WorkerIndex) -> Option<Task> {
        let task = self.workers.take_first(i)?;
        self.workers[i].line.as_mut()?.count_result();
        Some(task)
    }

    /// A task has ended.
    pub(super) fn finish(&mut self, task: Task, end: End, ctx: &mut Ctx<'_>) {
        let outcome = match &end {
            End::Returned(_) | End::Carried(_) => {
                self.stats.done += 1;
                TaskOutcome::Returned
            }
            End::Failed(why) => {
                self.stats.count_failure(why);
                TaskOutcome::of_error(why)
            }
        };
        let time = ctx.now.saturating_duration_since(task.submitted);
        self.stats.latencies.record(time);
        if self.heard {
            let ended = Event::Ended(task.number, outcome.label(), time);
            ctx.deferred.events.push(ended);
        }
        match task.owner {
            Owner::Handle(slot) => slot.slot().settle(end, &mut ctx.deferred.wakeups),
            Owner::Map(inbox, index) => self.inboxes.put(inbox, index, end, ctx.deferred),
        }
        self.news = true;
    }
}

/// A result with its descriptors, of which the first is the file of a large one.
fn delivered(content: Content, descriptors: Vec<OwnedFd>) -> Result<Delivered, String> {
    match (Unclaimed::hold(descriptors), content) {
        (Ok(descriptors), content) => Ok(Delivered {
            content,
            descriptors,
        }),
        // One that needs a descriptor only to be read can do without.
        (Err(too_many), Content::File(len)) if too_many.descriptors.len() == 1 => {
            let mapped = lane::map(&too_many.descriptors[0], len).map_err(|e| e.to_string())?;
            Ok(Delivered {
                content: Content::Mapped(mapped),
                descriptors: Unclaimed::none(),
            })
        }
        (Err(too_many), _) => Err(too_many.why()),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use crate::{Kind, Pool};

    const LEN: usize = 20 * 1024;

    fn bytes_of(value: u8) -> Vec<u8> {
        vec![value; LEN]
    }

    #[test]
    fn a_result_is_copied_once_from_the_mailbox() {
        crate::init();
        let pool = Pool::builder(Kind::Process).workers(1).build();
        let pool = pool.expect("a pool");
        let result = pool.submit(bytes_of, 1).join();
        assert_eq!(result.expect("a result"), [1; LEN]);
        for (value, result) in (0..).zip(pool.map(bytes_of, 0..8)) {
            assert_eq!(result.expect("a result"), [value; LEN]);
        }
        // What is read into this buffer is copied once more from there.
        let pool = pool.processes_only().expect("processes");
        let scratch = pool.lock().state.frame.capacity();
        assert!(scratch < LEN, "{scratch} bytes");
    }
}
