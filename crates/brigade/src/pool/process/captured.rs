//! Tasks that capture, with options of their own: found and encoded before they are submitted.

use std::panic::Location;
use std::sync::Arc;

use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::pool::ProcessPool;
use crate::pool::context::Context;
use crate::pool::policy::task_options::TaskOptions;
use crate::{JoinHandle, Message};

/// What to call of a task that captures, and what it captures, encoded; or why no worker can have
/// it.
#[derive(Clone)]
pub(in crate::pool) struct CapturedTarget(Result<(CallTarget, Arc<EncodedContext>), String>);

impl CapturedTarget {
    /// What is called at this place of the program.
    #[track_caller]
    fn called(self) -> (Result<CallTarget, String>, Option<Arc<EncodedContext>>) {
        let call_site = Location::caller();
        match self.0 {
            Ok((target, context)) => (Ok(target.at(call_site)), Some(context)),
            Err(why) => (Err(why), None),
        }
    }
}

impl ProcessPool {
    #[track_caller]
    pub(in crate::pool) fn captured<C: Message + Sync, A: Message, R: Message>(
        &self,
        context: &Context<C>,
        task: fn(&C, A) -> R,
    ) -> CapturedTarget {
        CapturedTarget(self.target_with(context, task))
    }

    /// As [`submit_as`](Self::submit_as), of a task that captures.
    #[track_caller]
    pub(in crate::pool) fn submit_captured_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: CapturedTarget,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        let (target, context) = task.called();
        self.submit_made_as(target, context, input, options)
    }

    /// As [`try_submit_as`](Self::try_submit_as), of a task that captures.
    #[track_caller]
    pub(in crate::pool) fn try_submit_captured_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: CapturedTarget,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let (target, context) = task.called();
        self.try_submit_made_as(target, context, input, options)
    }
}
