//! The span of a task that runs in a thread: what the task tells is under that, as what one tells
//! that runs in a process.

use std::panic::Location;

use super::pool::ThreadPool;
use crate::task::name::TaskName;
use crate::trace::Submission;

/// A function's address, and where it was started.
type TaskKey = (usize, &'static Location<'static>);

#[cfg(feature = "tracing")]
impl ThreadPool {
    /// Where the calling thread submits a task, if that is to be known. Asked for where nothing is
    /// locked.
    #[inline]
    pub(super) fn submission(&self) -> Option<Submission> {
        self.options.forward_tracing.map(|_| Submission::here())
    }

    /// Runs a task within its span, which is closed then.
    pub(super) fn within_span<R>(
        &self,
        submission: &Submission,
        worker: u64,
        task: u64,
        function: TaskKey,
        name: impl FnOnce() -> TaskName,
        run: impl FnOnce() -> R,
    ) -> R {
        let (address, call_site) = function;
        let key = (address, std::ptr::from_ref(call_site) as usize);
        let name = self.task_names.get(key, name);
        let fields = crate::trace::SpanFields {
            name: Some(&name),
            pool: Some(self.pool_id),
            task: Some(task),
            worker,
            kind: crate::Kind::Thread,
        };
        crate::trace::Span::open(submission.clone(), fields).within(run)
    }
}

#[cfg(not(feature = "tracing"))]
impl ThreadPool {
    pub(super) fn submission(&self) -> Option<Submission> {
        None
    }

    pub(super) fn within_span<R>(
        &self,
        submission: &Submission,
        _worker: u64,
        _task: u64,
        _: TaskKey,
        _: impl FnOnce() -> TaskName,
        _: impl FnOnce() -> R,
    ) -> R {
        match *submission {}
    }
}
