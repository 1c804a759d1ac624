//! What visitors are given to walk through sequences and structs.

use serde::de::{DeserializeSeed, SeqAccess, Visitor};

use super::Decoder;
use crate::task::codec::error::{Error, Result};

/// The elements of a sequence, one after another. Two words, so that it is handed on in registers.
struct Elements<'d, 'de, 'n> {
    decoder: &'d mut Decoder<'de, 'n>,
    left: &'d mut usize,
}

/// Has `visitor` read `count` elements.
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
        Ok(_) => {
            decoder.abandon(left);
            Err(too_many(left))
        }
        Err(e) => Err(match failed(decoder, count, left) {
            Some(index) => e.at_index(index),
            None => e,
        }),
    }
}

/// A visitor has failed when so many of its values were left. Gives which of them could not be
/// read, if it is that; and passes over the others.
#[cold]
fn failed(decoder: &mut Decoder<'_, '_>, count: usize, left: usize) -> Option<usize> {
    // Another is an old story, which the visitor has passed over.
    let failed = decoder
        .failed_before
        .take()
        .filter(|&before| before == left);
    decoder.abandon(left);
    failed.map(|left| count.saturating_sub(left + 1))
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
        Ok(_) => {
            decoder.abandon(left);
            Err(too_many(left))
        }
        Err(e) => Err(match failed(decoder, fields.len(), left) {
            Some(index) => e.in_field(name, fields.get(index).unwrap_or(&"?")),
            None => e,
        }),
    }
}

/// A reader that stops early has read another value than was written.
#[inline(always)]
pub(super) fn none_left(left: usize) -> Result<()> {
    if left > 0 {
        return Err(too_many(left));
    }
    Ok(())
}

#[cold]
pub(super) fn not_read() -> Error {
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
