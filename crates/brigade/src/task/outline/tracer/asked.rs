//! What a reader asks for, one method each.

use serde::de::{self, Visitor};

use super::access::{ChosenVariant, ValueParts};
use super::{BYTES, Result, TEXTS, Tracer, Untraceable};
use crate::task::outline::format::{Format, TypeContent, TypeFields};

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
    type Error = Untraceable;

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
        let value = visitor.visit_seq(ValueParts::new(&self, count, &mut all));
        let of = all.into_iter().next().unwrap_or_default();
        *self.format = Format::Seq(Box::new(of));
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let count = 2 * usize::from(!self.is_shallow);
        let value = visitor.visit_map(ValueParts::new(&self, count, &mut all));
        let mut all = all.into_iter().map(Box::new);
        let mut next = || all.next().unwrap_or_default();
        *self.format = Format::Map(next(), next());
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(ValueParts::new(&self, len, &mut all));
        *self.format = Format::Tuple(all);
        value
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.structure::<V, _>(name, TypeFields::Unit, |_, _| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        let unknown = TypeFields::Newtype(Format::Unknown);
        self.structure::<V, _>(name, unknown, |this, fields| {
            let mut of = Format::Unknown;
            let value = this
                .within(&mut of)
                .and_then(|of| visitor.visit_newtype_struct(of));
            *fields = TypeFields::Newtype(of);
            value
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.structure::<V, _>(name, TypeFields::Tuple(Vec::new()), |this, fields| {
            let mut all = Vec::new();
            let value = visitor.visit_seq(ValueParts::new(this, len, &mut all));
            *fields = TypeFields::Tuple(all);
            value
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let begin = TypeFields::Named(names, Vec::new());
        self.structure::<V, _>(name, begin, |this, fields| {
            let mut all = Vec::new();
            let value = visitor.visit_seq(ValueParts::new(this, names.len(), &mut all));
            *fields = TypeFields::Named(names, all);
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
            TypeContent::Enum(variants.iter().map(|&name| (name, None)).collect())
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
            return Err(Untraceable);
        };
        // A variant that was not read before is, though the enum may be within itself.
        self.is_shallow = !is_new;
        let mut fields = TypeFields::Unit;
        let value = visitor.visit_enum(ChosenVariant {
            name: variants[index],
            tracer: self.within(&mut Format::Unknown)?,
            fields: &mut fields,
        });
        let mut trace = self.trace.borrow_mut();
        if is_new {
            if let TypeContent::Enum(all) = &mut trace.containers[at].content {
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
