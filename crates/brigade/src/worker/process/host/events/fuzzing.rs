//! For `scripts/fuzz`: frames that a worker may have written, told to a subscriber that reads all
//! that they say.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, dispatcher};

use super::places::Places;
use super::source::WorkerEvents;
use super::tell::{tell, tell_lost};
use super::{OneTask, Spans};
use crate::sys::opened;
use crate::task::name::TaskName;
use crate::trace::Submission;
use crate::worker::process::ipc::events::MAX_FRAME;
use crate::worker::process::ipc::mailbox::Mailbox;

/// Reads each event to its end.
struct ReadsAll;

/// What an event says, as text.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for ReadsAll {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text(format!("{} {:?}", metadata.target(), metadata.file()));
        event.record(&mut text);
        // What is shown of a text is no more than it, but for quotes and escapes.
        assert!(text.0.len() < 16 * MAX_FRAME);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn source() -> Option<WorkerEvents> {
    let (socket, _theirs) = opened::socket_pair().ok()?;
    let mailbox = Mailbox::map(Mailbox::file().ok()?).ok()?;
    let name = TaskName::told("a task", std::panic::Location::caller());
    let submission = tracing::subscriber::with_default(ReadsAll, Submission::here);
    let spans: Arc<dyn Spans> = Arc::new(OneTask {
        submission,
        name,
        open: Mutex::new(None),
    });
    Some(WorkerEvents::new(socket, 1, &Arc::new(mailbox), &spans))
}

/// Tells a frame as the thread does that reads them.
pub(crate) fn told(frame: &[u8]) {
    thread_local! {
        static STATE: RefCell<Option<(WorkerEvents, Places)>> =
            RefCell::new(source().map(|source| (source, Places::default())));
    }
    STATE.with_borrow_mut(|state| {
        if let Some((source, places)) = state {
            dispatcher::with_default(&dispatcher::Dispatch::new(ReadsAll), || {
                tell(source, frame, places);
                tell_lost(source);
            });
        }
    });
}
