//! What one task has otherwise than its pool.

use std::fmt::DebugStruct;
use std::time::{Duration, Instant};

use crate::JoinHandle;

/// A timeout of this length is none: no clock says when it ends.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What one task has otherwise than its pool. `I`: what a moment is, as the pool has it.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct TaskOptions<I = Instant> {
    pub(in crate::pool) timeout: Option<Duration>,
    pub(in crate::pool) deadline: Option<I>,
    pub(in crate::pool) retries: Option<u32>,
}

impl<I> TaskOptions<I> {
    pub(in crate::pool) const NONE: TaskOptions<I> = TaskOptions {
        timeout: None,
        deadline: None,
        retries: None,
    };

    /// Whether the task has nothing otherwise than its pool.
    pub(in crate::pool) fn is_none(&self) -> bool {
        self.timeout.is_none() && self.deadline.is_none() && self.retries.is_none()
    }

    /// The task's own timeout; `None` if it has none, or one that never ends.
    pub(in crate::pool) fn own_timeout(&self) -> Option<Duration> {
        self.timeout.filter(|&time| time < FOR_EVER)
    }

    /// How long the task may run, in a pool with this timeout.
    pub(in crate::pool) fn time_limit(&self, pool: Option<Duration>) -> Option<Duration> {
        match self.timeout {
            Some(_) => self.own_timeout(),
            None => pool,
        }
    }

    /// How often the task is run again, in a pool whose tasks have `pool` retries.
    pub(in crate::pool) fn retries(&self, pool: u32) -> u32 {
        self.retries.unwrap_or(pool)
    }

    /// These options, with the deadline as another clock has it.
    pub(in crate::pool) fn with_deadline<J>(self, by: impl FnOnce(I) -> J) -> TaskOptions<J> {
        TaskOptions {
            timeout: self.timeout,
            deadline: self.deadline.map(by),
            retries: self.retries,
        }
    }
}

/// What a caller has set in the builder of a task: the same for each kind of builder.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct BuilderOptions {
    pub(in crate::pool) task: TaskOptions,
    pub(in crate::pool) cancels_on_drop: bool,
}

impl BuilderOptions {
    pub(in crate::pool) const NONE: BuilderOptions = BuilderOptions {
        task: TaskOptions::NONE,
        cancels_on_drop: false,
    };

    /// The handle of the task that was submitted, as it is to be.
    pub(in crate::pool) fn apply_to<R>(self, handle: JoinHandle<R>) -> JoinHandle<R> {
        if self.cancels_on_drop {
            handle.cancel_on_drop()
        } else {
            handle
        }
    }

    /// As fields of the builder.
    pub(in crate::pool) fn show<'a, 'b, 'f>(
        &self,
        fields: &'f mut DebugStruct<'a, 'b>,
    ) -> &'f mut DebugStruct<'a, 'b> {
        fields
            .field("timeout", &self.task.timeout)
            .field("deadline", &self.task.deadline)
            .field("retries", &self.task.retries)
            .field("cancel_on_drop", &self.cancels_on_drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn a_task_has_its_own_timeout_or_its_pools() {
        let none = TaskOptions::<Instant>::NONE;
        assert_eq!(none.time_limit(SECOND), SECOND);
        let own = |timeout| TaskOptions {
            timeout: Some(timeout),
            ..none
        };
        let minute = Duration::from_secs(60);
        assert_eq!(own(minute).time_limit(SECOND), Some(minute));
        assert_eq!(own(minute).time_limit(None), Some(minute));
        assert_eq!(own(Duration::MAX).time_limit(SECOND), None);
    }
}
