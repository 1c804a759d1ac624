//! Telling the subscriber what a worker has sent.

use std::fmt::Write;

use tracing::field::{DisplayValue, Value, display};
use tracing::{Dispatch, Event, dispatcher};
use tracing_core::field::Field;

use super::places::{Places, RemoteCallsite, SHARED_FIELDS};
use super::source::WorkerEvents;
use crate::trace::{LevelFilter, Span, warn};
use crate::worker::process::ipc::events::{
    self, EventFrame, EventsFrame, FieldValue, Keeps, MAX_FIELDS,
};

/// A field for each that a worker may send, and what is said of the worker; as many as `tracing`
/// takes at once.
const VALUES: usize = 32;
const _: () = assert!(MAX_FIELDS < VALUES && SHARED_FIELDS.len() <= VALUES);

/// Tells a frame. The subscriber's code runs, and may panic.
pub(super) fn tell(source: &WorkerEvents, frame: &[u8], places: &mut Places) {
    match events::read(frame) {
        Some(EventsFrame::Event(event)) => tell_event(source, &event, places),
        Some(EventsFrame::Keeps(keeps)) => tell_keeps(source, keeps),
        None => tell_nonsense(source),
    }
}

/// Has the span's subscriber as the default meanwhile: what it emits itself while it is told
/// something is then passed over, as it is elsewhere; and a place that is seen for the first time
/// asks the default one whether it wants its events.
fn tell_event(source: &WorkerEvents, event: &EventFrame<'_>, places: &mut Places) {
    let span = source.span(event.task);
    let is_event = dispatcher::with_default(span.dispatch(), || {
        let callsite = places.find(event.place)?;
        let metadata = callsite.metadata_of();
        if callsite.may_be_wanted() && *metadata.level() <= LevelFilter::current() {
            dispatcher::get_default(|dispatch| {
                if dispatch.enabled(metadata) {
                    dispatch_event(dispatch, &span, event, callsite);
                }
            });
        }
        Some(())
    });
    if is_event.is_none() {
        tell_nonsense(source);
    }
}

fn dispatch_event(
    dispatch: &Dispatch,
    span: &Span,
    event: &EventFrame<'_>,
    callsite: &'static RemoteCallsite,
) {
    let (metadata, fields) = (callsite.metadata_of(), callsite.fields());
    let mut texts = SharedTexts::default();
    let mut held: [Option<Held<'_>>; VALUES] = [const { None }; VALUES];
    if callsite.is_shared() {
        texts.read(event);
        texts.hold(event, &mut held);
    } else {
        let last = fields.len() - 1;
        for (index, value) in event.values().filter(|&(index, _)| index < last) {
            held[index] = Some(Held::of(value));
        }
        held[last] = (!event.spans.is_empty()).then_some(Held::Str(event.spans));
    }
    let values: [(&Field, Option<&dyn Value>); VALUES] = std::array::from_fn(|i| {
        let field = fields.get(i).unwrap_or(&fields[0]);
        (field, held[i].as_ref().map(Held::value))
    });
    let values = metadata.fields().value_set(&values);
    dispatch.event(&Event::new_child_of(span.parent(), metadata, &values));
}

/// Reports what the worker has lost since the last report.
pub(super) fn tell_lost(source: &WorkerEvents) {
    let lost = source.lost();
    if lost == 0 {
        return;
    }
    let (worker, span) = (source.worker(), source.span(None));
    dispatcher::with_default(span.dispatch(), || {
        warn!(
            target: "brigade::process",
            parent: span.parent(),
            worker,
            lost,
            "{lost} events of process {worker} were lost: it writes them faster than they are read"
        );
    });
}

fn tell_nonsense(source: &WorkerEvents) {
    if !source.is_first_nonsense() {
        return;
    }
    let (worker, span) = (source.worker(), source.span(None));
    dispatcher::with_default(span.dispatch(), || {
        warn!(
            target: "brigade::process",
            parent: span.parent(),
            worker,
            "process {worker} has sent what is no event"
        );
    });
}

fn tell_keeps(source: &WorkerEvents, keeps: Keeps) {
    let what = match (keeps.subscriber, keeps.logger) {
        (true, true) => "a subscriber and a logger",
        (true, false) => "a subscriber",
        (false, true) => "a logger",
        (false, false) => return,
    };
    let (worker, span) = (source.worker(), source.span(None));
    dispatcher::with_default(span.dispatch(), || {
        crate::trace::event!(
            target: "brigade::process",
            parent: span.parent(),
            tracing::Level::DEBUG,
            worker,
            "process {worker} has set {what} of its own, which has what is not sent here"
        );
    });
}

/// A value for the subscriber.
enum Held<'a> {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Str(&'a str),
    Shown(DisplayValue<&'a str>),
}

impl<'a> Held<'a> {
    fn of(value: FieldValue<'a>) -> Held<'a> {
        match value {
            FieldValue::Bool(value) => Held::Bool(value),
            FieldValue::I64(value) => Held::I64(value),
            FieldValue::U64(value) => Held::U64(value),
            FieldValue::I128(value) => Held::I128(value),
            FieldValue::U128(value) => Held::U128(value),
            FieldValue::F64(value) => Held::F64(value),
            FieldValue::Str(value) => Held::Str(value),
            FieldValue::Shown(value) => Held::Shown(display(value)),
        }
    }

    fn value(&self) -> &dyn Value {
        match self {
            Held::Bool(value) => value,
            Held::I64(value) => value,
            Held::U64(value) => value,
            Held::I128(value) => value,
            Held::U128(value) => value,
            Held::F64(value) => value,
            Held::Str(value) => value,
            Held::Shown(value) => value,
        }
    }
}

/// What the subscriber gets of an event whose place has no callsite of its own.
#[derive(Default)]
struct SharedTexts<'a> {
    message: Option<FieldValue<'a>>,
    target: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    /// `a=1 b="text"`
    fields: String,
}

impl<'a> SharedTexts<'a> {
    fn read(&mut self, event: &EventFrame<'a>) {
        let Some((place, names)) = events::read_place(event.place) else {
            return;
        };
        (self.target, self.file, self.line) = (place.target, place.file, place.line);
        for (index, value) in event.values() {
            let separator = if self.fields.is_empty() { "" } else { " " };
            match names.get(index) {
                Some(&"message") => self.message = Some(value),
                Some(name) => {
                    let _ = write!(self.fields, "{separator}{name}={value}");
                }
                None => {}
            }
        }
    }

    /// In the order of [`SHARED_FIELDS`].
    fn hold<'h>(&'h self, event: &EventFrame<'h>, held: &mut [Option<Held<'h>>; VALUES])
    where
        'a: 'h,
    {
        let some = |text: &'h str| (!text.is_empty()).then_some(Held::Str(text));
        held[0] = self.message.map(Held::of);
        held[1] = some(self.target);
        held[2] = self.file.and_then(some);
        held[3] = self.line.map(|line| Held::U64(line.into()));
        held[4] = some(&self.fields);
        held[5] = some(event.spans);
    }
}
