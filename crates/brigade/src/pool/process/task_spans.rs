//! The spans of a pool's tasks, under which the events are told that its workers send. Runs in the
//! host.
//!
//! A span is opened when the first event of its task comes, and closed when the task has ended and
//! all that it has sent was told. Until then it is kept where the task was submitted. Spans are the
//! subscriber's: they are opened, closed and dropped under no lock.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::call_target::CallTarget;
use crate::Kind;
use crate::pool::config::Options;
use crate::pool::task_names::TaskNames;
use crate::task::contain::contained;
use crate::trace::{Level, Span, SpanFields, Submission};
use crate::worker::process::host::events::{self, Forwarding, Spans};

/// How long the end of a pool waits for the subscriber that is told what its workers have sent.
const UNTIL_TOLD: Duration = Duration::from_secs(5);

/// The spans of a pool's tasks.
pub(super) struct TaskSpans {
    pool: u64,
    options: Arc<Options>,
    /// Where the pool was built.
    submission: Submission,
    /// By the number of the first.
    accepted: Mutex<BTreeMap<u64, Accepted>>,
    /// By task and worker: one that is run again has one for each.
    open: Mutex<BTreeMap<(u64, u32), Arc<Span>>>,
    of_workers: Mutex<HashMap<u32, Arc<Span>>>,
    ended: Mutex<Vec<u64>>,
    names: TaskNames,
}

/// Tasks that were submitted together, of which some have not ended.
struct Accepted {
    count: u32,
    left: u32,
    target: CallTarget,
    submission: Submission,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskSpans {
    pub(super) fn new(pool: u64, options: &Arc<Options>) -> TaskSpans {
        TaskSpans {
            pool,
            options: Arc::clone(options),
            submission: Submission::here(),
            accepted: Mutex::default(),
            open: Mutex::default(),
            of_workers: Mutex::default(),
            ended: Mutex::default(),
            names: TaskNames::default(),
        }
    }

    /// That the pool's workers are to send their events up to this level.
    pub(super) fn forwarding(self: &Arc<Self>, level: Level) -> io::Result<Forwarding> {
        Forwarding::new(level, self)
    }

    /// That of a task which the calling thread submits.
    pub(super) fn submission(&self) -> Submission {
        Submission::here()
    }

    /// The pool has accepted `count` tasks. Called under its lock.
    pub(super) fn accepted(
        &self,
        first: u64,
        count: u32,
        target: CallTarget,
        submission: &Submission,
    ) {
        let accepted = Accepted {
            count,
            left: count,
            target,
            submission: submission.clone(),
        };
        // Numbers are given once: nothing is replaced, and so dropped.
        lock(&self.accepted).insert(first, accepted);
    }

    /// A task has ended, and no worker runs it.
    pub(super) fn has_ended(&self, task: u64) {
        let mut ended = lock(&self.ended);
        ended.push(task);
        let is_first = ended.len() == 1;
        drop(ended);
        if is_first {
            events::sweep_soon();
        }
    }

    /// The pool's workers are gone: returns when all that they have sent was told, and the spans of
    /// tasks that have ended are closed.
    pub(super) fn finish(&self) {
        events::wait_until_told(UNTIL_TOLD);
    }

    fn open(
        &self,
        submission: Submission,
        name: Option<&str>,
        task: Option<u64>,
        worker: u32,
    ) -> Arc<Span> {
        let fields = SpanFields {
            name,
            pool: Some(self.pool),
            task,
            worker: worker.into(),
            kind: Kind::Process,
        };
        Arc::new(Span::open(submission, fields))
    }
}

impl Spans for TaskSpans {
    fn of_task(&self, task: u64, worker: u32) -> Option<Arc<Span>> {
        if let Some(span) = lock(&self.open).get(&(task, worker)) {
            return Some(Arc::clone(span));
        }
        let (target, submission) = {
            let accepted = lock(&self.accepted);
            let (first, accepted) = accepted.range(..=task).next_back()?;
            if task - first >= u64::from(accepted.count) {
                return None;
            }
            (accepted.target, accepted.submission.clone())
        };
        let name = self.names.get(target.key(), || target.name(&self.options));
        let span = self.open(submission, Some(&name), Some(task), worker);
        lock(&self.open).insert((task, worker), Arc::clone(&span));
        Some(span)
    }

    fn of_worker(&self, worker: u32) -> Arc<Span> {
        if let Some(span) = lock(&self.of_workers).get(&worker) {
            return Arc::clone(span);
        }
        let span = self.open(self.submission.clone(), None, None, worker);
        lock(&self.of_workers).insert(worker, Arc::clone(&span));
        span
    }

    fn worker_is_gone(&self, worker: u32) {
        let span = lock(&self.of_workers).remove(&worker);
        drop(span);
    }

    fn take_ended(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.ended))
    }

    fn close(&self, ended: Vec<u64>) {
        let (mut closed, mut done) = (Vec::new(), Vec::new());
        let (mut open, mut all) = (lock(&self.open), lock(&self.accepted));
        for task in ended {
            while let Some((&at, _)) = open.range((task, 0)..=(task, u32::MAX)).next() {
                closed.extend(open.remove(&at));
            }
            let Some((&first, accepted)) = all.range_mut(..=task).next_back() else {
                continue;
            };
            if task - first < u64::from(accepted.count) {
                accepted.left = accepted.left.saturating_sub(1);
                if accepted.left == 0 {
                    done.extend(all.remove(&first));
                }
            }
        }
        drop((open, all));
        // The spans of the tasks before those that these were submitted in.
        for span in closed {
            contained(|| drop(span));
        }
        for accepted in done {
            contained(|| drop(accepted));
        }
    }
}
