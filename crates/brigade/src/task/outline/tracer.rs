//! A reader that has no value: it gives samples, and notes what it was asked for.

mod access;
mod asked;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};

use super::format::{Container, Format, TypeContent, TypeFields};
use crate::task::contain::attempt;

/// What was found out of a type.
#[derive(Debug, Default)]
pub(super) struct TypeTrace {
    pub(super) containers: Vec<Container>,
    /// Something was refused, or was too much.
    pub(super) is_partial: bool,
    states: Vec<ContainerState>,
    /// By the name of its reader, which tells types of one name apart.
    known: HashMap<(&'static str, &'static str), usize>,
    /// Which sample a reader of text or bytes is given next.
    samples: HashMap<&'static str, usize>,
    /// A variant was chosen, or a sample, that was not before.
    has_news: bool,
    steps: usize,
}

/// A container, while its values are read.
#[derive(Debug, Default)]
struct ContainerState {
    /// How many readers of it are within each other now.
    open: usize,
    /// Read in this pass: it need not be read as a whole again.
    was_read: bool,
    /// Variants that were chosen.
    chosen: Vec<bool>,
    /// The first variant of which a value could be made. A value of it is finite: what it holds
    /// could be made before.
    base: Option<usize>,
}

/// How many values are read at most, in all passes.
const MOST_STEPS: usize = 200_000;
/// So deep values are at most.
const MOST_DEPTH: usize = 100;
/// Other lists are given no more than this, whatever length they ask for.
const LONGEST_TUPLE: usize = 4096;

const TEXTS: [&str; 9] = [
    "",
    "a",
    "1",
    "127.0.0.1",
    "127.0.0.1:1",
    "00000000-0000-0000-0000-000000000000",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "1.0.0",
];
const BYTES: [&[u8]; 6] = [&[], &[0; 16], &[0; 4], &[0; 8], &[0; 32], &[0; 12]];

/// `None`: its reader has panicked.
pub(super) fn trace<T: DeserializeOwned>() -> Option<(Format, TypeTrace)> {
    attempt(|| {
        let mut trace = TypeTrace::default();
        let mut format = Format::Unknown;
        loop {
            trace.has_news = false;
            trace.states.iter_mut().for_each(|state| {
                state.open = 0;
                state.was_read = false;
            });
            let shared = RefCell::new(trace);
            let mut found = Format::Unknown;
            let read = T::deserialize(Tracer {
                trace: &shared,
                format: &mut found,
                depth: 0,
                is_shallow: false,
            });
            trace = shared.into_inner();
            if found != Format::Unknown {
                format = found;
            }
            if !trace.has_news || trace.steps > MOST_STEPS {
                trace.is_partial = read.is_err();
                return (format, trace);
            }
        }
    })
}

/// The value was refused, or is too much.
#[derive(Debug)]
pub(super) struct Untraceable;

impl fmt::Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample of a value was refused")
    }
}

impl std::error::Error for Untraceable {}

impl de::Error for Untraceable {
    fn custom<T: fmt::Display>(_: T) -> Untraceable {
        Untraceable
    }
}

type Result<T> = std::result::Result<T, Untraceable>;

/// Reads one value.
struct Tracer<'t> {
    trace: &'t RefCell<TypeTrace>,
    /// What it is.
    format: &'t mut Format,
    depth: usize,
    /// The reader is within a value of its own type, or the type was read already: it is to end
    /// soon.
    is_shallow: bool,
}

impl<'t> Tracer<'t> {
    fn within<'f>(&self, format: &'f mut Format) -> Result<Tracer<'f>>
    where
        't: 'f,
    {
        let mut trace = self.trace.borrow_mut();
        trace.steps += 1;
        if self.depth > MOST_DEPTH || trace.steps > MOST_STEPS {
            return Err(Untraceable);
        }
        Ok(Tracer {
            trace: self.trace,
            format,
            depth: self.depth + 1,
            is_shallow: self.is_shallow,
        })
    }

    /// A container's place, and how its value is to be read: `true` as a whole.
    fn open<V>(
        &mut self,
        name: &'static str,
        content: impl FnOnce() -> TypeContent,
    ) -> (usize, bool) {
        let mut trace = self.trace.borrow_mut();
        let key = (std::any::type_name::<V>(), name);
        let at = match trace.known.get(&key) {
            Some(&at) => at,
            None => {
                let at = trace.containers.len();
                trace.known.insert(key, at);
                let content = content();
                let variants = match &content {
                    TypeContent::Enum(variants) => variants.len(),
                    TypeContent::Struct(_) => 0,
                };
                trace.containers.push(Container { name, content });
                trace.states.push(ContainerState {
                    chosen: vec![false; variants],
                    ..ContainerState::default()
                });
                at
            }
        };
        *self.format = Format::Container(at);
        let state = &mut trace.states[at];
        let is_whole = state.open == 0 && !state.was_read && !self.is_shallow;
        state.open += 1;
        (at, is_whole)
    }

    fn close(&self, at: usize) {
        let state = &mut self.trace.borrow_mut().states[at];
        state.open -= 1;
        state.was_read |= state.open == 0;
    }

    /// Reads a struct, by a reader of its fields.
    fn structure<V, T>(
        mut self,
        name: &'static str,
        begin: TypeFields,
        read: impl FnOnce(&Self, &mut TypeFields) -> Result<T>,
    ) -> Result<T> {
        let (at, is_whole) = self.open::<V>(name, || TypeContent::Struct(begin.clone()));
        self.is_shallow |= !is_whole;
        let mut fields = begin;
        let read = read(&self, &mut fields);
        if is_whole {
            self.trace.borrow_mut().containers[at].content = TypeContent::Struct(fields);
        }
        self.close(at);
        read
    }

    /// Gives one sample after another, in as many passes, until one is taken.
    fn sample<T>(
        &self,
        name: &'static str,
        count: usize,
        give: impl FnOnce(usize) -> Result<T>,
    ) -> Result<T> {
        let at = self.trace.borrow().samples.get(name).copied().unwrap_or(0);
        let given = give(at);
        if given.is_err() && at + 1 < count {
            let mut trace = self.trace.borrow_mut();
            trace.samples.insert(name, at + 1);
            trace.has_news = true;
        }
        given
    }
}
