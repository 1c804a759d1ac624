//! A subscriber that keeps what it is told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// What was told of an event.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) module: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) fields: Fields,
    /// The spans that it is in, the outermost first.
    pub(crate) spans: Vec<SpanTold>,
}

#[derive(Clone, Debug)]
pub(crate) struct SpanTold {
    pub(crate) name: &'static str,
    pub(crate) fields: Fields,
}

/// Values by the names of their fields, with how they were recorded: `u64 7`, `str a`, `debug b`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    /// Without how it was recorded.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).split_once(' ').map_or("", |(_, text)| text)
    }

    fn add(&mut self, field: &Field, kind: &str, value: &dyn std::fmt::Display) {
        self.0
            .push((field.name().to_owned(), format!("{kind} {value}")));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, "f64", &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, "i64", &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, "u64", &value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, "i128", &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, "u128", &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, "bool", &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, "str", &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").expect("text");
        self.add(field, "debug", &text);
    }
}

impl Told {
    pub(crate) fn message(&self) -> &str {
        self.fields.text("message")
    }

    /// The innermost span.
    pub(crate) fn span(&self) -> &SpanTold {
        self.spans
            .last()
            .unwrap_or_else(|| panic!("in no span: {self:?}"))
    }

    pub(crate) fn path(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name).collect()
    }

    /// The number of its task in the pool.
    pub(crate) fn task(&self) -> Option<u64> {
        self.span().fields.text("task").parse().ok()
    }
}

struct OpenSpan {
    told: SpanTold,
    outer: Option<u64>,
    handles: usize,
}

type Hook = Box<dyn Fn(&Told) + Send + Sync>;

#[derive(Default)]
struct Recorded {
    told: Mutex<Vec<Told>>,
    spans: Mutex<HashMap<u64, OpenSpan>>,
    opened: AtomicU64,
    hook: Mutex<Option<Arc<Hook>>>,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It, and its handles.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Recorded>);

impl Recorder {
    /// Is called with each event that is told, before that is kept.
    pub(crate) fn on_event(&self, hook: impl Fn(&Told) + Send + Sync + 'static) {
        *lock(&self.0.hook) = Some(Arc::new(Box::new(hook)));
    }

    /// Runs with this as the calling thread's subscriber.
    pub(crate) fn listens<R>(&self, run: impl FnOnce() -> R) -> R {
        tracing::subscriber::with_default(self.clone(), run)
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.0.told).clone()
    }

    /// What was told that has this target.
    pub(crate) fn of_target(&self, target: &str) -> Vec<Told> {
        let mut told = self.told();
        told.retain(|told| told.target == target);
        told
    }

    pub(crate) fn open_spans(&self) -> Vec<&'static str> {
        lock(&self.0.spans)
            .values()
            .map(|span| span.told.name)
            .collect()
    }

    pub(crate) fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::SeqCst)
    }

    fn spans_up_to(&self, innermost: Option<u64>) -> Vec<SpanTold> {
        let spans = lock(&self.0.spans);
        let mut path = Vec::new();
        let mut at = innermost;
        while let Some(id) = at {
            let span = spans
                .get(&id)
                .unwrap_or_else(|| panic!("span {id} is closed"));
            path.push(span.told.clone());
            at = span.outer;
        }
        path.reverse();
        path
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = 1 + self.0.opened.fetch_add(1, Ordering::SeqCst);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let outer = match attributes.parent() {
            Some(outer) => Some(outer.into_u64()),
            None if attributes.is_root() => None,
            None => current(),
        };
        let told = SpanTold {
            name: attributes.metadata().name(),
            fields,
        };
        let open = OpenSpan {
            told,
            outer,
            handles: 1,
        };
        lock(&self.0.spans).insert(id, open);
        if let Some(outer) = outer {
            self.clone_span(&Id::from_u64(outer));
        }
        Id::from_u64(id)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let innermost = match event.parent() {
            Some(id) => Some(id.into_u64()),
            None if event.is_root() => None,
            None => current(),
        };
        let told = Told {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            module: metadata.module_path().map(str::to_owned),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
            fields,
            spans: self.spans_up_to(innermost),
        };
        let hook = lock(&self.0.hook).clone();
        if let Some(hook) = hook {
            hook(&told);
        }
        lock(&self.0.told).push(told);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            let at = entered.iter().rposition(|&open| open == id.into_u64());
            entered.remove(at.expect("it was entered"));
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        let mut spans = lock(&self.0.spans);
        spans.get_mut(&id.into_u64()).expect("an open span").handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = lock(&self.0.spans);
        let open = spans.get_mut(&id.into_u64()).expect("an open span");
        open.handles -= 1;
        if open.handles > 0 {
            return false;
        }
        let outer = open.outer;
        spans.remove(&id.into_u64());
        drop(spans);
        if let Some(outer) = outer {
            self.try_close(Id::from_u64(outer));
        }
        true
    }

    fn current_span(&self) -> Current {
        let Some(id) = current() else {
            return Current::none();
        };
        // Of which callsite it is, no test asks.
        Current::new(Id::from_u64(id), METADATA)
    }
}

fn current() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

/// Any metadata.
static METADATA: &Metadata<'static> = {
    static CALLSITE: tracing_core::callsite::DefaultCallsite =
        tracing_core::callsite::DefaultCallsite::new(&ANY);
    static ANY: Metadata<'static> = Metadata::new(
        "any",
        "any",
        Level::INFO,
        None,
        None,
        None,
        tracing_core::field::FieldSet::new(&[], tracing_core::callsite::Identifier(&CALLSITE)),
        tracing_core::metadata::Kind::SPAN,
    );
    &ANY
};
