//! Spans of the library's own: that of a task, which the events of the task have as their parent,
//! wherever it runs; and that of a worker, for what is no task's.

use std::sync::{Arc, Once};

use tracing::field::{Value, display};
use tracing::{Dispatch, Level, Metadata, dispatcher};
use tracing_core::callsite::{DefaultCallsite, Identifier};
use tracing_core::field::{Field, FieldSet};
use tracing_core::metadata::Kind as MetadataKind;
use tracing_core::span::{Attributes, Id};

use crate::Kind;
use crate::task::contain::{attempt, contained};

/// What all these spans are called by filters.
const TARGET: &str = "brigade::task";

const FIELDS: &[&str] = &["name", "pool", "task", "worker", "kind"];

macro_rules! callsite {
    ($callsite:ident, $metadata:ident, $name:literal) => {
        static $callsite: DefaultCallsite = DefaultCallsite::new(&$metadata);
        static $metadata: Metadata<'static> = Metadata::new(
            $name,
            TARGET,
            Level::INFO,
            Some(file!()),
            Some(line!()),
            Some(module_path!()),
            FieldSet::new(FIELDS, Identifier(&$callsite)),
            MetadataKind::SPAN,
        );
    };
}

callsite!(TASK, TASK_METADATA, "task");
callsite!(WORKER, WORKER_METADATA, "worker");

/// Where a task was submitted: the subscriber that was the default there, and the span. Dropping
/// the last copy runs code of the subscriber's.
#[derive(Clone, Debug)]
pub(crate) struct Submission(Arc<SubmissionData>);

#[derive(Debug)]
struct SubmissionData {
    dispatch: Dispatch,
    span: tracing::Span,
}

impl Submission {
    /// That of the calling thread. It is asked for where no lock is held: the answer is the
    /// subscriber's own code.
    pub(crate) fn here() -> Submission {
        let ask = || SubmissionData {
            dispatch: dispatcher::get_default(Dispatch::clone),
            span: tracing::Span::current(),
        };
        Submission(Arc::new(attempt(ask).unwrap_or_else(|| SubmissionData {
            dispatch: Dispatch::none(),
            span: tracing::Span::none(),
        })))
    }
}

impl Drop for SubmissionData {
    fn drop(&mut self) {
        let span = std::mem::replace(&mut self.span, tracing::Span::none());
        contained(|| drop(span));
    }
}

/// What a span says. `None`: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanFields<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) pool: Option<u64>,
    /// `None`: it is a worker's, unless it has a name.
    pub(crate) task: Option<u64>,
    pub(crate) worker: u64,
    pub(crate) kind: Kind,
}

/// A span, which is closed when this is dropped. Where the subscriber does not want it, it stands
/// for the one that the task was submitted in.
#[derive(Debug)]
pub(crate) struct Span {
    id: Option<Id>,
    submission: Submission,
}

impl Span {
    /// Opens one. The subscriber's code runs.
    pub(crate) fn open(submission: Submission, fields: SpanFields<'_>) -> Span {
        static KNOWN: Once = Once::new();
        // A callsite that is seen for the first time asks the subscriber of this thread alone,
        // where there is one in the program.
        KNOWN.call_once(|| {
            contained(|| {
                dispatcher::with_default(&submission.0.dispatch, || {
                    let _ = (TASK.interest(), WORKER.interest());
                });
            });
        });
        let (callsite, metadata) = match (fields.name, fields.task) {
            (None, None) => (&WORKER, &WORKER_METADATA),
            _ => (&TASK, &TASK_METADATA),
        };
        let id = attempt(|| new_span(&submission, callsite, metadata, fields)).flatten();
        Span { id, submission }
    }

    /// What the events of the task have as their parent.
    pub(crate) fn parent(&self) -> Option<Id> {
        let outer = || self.submission.0.span.id();
        self.id.clone().or_else(outer)
    }

    /// The subscriber that is told.
    pub(crate) fn dispatch(&self) -> &Dispatch {
        &self.submission.0.dispatch
    }

    /// Runs a task within it, in this thread.
    pub(crate) fn within<R>(&self, task: impl FnOnce() -> R) -> R {
        let entered = self.parent().map(|id| Entered::new(self.dispatch(), id));
        let result = task();
        drop(entered);
        result
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            contained(|| {
                self.dispatch().try_close(id);
            });
        }
    }
}

/// A span that this thread is in.
struct Entered<'d>(&'d Dispatch, Id);

impl<'d> Entered<'d> {
    fn new(dispatch: &'d Dispatch, id: Id) -> Entered<'d> {
        contained(|| dispatch.enter(&id));
        Entered(dispatch, id)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        contained(|| self.0.exit(&self.1));
    }
}

fn new_span(
    submission: &Submission,
    callsite: &'static DefaultCallsite,
    metadata: &'static Metadata<'static>,
    fields: SpanFields<'_>,
) -> Option<Id> {
    let SubmissionData { dispatch, span } = &*submission.0;
    let interest = callsite.interest();
    if interest.is_never() || !dispatch.enabled(metadata) {
        return None;
    }
    let SpanFields {
        name,
        pool,
        task,
        worker,
        kind,
    } = fields;
    let kind = display(kind);
    let values: [Option<&dyn Value>; 5] = [
        name.as_ref().map(|name| name as &dyn Value),
        pool.as_ref().map(|pool| pool as &dyn Value),
        task.as_ref().map(|task| task as &dyn Value),
        Some(&worker),
        Some(&kind),
    ];
    let names: Vec<Field> = metadata.fields().iter().collect();
    let values: [(&Field, Option<&dyn Value>); 5] = std::array::from_fn(|i| (&names[i], values[i]));
    let values = metadata.fields().value_set(&values);
    let attributes = match span.id() {
        Some(outer) => Attributes::child_of(outer, metadata, &values),
        None => Attributes::new_root(metadata, &values),
    };
    Some(dispatch.new_span(&attributes))
}
