//! A reader that has no value: it gives samples, and notes what it was asked for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};

use crate::task::panic::attempt;

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Format {
    #[default]
    Unknown,
    /// Its reader takes whatever there is.
    Any,
    Plain(&'static str),
    Option(Box<Format>),
    Seq(Box<Format>),
    Map(Box<Format>, Box<Format>),
    Tuple(Vec<Format>),
    /// By its place in the trace.
    Container(usize),
}

/// What a struct or a variant consists of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fields {
    Unit,
    Newtype(Format),
    Tuple(Vec<Format>),
    Named(&'static [&'static str], Vec<Format>),
}

#[derive(Debug)]
pub(super) enum Content {
    Struct(Fields),
    /// Variants that were not read yet have none.
    Enum(Vec<(&'static str, Option<Fields>)>),
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) content: Content,
}

/// What was found out of a type.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) containers: Vec<Container>,
    /// Something was refused, or was too much.
    pub(super) is_partial: bool,
    states: Vec<State>,
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
struct State {
    /// So many readers of it are within each other now.
    open: usize,
    /// Read in this pass: it need not be read as a whole again.
    was_read: bool,
    /// Variants that were chosen.
    chosen: Vec<bool>,
    /// The first variant of which a value could be made. A value of it is finite: what it holds
    /// could be made before.
    base: Option<usize>,
}

/// So many values are read at most, in all passes.
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
pub(super) fn trace<T: DeserializeOwned>() -> Option<(Format, Trace)> {
    attempt(|| {
        let mut trace = Trace::default();
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
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample of a value was refused")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Refused {
        Refused
    }
}

type Result<T> = std::result::Result<T, Refused>;

/// Reads one value.
struct Tracer<'t> {
    trace: &'t RefCell<Trace>,
    /// What it is.
    format: &'t mut Format,
    depth: usize,
    /// It is within a value of its own type, or was read already: it is to end soon.
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
            return Err(Refused);
        }
        Ok(Tracer {
            trace: self.trace,
            format,
            depth: self.depth + 1,
            is_shallow: self.is_shallow,
        })
    }

    /// A container's place, and how its value is to be read: `true` as a whole.
    fn open<V>(&mut self, name: &'static str, content: impl FnOnce() -> Content) -> (usize, bool) {
        let mut trace = self.trace.borrow_mut();
        let key = (std::any::type_name::<V>(), name);
        let at = match trace.known.get(&key) {
            Some(&at) => at,
            None => {
                let at = trace.containers.len();
                trace.known.insert(key, at);
                let content = content();
                let variants = match &content {
                    Content::Enum(variants) => variants.len(),
                    Content::Struct(_) => 0,
                };
                trace.containers.push(Container { name, content });
                trace.states.push(State {
                    chosen: vec![false; variants],
                    ..State::default()
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
        begin: Fields,
        read: impl FnOnce(&Self, &mut Fields) -> Result<T>,
    ) -> Result<T> {
        let (at, is_whole) = self.open::<V>(name, || Content::Struct(begin.clone()));
        self.is_shallow |= !is_whole;
        let mut fields = begin;
        let read = read(&self, &mut fields);
        if is_whole {
            self.trace.borrow_mut().containers[at].content = Content::Struct(fields);
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

/// Plain values: what each is called, and its sample.
macro_rules! plain {
    ($($method:ident $visit:ident $name:literal $sample:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            *self.format = Format::Plain($name);
            visitor.$visit($sample)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = Refused;

    // As the encoding of values is.
    fn is_human_readable(&self) -> bool {
        true
    }

    // One, and not zero: some integers are never that.
    plain! {
        deserialize_bool visit_bool "bool" false;
        deserialize_i8 visit_i8 "i8" 1;
        deserialize_i16 visit_i16 "i16" 1;
        deserialize_i32 visit_i32 "i32" 1;
        deserialize_i64 visit_i64 "i64" 1;
        deserialize_i128 visit_i128 "i128" 1;
        deserialize_u8 visit_u8 "u8" 1;
        deserialize_u16 visit_u16 "u16" 1;
        deserialize_u32 visit_u32 "u32" 1;
        deserialize_u64 visit_u64 "u64" 1;
        deserialize_u128 visit_u128 "u128" 1;
        deserialize_f32 visit_f32 "f32" 1.0;
        deserialize_f64 visit_f64 "f64" 1.0;
        deserialize_char visit_char "char" 'a';
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        *self.format = Format::Plain("str");
        self.sample(std::any::type_name::<V>(), TEXTS.len(), |at| {
            visitor.visit_str(TEXTS[at])
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        *self.format = Format::Plain("bytes");
        self.sample(std::any::type_name::<V>(), BYTES.len(), |at| {
            visitor.visit_bytes(BYTES[at])
        })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        *self.format = Format::Plain("()");
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        *self.format = Format::Any;
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.is_shallow {
            *self.format = Format::Option(Box::default());
            return visitor.visit_none();
        }
        let mut of = Format::Unknown;
        let value = self.within(&mut of).and_then(|of| visitor.visit_some(of));
        *self.format = Format::Option(Box::new(of));
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let count = usize::from(!self.is_shallow);
        let value = visitor.visit_seq(Parts::new(&self, count, &mut all));
        let of = all.into_iter().next().unwrap_or_default();
        *self.format = Format::Seq(Box::new(of));
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let count = 2 * usize::from(!self.is_shallow);
        let value = visitor.visit_map(Parts::new(&self, count, &mut all));
        let mut all = all.into_iter().map(Box::new);
        let mut next = || all.next().unwrap_or_default();
        *self.format = Format::Map(next(), next());
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(Parts::new(&self, len, &mut all));
        *self.format = Format::Tuple(all);
        value
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.structure::<V, _>(name, Fields::Unit, |_, _| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        let unknown = Fields::Newtype(Format::Unknown);
        self.structure::<V, _>(name, unknown, |this, fields| {
            let mut of = Format::Unknown;
            let value = this
                .within(&mut of)
                .and_then(|of| visitor.visit_newtype_struct(of));
            *fields = Fields::Newtype(of);
            value
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.structure::<V, _>(name, Fields::Tuple(Vec::new()), |this, fields| {
            let mut all = Vec::new();
            let value = visitor.visit_seq(Parts::new(this, len, &mut all));
            *fields = Fields::Tuple(all);
            value
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let begin = Fields::Named(names, Vec::new());
        self.structure::<V, _>(name, begin, |this, fields| {
            let mut all = Vec::new();
            let value = visitor.visit_seq(Parts::new(this, names.len(), &mut all));
            *fields = Fields::Named(names, all);
            value
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (at, _) = self.open::<V>(name, || {
            Content::Enum(variants.iter().map(|&name| (name, None)).collect())
        });
        let chosen = {
            let mut trace = self.trace.borrow_mut();
            let state = &mut trace.states[at];
            let new = state.chosen.iter().position(|chosen| !chosen);
            let variant = new.or(state.base);
            if let Some(new) = new {
                state.chosen[new] = true;
                trace.has_news = true;
            }
            variant.map(|variant| (variant, new.is_some()))
        };
        let Some((index, is_new)) = chosen else {
            self.close(at);
            return Err(Refused);
        };
        // A variant that was not read before is, though the enum may be within itself.
        self.is_shallow = !is_new;
        let mut fields = Fields::Unit;
        let value = visitor.visit_enum(Variant {
            name: variants[index],
            tracer: self.within(&mut Format::Unknown)?,
            fields: &mut fields,
        });
        let mut trace = self.trace.borrow_mut();
        if is_new {
            if let Content::Enum(all) = &mut trace.containers[at].content {
                all[index].1 = Some(fields);
            }
        }
        if value.is_ok() {
            trace.states[at].base.get_or_insert(index);
        }
        drop(trace);
        self.close(at);
        value
    }
}

/// The parts of a value, one after another.
struct Parts<'t, 'p> {
    parent: &'p Tracer<'t>,
    left: usize,
    all: &'p mut Vec<Format>,
}

impl<'t, 'p> Parts<'t, 'p> {
    fn new(parent: &'p Tracer<'t>, count: usize, all: &'p mut Vec<Format>) -> Parts<'t, 'p> {
        Parts {
            parent,
            left: count.min(LONGEST_TUPLE),
            all,
        }
    }

    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.left = self.left.saturating_sub(1);
        let mut format = Format::Unknown;
        let value = self
            .parent
            .within(&mut format)
            .and_then(|part| seed.deserialize(part));
        self.all.push(format);
        if value.is_err() {
            // What would come next is not known.
            self.all.push(Format::Unknown);
        }
        value
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.next(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, '_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.next(seed).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left / 2)
    }
}

/// A variant that was chosen.
struct Variant<'t> {
    name: &'static str,
    tracer: Tracer<'t>,
    fields: &'t mut Fields,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'t> {
    type Error = Refused;
    type Variant = Variant<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'t>)> {
        let name = de::value::StrDeserializer::<Refused>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<()> {
        *self.fields = Fields::Unit;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        let mut of = Format::Unknown;
        let value = self
            .tracer
            .within(&mut of)
            .and_then(|of| seed.deserialize(of));
        *self.fields = Fields::Newtype(of);
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(Parts::new(&self.tracer, len, &mut all));
        *self.fields = Fields::Tuple(all);
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(Parts::new(&self.tracer, names.len(), &mut all));
        *self.fields = Fields::Named(names, all);
        value
    }
}
