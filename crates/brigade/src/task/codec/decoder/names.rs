//! The names at the end of a message. They are looked at one by one, when a value refers to them.

use std::cell::Cell;
use std::ops::Range;

use crate::task::codec::error::{Error, Result};
use crate::task::codec::format::NAMES_LIMIT;
use crate::task::codec::{shape, tag};

/// The names that values refer to by number.
#[derive(Default)]
pub(in crate::task::codec) struct Names<'de> {
    /// The names of variants, one after another; then lists of fields.
    items: &'de [u8],
    /// The first of those, as text.
    variant_names: &'de str,
    /// Where each of them ends.
    ends: &'de [u8],
    is_wide: bool,
    variants: usize,
    shapes: usize,
    /// The shape that was last found to be a reader's own list, and that list.
    confirmed: Cell<Option<(usize, *const [&'static str])>>,
}

/// The fields of structs, in the order of their values.
#[derive(Clone, Copy)]
pub(super) struct StructFields<'de> {
    number: usize,
    /// How many there are, the length of each name, the names.
    block: &'de [u8],
}

impl<'de> Names<'de> {
    /// Finds the names at the end of `message`, and cuts them off.
    #[inline]
    pub(in crate::task::codec) fn take_from(
        &mut self,
        message: &mut &'de [u8],
        is_wide: bool,
    ) -> Result<()> {
        // One list of fields, as most messages have it.
        if let (false, [rest @ .., low, high, 0, 0, 1, 0]) = (is_wide, *message) {
            let len = usize::from(u16::from_le_bytes([*low, *high]));
            if let Some((values, items)) = split_end(rest, len) {
                self.shapes = 1;
                self.items = items;
                self.ends = &message[rest.len()..];
                *message = values;
                return Ok(());
            }
        }
        // One variant, and at most one list of fields.
        if let (false, [rest @ .., 1, 0, shapes @ 0..=1, 0]) = (is_wide, *message) {
            if let Some(values) = self.find_one_variant(rest, usize::from(*shapes)) {
                *message = values;
                return Ok(());
            }
        }
        self.find(message, is_wide).ok_or_else(malformed)
    }

    /// As [`find`](Self::find), in what comes before the counts; gives what comes before the names.
    #[inline]
    fn find_one_variant(&mut self, message: &'de [u8], shapes: usize) -> Option<&'de [u8]> {
        let (rest, ends) = split_end(message, 2 + 2 * shapes)?;
        let (values, items) = split_end(rest, number(ends, shapes, false)?)?;
        let variant = items.get(..number(ends, 0, false)?)?;
        self.variant_names = std::str::from_utf8(variant).ok()?;
        (self.variants, self.shapes) = (1, shapes);
        (self.items, self.ends) = (items, ends);
        Some(values)
    }

    #[inline(never)]
    fn find(&mut self, message: &mut &'de [u8], is_wide: bool) -> Option<()> {
        let width = if is_wide { 4 } else { 2 };
        let (rest, counts) = split_end(message, 2 * width)?;
        self.is_wide = is_wide;
        self.variants = number(counts, 0, is_wide)?;
        self.shapes = number(counts, 1, is_wide)?;
        if self.variants > NAMES_LIMIT || self.shapes > NAMES_LIMIT {
            return None;
        }
        let count = self.variants + self.shapes;
        let (rest, ends) = split_end(rest, count * width)?;
        let len = match count {
            0 => 0,
            count => number(ends, count - 1, is_wide)?,
        };
        let (values, items) = split_end(rest, len)?;
        (self.items, self.ends) = (items, ends);
        if let Some(last) = self.variants.checked_sub(1) {
            let names = items.get(..number(ends, last, is_wide)?)?;
            self.variant_names = std::str::from_utf8(names).ok()?;
        }
        *message = values;
        Some(())
    }

    /// Where an item is.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<Range<usize>> {
        let start = match index.checked_sub(1) {
            Some(before) => number(self.ends, before, self.is_wide)?,
            None => 0,
        };
        Some(start..number(self.ends, index, self.is_wide)?)
    }

    /// The name of a variant.
    #[inline]
    pub(super) fn variant(&self, number: usize) -> Option<&'de str> {
        if number >= self.variants {
            return None;
        }
        self.variant_names.get(self.place(number)?)
    }

    #[inline]
    pub(super) fn shape(&self, number: usize) -> Option<StructFields<'de>> {
        if number >= self.shapes {
            return None;
        }
        let block = self.items.get(self.place(self.variants + number)?)?;
        Some(StructFields { number, block })
    }

    /// Whether these are the fields of a shape, in this order.
    #[inline]
    pub(super) fn has_fields(
        &self,
        shape: StructFields<'_>,
        fields: &'static [&'static str],
    ) -> bool {
        match self.confirmed.get() {
            Some((number, known)) if number == shape.number && std::ptr::eq(known, fields) => true,
            _ => self.compare(shape, fields),
        }
    }

    fn compare(&self, shape: StructFields<'_>, fields: &'static [&'static str]) -> bool {
        let are_same = match shape::expected(fields) {
            Some(expected) => shape.block == expected,
            None => shape.block == shape::encode_fields(fields),
        };
        if are_same {
            self.confirmed.set(Some((shape.number, fields)));
        }
        are_same
    }
}

/// The bytes, and the last `len` of them apart.
#[inline(always)]
fn split_end(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    Some(bytes.split_at(bytes.len().checked_sub(len)?))
}

#[cold]
fn malformed() -> Error {
    Error::malformed("the names of its fields")
}

/// The pieces of `N` bytes that a table has. (Slices have this themselves since Rust 1.88.)
#[inline(always)]
fn whole<const N: usize>(table: &[u8]) -> &[[u8; N]]
where
    [u8; N]: bytemuck::Pod,
{
    bytemuck::cast_slice(&table[..table.len() - table.len() % N])
}

/// The number at this index of a table.
#[inline(always)]
fn number(table: &[u8], index: usize, is_wide: bool) -> Option<usize> {
    if is_wide {
        let number = whole::<4>(table).get(index)?;
        Some(u32::from_le_bytes(*number) as usize)
    } else {
        let number = whole::<2>(table).get(index)?;
        Some(usize::from(u16::from_le_bytes(*number)))
    }
}

impl<'de> StructFields<'de> {
    /// How many fields there are.
    #[inline]
    pub(super) fn count(self) -> Result<usize> {
        let mut block = self.block;
        let count = tag::take_count(&mut block).ok_or_else(malformed)?;
        // Each has a length, of a byte at least.
        match count <= block.len() {
            true => Ok(count),
            false => Err(malformed()),
        }
    }

    pub(super) fn names(self) -> Result<FieldNames<'de>> {
        let mut lengths = self.block;
        let count = tag::take_count(&mut lengths).ok_or_else(malformed)?;
        let mut names = lengths;
        for _ in 0..count {
            tag::take_count(&mut names).ok_or_else(malformed)?;
        }
        Ok(FieldNames { lengths, names })
    }
}

/// The names of a shape's fields, one after another.
pub(super) struct FieldNames<'de> {
    lengths: &'de [u8],
    names: &'de [u8],
}

impl<'de> FieldNames<'de> {
    /// Only called as often as there are names.
    #[inline]
    pub(super) fn next(&mut self) -> Result<&'de str> {
        let len = tag::take_count(&mut self.lengths).ok_or_else(malformed)?;
        let (name, rest) = self.names.split_at_checked(len).ok_or_else(malformed)?;
        self.names = rest;
        std::str::from_utf8(name).map_err(|_| malformed())
    }
}

/// Whether this visitor of a struct is the work of serde's derive, which can read the fields in
/// order, without their names. Others may know names only.
#[inline]
pub(super) fn is_derived<V>() -> bool {
    // The derive calls it so; a visitor that is called otherwise gets the names, which is slower
    // and always right.
    let name = std::any::type_name::<V>().as_bytes();
    match name.last() {
        Some(b'>') => is_derived_generic(name),
        _ => name.ends_with(b"::__Visitor"),
    }
}

/// As [`is_derived`], for `…::__Visitor<T>`, whose parameters may be called anything.
fn is_derived_generic(name: &[u8]) -> bool {
    let mut open = 0_usize;
    for (at, byte) in name.iter().enumerate().rev() {
        match byte {
            b'>' => open += 1,
            b'<' if open == 1 => return name[..at].ends_with(b"::__Visitor"),
            // The arrow of a function's type spoils the count, and the answer is no.
            b'<' => open -= 1,
            _ => {}
        }
    }
    false
}
