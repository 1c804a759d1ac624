//! What visitors are given to walk through a run of plain numbers.

use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};

use super::access::{none_left, not_read};
use crate::task::codec::depth::Depth;
use crate::task::codec::error::{Error, Result, count_grave};
use crate::task::codec::plain::{NumberKind, NumberRun};

/// The numbers of a run, one after another.
pub(super) struct RunNumbers<'de> {
    kind: NumberKind,
    count: usize,
    left: &'de [u8],
    depth: Depth,
}

impl<'de> RunNumbers<'de> {
    #[inline]
    pub(super) fn new(run: NumberRun<'de>, depth: Depth) -> RunNumbers<'de> {
        RunNumbers {
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

    /// A number could not be read, before which so many bytes were left.
    #[cold]
    fn failed(&mut self, error: Error, before: usize) -> Error {
        if self.left.len() == before {
            // The reader has not even taken it. Outside a run it would not be known where the next
            // value begins.
            self.left = self.left.get(self.kind.size()..).unwrap_or_default();
            count_grave();
        }
        let taken = self.count - self.left.len() / self.kind.size();
        error.at_index(taken.saturating_sub(1))
    }
}

impl<'de> SeqAccess<'de> for &mut RunNumbers<'de> {
    type Error = Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let before = self.left.len();
        match seed.deserialize(RunNumber(self)) {
            // Else there would be numbers for ever.
            Ok(_) if self.left.len() == before => Err(not_read()),
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(self.failed(e, before)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len() / self.kind.size())
    }
}

/// One number of a run.
struct RunNumber<'r, 'de>(&'r mut RunNumbers<'de>);

macro_rules! number {
    ($deserialize:ident, $visit:ident, $number:ty, $kind:ident) => {
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.0.kind {
                NumberKind::$kind => visitor.$visit(<$number>::from_ne_bytes(self.0.take()?)),
                _ => self.deserialize_any(visitor),
            }
        }
    };
}

impl<'de> de::Deserializer<'de> for RunNumber<'_, 'de> {
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
            NumberKind::U8 => unsigned!(u8),
            NumberKind::U16 => unsigned!(u16),
            NumberKind::U32 => unsigned!(u32),
            NumberKind::U64 => unsigned!(u64),
            NumberKind::I8 => signed!(i8),
            NumberKind::I16 => signed!(i16),
            NumberKind::I32 => signed!(i32),
            NumberKind::I64 => signed!(i64),
            NumberKind::F32 => visitor.visit_f32(f32::from_ne_bytes(numbers.take()?)),
            NumberKind::F64 => visitor.visit_f64(f64::from_ne_bytes(numbers.take()?)),
            NumberKind::U128 => {
                let n = u128::from_ne_bytes(numbers.take()?);
                match u64::try_from(n) {
                    Ok(n) => visitor.visit_u64(n),
                    Err(_) => visitor.visit_u128(n),
                }
            }
            NumberKind::I128 => {
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
        let value = visitor.visit_some(RunNumber(&mut *self.0));
        self.0.depth.leave();
        value
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
