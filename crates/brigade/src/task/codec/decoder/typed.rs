//! What serde's types ask for, one method each: from a value's tag to the visitor's method.

use serde::de::{self, Visitor};

use super::Decoder;
use super::access::visit_fields;
use super::entries::Entries;
use super::names::is_derived;
use crate::task::codec::error::{Error, Result};
use crate::task::codec::format::{CBOR_TAG, EXTENSION};
use crate::task::codec::json::{Lacks, bare_in_buffer, is_buffer, lacks};
use crate::task::codec::plain::NumberKind;
use crate::task::codec::tag;

macro_rules! integers {
    ($($deserialize:ident $visit:ident $number:ty, $next:ident, $visit_wide:ident $wide:ty;)*) => {
        $(#[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            if let [small @ 0..tag::SMALL_END, rest @ ..] = self.input {
                self.input = rest;
                return visitor.$visit(*small as $number);
            }
            match self.$next()? {
                Some(n) => match <$number>::try_from(n) {
                    Ok(n) => visitor.$visit(n),
                    Err(_) => match <$wide>::try_from(n) {
                        Ok(n) => visitor.$visit_wide(n),
                        Err(_) => out_of_range(n.into(), visitor),
                    },
                },
                None => self.decode_as_any(visitor),
            }
        }
        )*
    };
}

/// An integer that the type that was asked for cannot hold: the visitor says so in its own words.
#[cold]
fn out_of_range<'de, V: Visitor<'de>>(n: i128, visitor: V) -> Result<V::Value> {
    match (u64::try_from(n), i64::try_from(n)) {
        (Ok(n), _) => visitor.visit_u64(n),
        (_, Ok(n)) => visitor.visit_i64(n),
        _ => visitor.visit_i128(n),
    }
}

/// Whether this is the tag of what holds other values.
#[inline(always)]
fn is_nest(tag: u8) -> bool {
    matches!(
        tag,
        tag::SEQ
            | tag::MAP
            | tag::STRUCT..tag::RUN
            | tag::STRUCT_REF
            | tag::SPARSE_REF
            | tag::VARIANT_REF
            | tag::VARIANT..tag::NONE
    )
}

impl<'de> Decoder<'de, '_> {
    /// What comes next, whose tag was taken, to whoever asks what it is.
    fn any_of<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value> {
        match tag {
            0..tag::SMALL_END => visitor.visit_u64(u64::from(tag)),
            tag::SHORT_STR..tag::STRUCT | tag::STR => visitor.visit_borrowed_str(self.str_of(tag)?),
            tag::RUN..tag::RUN_END => {
                let run = self.run_tagged(tag)?;
                self.numbers(run, visitor)
            }
            tag::NONE if lacks::<V>(Lacks::None) => visitor.visit_unit(),
            tag::NONE => visitor
                .visit_none()
                .map_err(|e: Error| e.or_lacks::<V>(Lacks::None)),
            tag::SOME => {
                let is_ambiguous = matches!(self.peek()?, tag::NONE | tag::SOME | tag::UNIT);
                let is_bare = !is_ambiguous && (bare_in_buffer::<V>() || lacks::<V>(Lacks::Some));
                self.nested(|decoder| match is_bare {
                    true => de::Deserializer::deserialize_any(decoder, visitor),
                    false => visitor
                        .visit_some(decoder)
                        .map_err(|e: Error| e.or_lacks::<V>(Lacks::Some)),
                })
            }
            tag::UNIT => visitor.visit_unit(),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::UINT..=tag::UINT_LAST => visitor.visit_u64(self.wide_int(tag::UINT, tag)?),
            tag::NINT..=tag::NINT_LAST => {
                let n = self.wide_int(tag::NINT, tag)?;
                out_of_range(-1 - i128::from(n), visitor)
            }
            tag::U128 => visitor.visit_u128(u128::from_le_bytes(self.take_array()?)),
            tag::I128 => visitor.visit_i128(i128::from_le_bytes(self.take_array()?)),
            tag::F32 => visitor.visit_f32(f32::from_le_bytes(self.take_array()?)),
            tag::F64 => visitor.visit_f64(f64::from_le_bytes(self.take_array()?)),
            tag::CHAR => visitor.visit_char(self.char()?),
            tag::BYTES if lacks::<V>(Lacks::Bytes) => {
                let run = self.run(NumberKind::U8)?;
                self.numbers(run, visitor)
            }
            tag::BYTES => {
                let len = self.count()?;
                visitor
                    .visit_borrowed_bytes(self.take(len)?)
                    .map_err(|e: Error| e.or_lacks::<V>(Lacks::Bytes))
            }
            tag::SEQ => {
                let count = self.values()?;
                self.seq_of(count, visitor)
            }
            tag::MAP => self.map_of(visitor),
            tag => {
                if let Some((shape, _)) = self.struct_of(tag)? {
                    return self.fields_of(shape, "", visitor);
                }
                match self.variant_of(tag)? {
                    Some((EXTENSION, true)) => {
                        self.nested(|decoder| visitor.visit_newtype_struct(decoder))
                    }
                    Some((name @ CBOR_TAG, true)) => self.variant(Some(name), true, visitor),
                    // As JSON has it: the name, or a map of one entry.
                    Some((name, false)) => visitor.visit_borrowed_str(name),
                    Some((name, true)) => {
                        self.entries(visitor, |decoder| Entries::of_variant(decoder, name))
                    }
                    None => Err(Error::malformed("an unknown tag")),
                }
            }
        }
    }
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de, '_> {
    type Error = Error;

    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let tag = self.take_tag()?;
        if is_nest(tag) && is_buffer::<V>() {
            self.buffered += 1;
            self.depth.check_buffered(self.buffered)?;
            let value = self.any_of(tag, visitor);
            self.buffered -= 1;
            return value;
        }
        self.any_of(tag, visitor)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag @ (tag::FALSE | tag::TRUE) => {
                self.skip_byte();
                visitor.visit_bool(tag == tag::TRUE)
            }
            _ => self.decode_as_any(visitor),
        }
    }

    integers! {
        deserialize_u8 visit_u8 u8, next_uint, visit_u64 u64;
        deserialize_u16 visit_u16 u16, next_uint, visit_u64 u64;
        deserialize_u32 visit_u32 u32, next_uint, visit_u64 u64;
        deserialize_u64 visit_u64 u64, next_uint, visit_u64 u64;
        deserialize_u128 visit_u128 u128, next_uint, visit_u64 u64;
        deserialize_i8 visit_i8 i8, next_int, visit_i64 i64;
        deserialize_i16 visit_i16 i16, next_int, visit_i64 i64;
        deserialize_i32 visit_i32 i32, next_int, visit_i64 i64;
        deserialize_i64 visit_i64 i64, next_int, visit_i64 i64;
        deserialize_i128 visit_i128 i128, next_int, visit_i64 i64;
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::F32 => {
                self.skip_byte();
                visitor.visit_f32(f32::from_le_bytes(self.take_array()?))
            }
            _ => self.decode_as_any(visitor),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::F64 => {
                self.skip_byte();
                visitor.visit_f64(f64::from_le_bytes(self.take_array()?))
            }
            _ => self.decode_as_any(visitor),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.decode_as_any(visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next_str()? {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.decode_as_any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next_str()? {
            Some(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            None => self.decode_as_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::NONE => {
                self.skip_byte();
                visitor.visit_none()
            }
            tag::SOME => {
                self.skip_byte();
                self.nested(|decoder| visitor.visit_some(decoder))
            }
            // What writes a unit or a bare value, and reads an option: as with JSON.
            tag::UNIT => {
                self.skip_byte();
                visitor.visit_unit()
            }
            // It counts as a level: a type that is an option of itself would find the same value
            // again and again.
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.decode_as_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.decode_as_any(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        if name == EXTENSION {
            self.skip_extension()?;
        }
        // What asks for a newtype by this name, and has written a struct:
        // `serde_json::value::RawValue`.
        if name == "$serde_json::private::RawValue" {
            return self.decode_as_any(visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::SEQ => {
                self.skip_byte();
                let count = self.values()?;
                self.seq_of(count, visitor)
            }
            tag @ tag::RUN..tag::RUN_END => {
                self.skip_byte();
                let run = self.run_tagged(tag)?;
                self.numbers(run, visitor)
            }
            // To JSON, bytes are numbers.
            tag::BYTES => {
                self.skip_byte();
                let run = self.run(NumberKind::U8)?;
                self.numbers(run, visitor)
            }
            _ => self.decode_as_any(visitor),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            tag::MAP => {
                self.skip_byte();
                self.map_of(visitor)
            }
            _ => self.decode_as_any(visitor),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (tag, before) = self.take_tag_past_some()?;
        match self.struct_of(tag)? {
            // In the order in which the derive reads them, and it reads them in order.
            Some((shape, true)) if is_derived::<V>() && self.names.has_fields(shape, fields) => {
                self.nested(|decoder| visit_fields(decoder, name, fields, visitor))
            }
            Some((shape, _)) => self.fields_of(shape, name, visitor),
            None => {
                self.input = before;
                de::Deserializer::deserialize_any(self, visitor)
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (tag, before) = self.take_tag_past_some()?;
        if let Some((name, has_value)) = self.variant_of(tag)? {
            return self.variant(Some(name), has_value, visitor);
        }
        if let Some((shape, _)) = self.struct_of(tag)? {
            if shape.count()? == 1 {
                let name = shape.names()?.next()?;
                return self.variant(Some(name), true, visitor);
            }
        }
        self.input = before;
        // As JSON has it: the name of a variant without a value, or a map of one entry.
        if let Some(name) = self.next_str()? {
            return self.variant(Some(name), false, visitor);
        }
        if self.peek()? == tag::MAP {
            self.skip_byte();
            let entries = self.values()?;
            if entries == 1 {
                return self.variant(None, true, visitor);
            }
            self.abandon(2 * entries);
            return Err(de::Error::invalid_value(
                de::Unexpected::Map,
                &"a map with a single entry, the variant",
            ));
        }
        de::Deserializer::deserialize_any(self, visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }
}
