//! What visitors are given to walk through sequences, runs, maps, structs and variants.

use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::key::{MapKey, Name};
use super::names::FieldNames;
use super::{Decoder, shown_key};
use crate::task::codec::depth::Depth;
use crate::task::codec::error::{Error, Result};
use crate::task::codec::plain::{self, Layout, Plain, Run};
use crate::task::codec::tag;

/// The elements of a sequence, one after another. Two words, so that it is handed on in registers.
struct Elements<'d, 'de, 'n> {
    decoder: &'d mut Decoder<'de, 'n>,
    left: &'d mut usize,
}

/// Has `visitor` read so many elements.
// Inlined, like all that hands values on here: what is copied once more on its way costs more than
// reading it.
#[inline(always)]
pub(super) fn visit_elements<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de, '_>,
    count: usize,
    visitor: V,
) -> Result<V::Value> {
    let mut left = count;
    let elements = Elements {
        decoder: &mut *decoder,
        left: &mut left,
    };
    match visitor.visit_seq(elements) {
        Ok(value) if left == 0 => Ok(value),
        Ok(_) => Err(too_many(left)),
        Err(e) => Err(match decoder.failed_before.take() {
            Some(left) => e.at_index(index_of(count, left)),
            None => e,
        }),
    }
}

/// Which of so many values failed, after which so many were left. That may be an old story: of a
/// failure that was passed over.
#[cold]
fn index_of(count: usize, left: usize) -> usize {
    count.saturating_sub(left + 1)
}

/// The fields of a struct, in the order in which the reader knows them.
struct FieldValues<'d, 'de, 'n> {
    decoder: &'d mut Decoder<'de, 'n>,
    left: &'d mut usize,
}

/// Has the visitor of a struct called `name`, which is the derive's, read its fields. The derive
/// reads all, or fails; but its list has aliases as well, of which it reads none by order.
#[inline(always)]
pub(super) fn visit_fields<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de, '_>,
    name: &'static str,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value> {
    let mut left = fields.len();
    let values = FieldValues {
        decoder: &mut *decoder,
        left: &mut left,
    };
    match visitor.visit_seq(values) {
        Ok(value) if left == 0 => Ok(value),
        Ok(_) => Err(too_many(left)),
        Err(e) => Err(match decoder.failed_before.take() {
            Some(left) => {
                let index = index_of(fields.len(), left);
                e.in_field(name, fields.get(index).unwrap_or(&"?"))
            }
            None => e,
        }),
    }
}

/// A reader that stops early has read another value than was written.
#[inline(always)]
fn none_left(left: usize) -> Result<()> {
    if left > 0 {
        return Err(too_many(left));
    }
    Ok(())
}

#[cold]
fn not_read() -> Error {
    Error::new("an element was not read")
}

#[cold]
fn too_many(left: usize) -> Error {
    Error::new(format_args!("{left} more elements than expected"))
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de, '_> {
    type Error = Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if *self.left == 0 {
            return Ok(None);
        }
        *self.left -= 1;
        match self.decoder.value(seed) {
            Ok(value) => Ok(Some(value)),
            Err(e) => {
                self.decoder.failed_before = Some(*self.left);
                Err(e)
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

impl<'de> SeqAccess<'de> for FieldValues<'_, 'de, '_> {
    type Error = Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if *self.left == 0 {
            return Ok(None);
        }
        *self.left -= 1;
        match self.decoder.value(seed) {
            Ok(value) => Ok(Some(value)),
            Err(e) => {
                self.decoder.failed_before = Some(*self.left);
                Err(e)
            }
        }
    }
}

/// The numbers of a run, one after another.
pub(super) struct Numbers<'de> {
    kind: Plain,
    count: usize,
    left: &'de [u8],
    depth: Depth,
}

impl<'de> Numbers<'de> {
    #[inline]
    pub(super) fn new(run: Run<'de>, depth: Depth) -> Numbers<'de> {
        Numbers {
            kind: run.kind,
            count: run.count,
            left: run.bytes,
            depth,
        }
    }

    #[inline]
    pub(super) fn end(&self) -> Result<()> {
        none_left(self.left.len() / self.kind.size())
    }

    /// Only called while there are numbers: a run's bytes are a whole number of them.
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (number, left) = self.left.split_first_chunk().ok_or_else(Error::cut)?;
        self.left = left;
        Ok(*number)
    }

    #[cold]
    fn place(&self, error: Error) -> Error {
        let taken = self.count - self.left.len() / self.kind.size();
        error.at_index(taken.saturating_sub(1))
    }
}

impl<'de> SeqAccess<'de> for &mut Numbers<'de> {
    type Error = Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let before = self.left.len();
        match seed.deserialize(Number(self)) {
            // Else there would be numbers for ever.
            Ok(_) if self.left.len() == before => Err(not_read()),
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(self.place(e)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len() / self.kind.size())
    }
}

/// One number of a run.
struct Number<'r, 'de>(&'r mut Numbers<'de>);

macro_rules! number {
    ($deserialize:ident, $visit:ident, $number:ty, $kind:ident) => {
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.0.kind {
                Plain::$kind => visitor.$visit(<$number>::from_ne_bytes(self.0.take()?)),
                _ => self.deserialize_any(visitor),
            }
        }
    };
}

impl<'de> de::Deserializer<'de> for Number<'_, 'de> {
    type Error = Error;

    #[inline(never)]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let numbers = self.0;
        // As elsewhere: an integer has no type of its own, but its value.
        macro_rules! signed {
            ($number:ty) => {{
                let n = <$number>::from_ne_bytes(numbers.take()?);
                match u64::try_from(n) {
                    Ok(n) => visitor.visit_u64(n),
                    Err(_) => visitor.visit_i64(n.into()),
                }
            }};
        }
        macro_rules! unsigned {
            ($number:ty) => {
                visitor.visit_u64(<$number>::from_ne_bytes(numbers.take()?).into())
            };
        }
        match numbers.kind {
            Plain::U8 => unsigned!(u8),
            Plain::U16 => unsigned!(u16),
            Plain::U32 => unsigned!(u32),
            Plain::U64 => unsigned!(u64),
            Plain::I8 => signed!(i8),
            Plain::I16 => signed!(i16),
            Plain::I32 => signed!(i32),
            Plain::I64 => signed!(i64),
            Plain::F32 => visitor.visit_f32(f32::from_ne_bytes(numbers.take()?)),
            Plain::F64 => visitor.visit_f64(f64::from_ne_bytes(numbers.take()?)),
            Plain::U128 => {
                let n = u128::from_ne_bytes(numbers.take()?);
                match u64::try_from(n) {
                    Ok(n) => visitor.visit_u64(n),
                    Err(_) => visitor.visit_u128(n),
                }
            }
            Plain::I128 => {
                let n = i128::from_ne_bytes(numbers.take()?);
                match (u64::try_from(n), i64::try_from(n)) {
                    (Ok(n), _) => visitor.visit_u64(n),
                    (_, Ok(n)) => visitor.visit_i64(n),
                    _ => visitor.visit_i128(n),
                }
            }
        }
    }

    number!(deserialize_u8, visit_u8, u8, U8);
    number!(deserialize_i8, visit_i8, i8, I8);
    number!(deserialize_u16, visit_u16, u16, U16);
    number!(deserialize_i16, visit_i16, i16, I16);
    number!(deserialize_u32, visit_u32, u32, U32);
    number!(deserialize_i32, visit_i32, i32, I32);
    number!(deserialize_u64, visit_u64, u64, U64);
    number!(deserialize_i64, visit_i64, i64, I64);
    number!(deserialize_u128, visit_u128, u128, U128);
    number!(deserialize_i128, visit_i128, i128, I128);
    number!(deserialize_f32, visit_f32, f32, F32);
    number!(deserialize_f64, visit_f64, f64, F64);

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.depth.enter()?;
        let value = visitor.visit_some(Number(&mut *self.0))?;
        self.0.depth.leave();
        Ok(value)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Keys and values: of a map, of a struct's fields, or of a variant, whose name is the only key.
pub(super) struct Entries<'d, 'de, 'n> {
    decoder: &'d mut Decoder<'de, 'n>,
    left: usize,
    keys: Keys<'de>,
    /// The struct's name, for errors.
    of: &'static str,
    key: Key<'de>,
    /// A key was read, and its value was not.
    is_value_due: bool,
}

enum Keys<'de> {
    /// Each stands before its value.
    Inline,
    Fields(FieldNames<'de>),
    Variant(&'de str),
}

/// The key of the entry that is being read, for errors.
enum Key<'de> {
    None,
    Encoded(&'de [u8]),
    Name(&'de str),
}

impl<'d, 'de, 'n> Entries<'d, 'de, 'n> {
    pub(super) fn of_map(decoder: &'d mut Decoder<'de, 'n>, count: usize) -> Self {
        Self::new(decoder, count, Keys::Inline, "")
    }

    #[inline]
    pub(super) fn of_struct(
        decoder: &'d mut Decoder<'de, 'n>,
        count: usize,
        names: FieldNames<'de>,
        of: &'static str,
    ) -> Self {
        Self::new(decoder, count, Keys::Fields(names), of)
    }

    pub(super) fn of_variant(decoder: &'d mut Decoder<'de, 'n>, name: &'de str) -> Self {
        Self::new(decoder, 1, Keys::Variant(name), "")
    }

    #[inline]
    fn new(
        decoder: &'d mut Decoder<'de, 'n>,
        left: usize,
        keys: Keys<'de>,
        of: &'static str,
    ) -> Self {
        Entries {
            decoder,
            left,
            keys,
            of,
            key: Key::None,
            is_value_due: false,
        }
    }

    #[cold]
    fn place(&self, error: Error) -> Error {
        match (&self.key, &self.keys) {
            (Key::None, _) => error,
            (Key::Encoded(key), _) => error.at_key(shown_key(key)),
            (Key::Name(name), Keys::Variant(_)) => error.in_variant(name),
            (Key::Name(name), _) => error.in_field(self.of, name),
        }
    }

    /// All entries have been read.
    #[inline]
    pub(super) fn end(mut self) -> Result<&'d mut Decoder<'de, 'n>> {
        self.check_due(false)?;
        self.pass_skipped()?;
        none_left(self.left)?;
        Ok(self.decoder)
    }

    /// Keys and values are read in turn; a reader that does otherwise would read another value than
    /// was written.
    #[inline]
    fn check_due(&self, is_due: bool) -> Result<()> {
        match self.is_value_due == is_due {
            true => Ok(()),
            false => Err(self.place(Error::new("a key and its value were not read in turn"))),
        }
    }

    /// Passes over the fields that the struct lacks.
    #[inline]
    fn pass_skipped(&mut self) -> Result<()> {
        if let Keys::Fields(names) = &mut self.keys {
            while self.left > 0 && self.decoder.peek()? == tag::SKIPPED {
                self.decoder.skip_byte();
                self.left -= 1;
                names.next()?;
            }
        }
        Ok(())
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.check_due(false)?;
        self.pass_skipped()?;
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.is_value_due = true;
        let name = match &mut self.keys {
            Keys::Fields(names) => names.next()?,
            Keys::Variant(name) => *name,
            Keys::Inline => {
                let before = self.decoder.input;
                let key = match plain::wanted_by::<S>() {
                    Layout::Other => seed.deserialize(MapKey(&mut *self.decoder))?,
                    _ => self.decoder.value(seed)?,
                };
                let len = before.len() - self.decoder.input.len();
                self.key = Key::Encoded(&before[..len]);
                return Ok(Some(key));
            }
        };
        self.key = Key::Name(name);
        match seed.deserialize(Name(name, self.decoder.depth)) {
            Ok(key) => Ok(Some(key)),
            Err(e) => Err(self.place(e)),
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.check_due(true)?;
        self.is_value_due = false;
        self.decoder.value(seed).map_err(|e| self.place(e))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum's variant: the one that the decoder has just [announced](Decoder::variant).
pub(super) struct Variant<'d, 'de, 'n>(pub(super) &'d mut Decoder<'de, 'n>);

/// What is known of a variant before it is read.
#[derive(Clone, Copy, Default)]
pub(super) struct Announced<'de> {
    /// `None`: it is the next value, as the key of a map.
    pub(super) name: Option<&'de str>,
    pub(super) has_value: bool,
}

impl<'de, 'n> Variant<'_, 'de, 'n> {
    /// Reads the value, where there has to be one.
    #[inline(always)]
    fn value<R>(
        self,
        expected: &str,
        read: impl FnOnce(&mut Decoder<'de, 'n>) -> Result<R>,
    ) -> Result<R> {
        let Announced { name, has_value } = self.0.announced;
        if !has_value {
            return Err(de::Error::invalid_type(Unexpected::UnitVariant, &expected));
        }
        read(self.0).map_err(|e| match name {
            Some(name) => e.in_variant(name),
            None => e,
        })
    }
}

impl<'de, 'n, 'd> EnumAccess<'de> for Variant<'d, 'de, 'n> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let variant = match self.0.announced.name {
            Some(name) => seed.deserialize(Name(name, self.0.depth))?,
            None => {
                let variant = seed.deserialize(&mut *self.0)?;
                // The key may have been a variant itself.
                self.0.announced = Announced {
                    name: None,
                    has_value: true,
                };
                variant
            }
        };
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de, '_> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        if !self.0.announced.has_value {
            return Ok(());
        }
        self.value("a unit variant", |decoder| <()>::deserialize(decoder))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.value("a newtype variant", |decoder| decoder.value(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.value("a tuple variant", |decoder| {
            de::Deserializer::deserialize_tuple(decoder, len, visitor)
        })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.value("a struct variant", |decoder| {
            de::Deserializer::deserialize_struct(decoder, "", fields, visitor)
        })
    }
}
