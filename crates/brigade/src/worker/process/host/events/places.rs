//! Places in workers' programs that events come from, as callsites of this program's.
//!
//! Problem: `tracing` knows an event by a callsite that lives for ever, with its metadata. A worker
//! names a place by bytes, which it may make up: each callsite that is made of them is memory that
//! is never free again. So there are no more than [`MAX_PLACES`], each bounded by what a frame may
//! hold; events from any others share one callsite for each level, which has the place among its
//! fields.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::Metadata;
use tracing::subscriber::Interest;
use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::{Field, FieldSet};
use tracing_core::metadata::Kind;

use crate::worker::process::ipc::events::{self, Place};

/// How many places have a callsite of their own. Each takes a few hundred bytes, 5 KiB at the most.
const MAX_PLACES: usize = 2048;

/// The field that says which spans of the worker an event was in.
const SPANS: &str = "worker.spans";

/// The fields of an event whose place has no callsite of its own.
pub(super) const SHARED_FIELDS: &[&str] = &[
    "message",
    "worker.target",
    "worker.file",
    "worker.line",
    "worker.fields",
    SPANS,
];

/// A callsite, which lives for ever.
pub(super) struct RemoteCallsite {
    metadata: OnceLock<Metadata<'static>>,
    /// The last is [`SPANS`].
    fields: OnceLock<Vec<Field>>,
    interest: AtomicU8,
    is_shared: bool,
}

const NEVER: u8 = 0;
const SOMETIMES: u8 = 1;
const ALWAYS: u8 = 2;

impl Callsite for RemoteCallsite {
    fn set_interest(&self, interest: Interest) {
        let interest = match () {
            () if interest.is_never() => NEVER,
            () if interest.is_always() => ALWAYS,
            () => SOMETIMES,
        };
        self.interest.store(interest, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.known()
    }
}

impl RemoteCallsite {
    fn known(&self) -> &Metadata<'static> {
        // It is set before any other code sees the callsite.
        match self.metadata.get() {
            Some(metadata) => metadata,
            None => unreachable!("a callsite without metadata"),
        }
    }

    pub(super) fn metadata_of(&'static self) -> &'static Metadata<'static> {
        self.known()
    }

    pub(super) fn fields(&self) -> &[Field] {
        self.fields.get().map_or(&[], Vec::as_slice)
    }

    /// Whether some subscriber wants its events, as far as they have said.
    pub(super) fn may_be_wanted(&self) -> bool {
        self.interest.load(Ordering::Relaxed) != NEVER
    }

    /// Whether this callsite stands for any place: that is among its fields.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Makes one of texts that live for ever. The subscribers' code runs: each is asked whether it
    /// wants its events.
    fn make(
        place: &Place<'static>,
        names: Vec<&'static str>,
        is_shared: bool,
    ) -> &'static RemoteCallsite {
        let callsite: &'static RemoteCallsite = Box::leak(Box::new(RemoteCallsite {
            metadata: OnceLock::new(),
            fields: OnceLock::new(),
            interest: AtomicU8::new(SOMETIMES),
            is_shared,
        }));
        let metadata = callsite.metadata.get_or_init(|| {
            Metadata::new(
                place.name,
                place.target,
                events::level_of(place.level),
                place.file,
                place.line,
                place.module,
                FieldSet::new(names.leak(), Identifier(callsite)),
                Kind::EVENT,
            )
        });
        callsite
            .fields
            .get_or_init(|| metadata.fields().iter().collect());
        callsite::register(callsite);
        callsite
    }
}

/// The callsites that there are. The reading thread alone has them.
#[derive(Default)]
pub(super) struct Places {
    own: HashMap<Box<[u8]>, &'static RemoteCallsite>,
    shared: HashMap<u8, &'static RemoteCallsite>,
}

impl Places {
    /// The callsite of a place, as its bytes have it. `None`: they make no sense.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<&'static RemoteCallsite> {
        if let Some(callsite) = self.own.get(bytes) {
            return Some(callsite);
        }
        let (place, names) = events::read_place(bytes)?;
        if self.own.len() >= MAX_PLACES {
            let shared = || shared(place.level);
            return Some(self.shared.entry(place.level).or_insert_with(shared));
        }
        let leak = |text: &str| -> &'static str { Box::leak(Box::from(text)) };
        let mut names: Vec<&'static str> = names.into_iter().map(leak).collect();
        names.push(SPANS);
        let place = Place {
            level: place.level,
            name: leak(place.name),
            target: leak(place.target),
            module: place.module.map(leak),
            file: place.file.map(leak),
            line: place.line,
        };
        let callsite = RemoteCallsite::make(&place, names, false);
        self.own.insert(bytes.into(), callsite);
        Some(callsite)
    }
}

/// The callsite of all other places, of this level.
fn shared(level: u8) -> &'static RemoteCallsite {
    let place = Place {
        level,
        name: "event of a worker",
        target: "brigade::worker",
        module: None,
        file: None,
        line: None,
    };
    RemoteCallsite::make(&place, SHARED_FIELDS.to_vec(), true)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_makes_up_takes_bounded_memory() {
        let mut places = Places::default();
        let bytes = |n: usize| {
            let place = Place {
                level: 1 + (n % 5) as u8,
                name: "event",
                target: &format!("made::up::{n}"),
                module: None,
                file: None,
                line: Some(n as u32),
            };
            events::place_bytes(&place, ["message", "n"].into_iter())
        };
        let first = places.find(&bytes(0)).expect("a place");
        assert_eq!(first.metadata_of().target(), "made::up::0");
        assert_eq!(first.fields().len(), 3);
        for n in 0..MAX_PLACES + 100 {
            let found = places.find(&bytes(n)).expect("a place");
            assert_eq!(found.is_shared(), n >= MAX_PLACES);
            assert_eq!(
                *found.metadata_of().level(),
                events::level_of(1 + (n % 5) as u8)
            );
        }
        assert_eq!((places.own.len(), places.shared.len()), (MAX_PLACES, 5));
        // The first is still the same.
        let again = places.find(&bytes(0)).expect("a place");
        assert!(std::ptr::eq(first, again));
        assert!(places.find(b"no place").is_none());
    }
}
