//! What a pool adds to its timeline: when tasks ran.

use super::assignment::WorkerIndex;
use super::collect::ReplyAction;
use super::deferred::{Ctx, Drawing};
use super::dispatcher::Dispatcher;
use super::task::Task;
use crate::pool::policy::run::{RunTimes, TaskRun};

impl Dispatcher {
    /// When the first task ran, told before the reply to it.
    pub(super) fn on_ran(&mut self, i: WorkerIndex, times: Option<[u64; 2]>) -> ReplyAction {
        let slot = &mut self.workers[i];
        // Once for each task, so that a worker has not always more to say.
        if times.is_none() || slot.ran.is_some() || self.options.timeline.is_none() {
            return ReplyAction::ProtocolError;
        }
        slot.ran = times;
        ReplyAction::Continue
    }

    /// The first task of a worker has ended, and was taken out.
    pub(super) fn note_run(
        &mut self,
        i: WorkerIndex,
        task: &Task,
        outcome: &'static str,
        ctx: &mut Ctx<'_>,
    ) {
        if self.options.timeline.is_none() {
            return;
        }
        let slot = &mut self.workers[i];
        let pid = slot.connection.as_ref().map_or(0, |c| c.pid());
        let seen = ctx.now.saturating_duration_since(slot.front_since.1);
        let told = slot
            .ran
            .take()
            .map(|[begin, end]| RunTimes::Told(begin, end));
        let run = TaskRun {
            row: i.at() as u64,
            pid,
            task: task.number,
            times: told.unwrap_or(RunTimes::Seen(seen)),
            since_submitted: ctx.now.saturating_duration_since(task.submitted),
            outcome,
        };
        ctx.deferred.drawings.push(Drawing::Run(run, task.target));
    }
}
