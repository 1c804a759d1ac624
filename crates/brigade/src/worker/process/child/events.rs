//! A worker's events of `tracing`, and its records of `log`, go to the program: a subscriber and a
//! logger that send them, one datagram each, and never wait.
//!
//! They are the worker's own where it has set none itself by the end of its initializer. Until then
//! the subscriber is only that of the thread which runs the initializer, so that one that sets a
//! subscriber finds the place free.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{error, io};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};
use tracing_core::span::Current;

use super::this_worker;
use crate::sys::fds::{self, Pinned};
use crate::worker::process::ipc::events::{
    self, Bounded, EventWriter, FieldValue, Keeps, MAX_SPANS, Place,
};
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::is_temporary;

/// What sends this process's events, once it has what that takes.
static SENDER: OnceLock<EventSender> = OnceLock::new();

struct EventSender {
    socket: Pinned,
    level: u8,
    /// Where it counts what it could not send.
    mailbox: &'static Mailbox,
    spans: Mutex<HashMap<u64, OpenSpan>>,
    next_span: AtomicU64,
}

/// A span of the worker's, and how many handles of it there are.
struct OpenSpan {
    span: Arc<SpanText>,
    handles: usize,
}

/// What is said of a span.
struct SpanText {
    id: u64,
    metadata: &'static Metadata<'static>,
    fields: Mutex<String>,
    outer: Option<Arc<SpanText>>,
}

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<Arc<SpanText>>> = const { RefCell::new(Vec::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While the initializer runs: the calling thread's events go to the program.
pub(super) struct DuringInitializer {
    dispatch: Dispatch,
    guard: dispatcher::DefaultGuard,
}

impl DuringInitializer {
    /// `socket`: where they go; `level`: from 1, errors alone, to 5.
    pub(super) fn begin(
        socket: OwnedFd,
        level: u8,
        mailbox: &'static Mailbox,
    ) -> io::Result<DuringInitializer> {
        let socket = Pinned::leaked(socket)?;
        SENDER.get_or_init(|| EventSender {
            socket,
            level,
            mailbox,
            spans: Mutex::default(),
            next_span: AtomicU64::new(1),
        });
        let dispatch = Dispatch::new(ToProgram);
        let guard = dispatcher::set_default(&dispatch);
        Ok(DuringInitializer { dispatch, guard })
    }

    /// The initializer has ended: from now on all of the worker's events go to the program, unless
    /// it has set a subscriber of its own; likewise its records.
    pub(super) fn end(self) {
        let DuringInitializer { dispatch, guard } = self;
        drop(guard);
        let Some(sender) = SENDER.get() else {
            return;
        };
        let subscriber = dispatcher::set_global_default(dispatch).is_err();
        if subscriber {
            // What the one that is gone wanted, the other need not.
            tracing_core::callsite::rebuild_interest_cache();
        }
        let logger = log::set_logger(&ToProgram).is_err();
        if !logger {
            log::set_max_level(match sender.level {
                1 => log::LevelFilter::Error,
                2 => log::LevelFilter::Warn,
                3 => log::LevelFilter::Info,
                4 => log::LevelFilter::Debug,
                _ => log::LevelFilter::Trace,
            });
        }
        if subscriber || logger {
            sender.send(&events::keeps(Keeps { subscriber, logger }));
        }
    }
}

/// Sends an event that a subscriber of the worker's own was told. In the program, and in a worker
/// that is to send none, it does nothing.
pub(in crate::worker::process) fn forward(event: &Event<'_>) {
    if let Some(sender) = SENDER.get().filter(|sender| sender.wants(event.metadata())) {
        // Whose spans those are, that subscriber knows alone.
        sender.send_event(event, "");
    }
}

impl EventSender {
    fn send(&self, frame: &[u8]) {
        // A task may have closed it: then there is no way to tell.
        let Some(socket) = self.socket.get() else {
            return;
        };
        match fds::send(socket, frame, &[]) {
            Err(why) if is_temporary(&why) => self.mailbox.count_lost_event(),
            // Nobody reads any more.
            _ => {}
        }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        events::number_of(*metadata.level()) <= self.level
    }

    /// `spans`: those that it is in, as a text.
    fn send_event(&self, event: &Event<'_>, spans: &str) {
        let metadata = event.metadata();
        let place = Place {
            level: events::number_of(*metadata.level()),
            name: metadata.name(),
            target: metadata.target(),
            module: metadata.module_path(),
            file: metadata.file(),
            line: metadata.line(),
        };
        let names = metadata.fields().iter().map(|field| field.name());
        let place = events::place_bytes(&place, names);
        let mut values = FieldWriter(EventWriter::new(this_worker::task(), &place, spans));
        event.record(&mut values);
        self.send(values.0.bytes());
    }

    fn span(&self, id: &Id) -> Option<Arc<SpanText>> {
        let spans = lock(&self.spans);
        spans.get(&id.into_u64()).map(|open| Arc::clone(&open.span))
    }

    /// The spans that an event is in, the outermost first.
    fn path_of(&self, event: &Event<'_>) -> String {
        let innermost = match event.parent() {
            Some(id) => self.span(id),
            None if event.is_root() => None,
            None => current(),
        };
        innermost.map_or_else(String::new, |span| span.path())
    }
}

fn current() -> Option<Arc<SpanText>> {
    let innermost = ENTERED.try_with(|entered| entered.borrow().last().cloned());
    innermost.ok().flatten()
}

impl SpanText {
    /// `outer{a=1}:inner`
    fn path(&self) -> String {
        let mut spans = vec![self];
        while let Some(outer) = spans.last().and_then(|span| span.outer.as_deref()) {
            spans.push(outer);
        }
        let mut path = Bounded::new(MAX_SPANS);
        for (n, span) in spans.into_iter().rev().enumerate() {
            let separator = if n == 0 { "" } else { ":" };
            let fields = lock(&span.fields);
            // What is too long is cut.
            let _ = match fields.as_str() {
                "" => write!(path, "{separator}{}", span.metadata.name()),
                fields => write!(path, "{separator}{}{{{fields}}}", span.metadata.name()),
            };
        }
        path.finish()
    }
}

/// The subscriber, and the logger.
struct ToProgram;

impl Subscriber for ToProgram {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        SENDER.get().is_some_and(|sender| sender.wants(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let wanted = |sender: &EventSender| LevelFilter::from_level(events::level_of(sender.level));
        Some(SENDER.get().map_or(LevelFilter::OFF, wanted))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let Some(sender) = SENDER.get() else {
            return Id::from_u64(u64::MAX);
        };
        let id = sender.next_span.fetch_add(1, Ordering::Relaxed);
        let outer = match attributes.parent() {
            Some(outer) => sender.span(outer),
            None if attributes.is_root() => None,
            None => current(),
        };
        let mut fields = SpanFieldsText(Bounded::new(MAX_SPANS), true);
        attributes.record(&mut fields);
        let span = Arc::new(SpanText {
            id,
            metadata: attributes.metadata(),
            fields: Mutex::new(fields.0.finish()),
            outer,
        });
        let open = OpenSpan { span, handles: 1 };
        lock(&sender.spans).insert(id, open);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let Some(span) = SENDER.get().and_then(|sender| sender.span(id)) else {
            return;
        };
        // The values' own code runs, and may look at this span.
        let mut fields = SpanFieldsText(Bounded::new(MAX_SPANS), true);
        values.record(&mut fields);
        let (added, mut all) = (fields.0.finish(), lock(&span.fields));
        if all.len() + added.len() < MAX_SPANS {
            let separator = if all.is_empty() || added.is_empty() {
                ""
            } else {
                " "
            };
            *all += &format!("{separator}{added}");
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if let Some(sender) = SENDER.get() {
            sender.send_event(event, &sender.path_of(event));
        }
    }

    fn enter(&self, id: &Id) {
        if let Some(span) = SENDER.get().and_then(|sender| sender.span(id)) {
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span));
        }
    }

    fn exit(&self, id: &Id) {
        let left = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered.iter().rposition(|span| span.id == id.into_u64())?;
            Some(entered.remove(at))
        });
        drop(left);
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(sender) = SENDER.get() {
            if let Some(open) = lock(&sender.spans).get_mut(&id.into_u64()) {
                open.handles += 1;
            }
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let Some(sender) = SENDER.get() else {
            return false;
        };
        let mut spans = lock(&sender.spans);
        let Some(open) = spans.get_mut(&id.into_u64()) else {
            return false;
        };
        open.handles -= 1;
        if open.handles > 0 {
            return false;
        }
        let closed = spans.remove(&id.into_u64());
        drop(spans);
        drop(closed);
        true
    }

    fn current_span(&self) -> Current {
        match current() {
            Some(span) => Current::new(Id::from_u64(span.id), span.metadata),
            None => Current::none(),
        }
    }
}

impl log::Log for ToProgram {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        SENDER
            .get()
            .is_some_and(|sender| metadata.level() as u8 <= sender.level)
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(sender) = SENDER
            .get()
            .filter(|_| log::Log::enabled(self, record.metadata()))
        else {
            return;
        };
        let place = Place {
            level: record.level() as u8,
            name: "log record",
            target: record.target(),
            module: record.module_path(),
            file: record.file(),
            line: record.line(),
        };
        let place = events::place_bytes(&place, ["message"].into_iter());
        let path = current().map_or_else(String::new, |span| span.path());
        let mut values = FieldWriter(EventWriter::new(this_worker::task(), &place, &path));
        values.shown(0, format_args!("{}", record.args()));
        sender.send(values.0.bytes());
    }

    fn flush(&self) {}
}

/// Writes the values of an event.
struct FieldWriter(EventWriter);

impl FieldWriter {
    fn shown(&mut self, index: usize, value: fmt::Arguments<'_>) {
        if let Some(text) = value.as_str() {
            return self.0.value(index, FieldValue::Shown(text));
        }
        let mut text = Bounded::new(self.0.room());
        let _ = text.write_fmt(value);
        self.0.value(index, FieldValue::Shown(&text.finish()));
    }
}

impl Visit for FieldWriter {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.value(field.index(), FieldValue::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.value(field.index(), FieldValue::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.value(field.index(), FieldValue::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.0.value(field.index(), FieldValue::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.0.value(field.index(), FieldValue::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.value(field.index(), FieldValue::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.value(field.index(), FieldValue::Str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn error::Error + 'static)) {
        self.shown(field.index(), format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.shown(field.index(), format_args!("{value:?}"));
    }
}

/// Writes the fields of a span: `a=1 b="text"`. `true`: it is the first.
struct SpanFieldsText(Bounded, bool);

impl Visit for SpanFieldsText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let separator = if std::mem::take(&mut self.1) { "" } else { " " };
        let _ = write!(self.0, "{separator}{}={value:?}", field.name());
    }
}
