//! Keys: of maps, and the names of fields and variants.
//!
//! To JSON every key is a text: who asks for a text gets that of a number, and who asks for a
//! number has a text read as one. Here a key is what it was written as; whoever asks for the other
//! gets it all the same. So does who asks for a name. Only serde's buffers get a key as it was
//! written, until it turns out that this cannot be read ([`json`]).

use std::str::FromStr;

use serde::de::{self, Visitor};

use super::Decoder;
use crate::task::codec::depth::Depth;
use crate::task::codec::error::{Error, Result};
use crate::task::codec::format::EXTENSION;
use crate::task::codec::{json, tag};

/// The number, or the truth, that a text is; in the words of the visitor, if it is none.
#[cold]
fn parsed<'de, T: FromStr, V: Visitor<'de>>(
    text: &'de str,
    visitor: V,
    visit: impl FnOnce(V, T) -> Result<V::Value>,
) -> Result<V::Value> {
    match text.parse() {
        Ok(it) => visit(visitor, it),
        Err(_) => visitor.visit_borrowed_str(text),
    }
}

/// Calls a macro with what serde asks for a number, or a truth, and what that is.
macro_rules! for_each_scalar {
    ($with:ident) => {
        $with! {
            deserialize_bool visit_bool bool;
            deserialize_u8 visit_u8 u8;
            deserialize_u16 visit_u16 u16;
            deserialize_u32 visit_u32 u32;
            deserialize_u64 visit_u64 u64;
            deserialize_u128 visit_u128 u128;
            deserialize_i8 visit_i8 i8;
            deserialize_i16 visit_i16 i16;
            deserialize_i32 visit_i32 i32;
            deserialize_i64 visit_i64 i64;
            deserialize_i128 visit_i128 i128;
            deserialize_f32 visit_f32 f32;
            deserialize_f64 visit_f64 f64;
        }
    };
}

macro_rules! from_text {
    ($($deserialize:ident $visit:ident $type:ty;)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            parsed(self.0, visitor, V::$visit::<Error>)
        })*
    };
}

/// A name as a key or as a variant.
pub(super) struct Name<'de>(pub(super) &'de str, pub(super) Depth);

impl<'de> de::Deserializer<'de> for Name<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.1.enter()?;
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        de::value::BorrowedStrDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    for_each_scalar!(from_text);

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A key of a map, which comes next.
pub(super) struct MapKey<'d, 'de, 'n>(pub(super) &'d mut Decoder<'de, 'n>);

/// Whether a text comes next.
#[inline(always)]
fn is_text(decoder: &Decoder<'_, '_>) -> bool {
    matches!(
        decoder.input.first(),
        Some(&(tag::STR | tag::SHORT_STR..tag::STRUCT))
    )
}

impl<'de> MapKey<'_, 'de, '_> {
    /// The text of a key that is none, where one of serde's buffers is to get that.
    #[cold]
    fn text_for_buffer(&mut self) -> Result<Option<String>> {
        if !json::keys_are_texts() {
            json::doubt(json::KEYS);
            return Ok(None);
        }
        self.text_of_another()
    }

    /// The text that JSON would have for what comes next. `None`: it is no number and no truth, and
    /// stays where it is.
    #[cold]
    fn text_of_another(&mut self) -> Result<Option<String>> {
        let decoder = &mut *self.0;
        decoder.strip_some()?;
        if let Some(n) = decoder.next_int()? {
            return Ok(Some(n.to_string()));
        }
        let before = decoder.input;
        Ok(Some(match decoder.take_tag()? {
            tag::FALSE => false.to_string(),
            tag::TRUE => true.to_string(),
            tag::U128 => u128::from_le_bytes(decoder.take_array()?).to_string(),
            tag::I128 => i128::from_le_bytes(decoder.take_array()?).to_string(),
            tag::F32 => format!("{:?}", f32::from_le_bytes(decoder.take_array()?)),
            tag::F64 => format!("{:?}", f64::from_le_bytes(decoder.take_array()?)),
            _ => {
                decoder.input = before;
                return Ok(None);
            }
        }))
    }
}

/// Whether this visitor, which asks for a field's name, keeps what it does not know, for a
/// `flatten`: it is the derive's, and gives more than a number of a field.
#[inline]
fn keeps_unknown<'de, V: Visitor<'de>>() -> bool {
    size_of::<V::Value>() > size_of::<u32>()
        && std::any::type_name::<V>().contains("::__FieldVisitor")
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident $type:ty;)*) => {
        $(#[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            if is_text(self.0) {
                if let Some(text) = self.0.next_str()? {
                    return parsed(text, visitor, V::$visit::<Error>);
                }
            }
            self.0.$deserialize(visitor)
        })*
    };
}

macro_rules! as_anywhere {
    ($($deserialize:ident($($arg:ident: $type:ty),*);)*) => {
        $(#[inline]
        fn $deserialize<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value> {
            self.0.$deserialize($($arg,)* visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for MapKey<'_, 'de, '_> {
    type Error = Error;

    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }

    for_each_scalar!(numbers);

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        if !is_text(self.0) {
            if let Some(text) = self.text_of_another()? {
                return visitor.visit_string(text);
            }
        }
        self.0.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        if !is_text(self.0) && json::is_buffer::<V>() {
            if let Some(text) = self.text_for_buffer()? {
                return visitor.visit_string(text);
            }
        }
        self.0.deserialize_any(visitor)
    }

    /// A name, which is a text: the derive would take a number for that of a field.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        if !is_text(self.0) {
            let text = match keeps_unknown::<V>() {
                true => self.text_for_buffer()?,
                false => self.text_of_another()?,
            };
            if let Some(text) = text {
                return visitor.visit_string(text);
            }
        }
        self.0.deserialize_identifier(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0.peek()? {
            tag::NONE | tag::SOME | tag::UNIT => self.0.deserialize_option(visitor),
            _ => {
                self.0.depth.enter()?;
                let value = visitor.visit_some(MapKey(&mut *self.0));
                self.0.depth.leave();
                value
            }
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        match name {
            EXTENSION => self.0.deserialize_newtype_struct(name, visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    as_anywhere! {
        deserialize_char();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_ignored_any();
    }
}
