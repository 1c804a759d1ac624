//! Tasks that borrow a context, what a task captures among them: found and encoded before they are
//! submitted.

use std::panic::Location;
use std::sync::Arc;

use super::call_target::CallTarget;
use super::context::EncodedContext;
use super::pool::ProcessPool;
use crate::pool::policy::task_options::TaskOptions;
use crate::{JoinHandle, Message};

/// What to call of a task that borrows a context, and that context, encoded; or why no worker can
/// have it.
#[derive(Clone)]
pub(in crate::pool) struct TargetWithContext(
    pub(super) Result<(CallTarget, Arc<EncodedContext>), String>,
);

impl TargetWithContext {
    /// What is called, and what it borrows.
    pub(super) fn parts(self) -> (Result<CallTarget, String>, Option<Arc<EncodedContext>>) {
        match self.0 {
            Ok((target, context)) => (Ok(target), Some(context)),
            Err(why) => (Err(why), None),
        }
    }

    /// The same, called at this place of the program.
    #[track_caller]
    fn called(self) -> (Result<CallTarget, String>, Option<Arc<EncodedContext>>) {
        let call_site = Location::caller();
        let (target, context) = self.parts();
        (target.map(|target| target.at(call_site)), context)
    }
}

impl ProcessPool {
    /// As [`submit_as`](Self::submit_as), of a task that captures.
    #[track_caller]
    pub(in crate::pool) fn submit_captured_as<A: Message, R: Message>(
        self: &Arc<Self>,
        task: TargetWithContext,
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
        task: TargetWithContext,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        let (target, context) = task.called();
        self.try_submit_made_as(target, context, input, options)
    }
}
