//! From bytes to values. The bytes may be anything: a peer wrote them.

mod access;
mod entries;
mod key;
mod names;
mod numbers;
mod typed;
mod variant;

use serde::de::{self, DeserializeSeed, Visitor};

use self::access::visit_elements;
use self::entries::Entries;
pub(super) use self::names::Names;
use self::names::StructFields;
use self::numbers::RunNumbers;
use self::variant::{Announced, Variant};
use super::depth::Depth;
use super::error::{Error, Errors, Result};
use super::format::EXTENSION;
use super::plain::{self, ArrayBytes, Layout, NumberKind, NumberRun};
use super::tag;

/// Takes an array of plain numbers from the front of `input`, if `T` is one and it is there.
#[inline(always)]
pub(super) fn take_array<'de, T>(input: &mut &'de [u8]) -> Option<ArrayBytes<'de, T>> {
    let Layout::Array(kind, len) = plain::layout_of::<T>() else {
        return None;
    };
    let numbers = input.strip_prefix(&[tag::RUN + kind as u8, len as u8])?;
    let (bytes, rest) = numbers.split_at_checked(len * kind.size())?;
    *input = rest;
    ArrayBytes::new(bytes)
}

/// Reads one message, value by value.
pub(super) struct Decoder<'de, 'n> {
    input: &'de [u8],
    depth: Depth,
    /// How many levels of those are in one of serde's buffers.
    buffered: usize,
    names: &'n Names<'de>,
    /// The variant that comes next.
    announced: Announced<'de>,
    /// `Some(n)`: an element or a field could not be read, and `n` come after it.
    failed_before: Option<usize>,
}

impl<'de, 'n> Decoder<'de, 'n> {
    pub(super) fn new(input: &'de [u8], names: &'n Names<'de>) -> Decoder<'de, 'n> {
        Decoder {
            input,
            depth: Depth::default(),
            buffered: 0,
            names,
            announced: Announced::default(),
            failed_before: None,
        }
    }

    /// The value that the whole input is.
    #[inline]
    pub(super) fn message<T: de::Deserialize<'de>>(mut self) -> Result<T> {
        let errors = Errors::begin();
        let value = self.value(std::marker::PhantomData)?;
        if !errors.none_grave() {
            return Err(Error::passed_over());
        }
        match self.input.len() {
            0 => Ok(value),
            over => Err(Error::new(format_args!("{over} bytes were left over"))),
        }
    }

    #[inline(always)]
    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        match plain::wanted_by::<S>() {
            Layout::Vector(kind) if self.input.first() == Some(&(tag::RUN + kind as u8)) => {
                self.skip_byte();
                let run = self.run(kind)?;
                return plain::vector_of(run).ok_or_else(|| Error::malformed("a run"));
            }
            // Of one of another length, its visitor says so.
            Layout::Array(..) => {
                if let Some(array) = take_array(&mut self.input) {
                    return Ok(array.read());
                }
            }
            _ => {}
        }
        seed.deserialize(self)
    }

    #[inline(always)]
    fn skip_byte(&mut self) {
        self.input = &self.input[1..];
    }

    /// The tag of the next value, which stays where it is.
    #[inline(always)]
    fn peek(&self) -> Result<u8> {
        self.input.first().copied().ok_or_else(Error::cut)
    }

    #[inline(always)]
    fn take_tag(&mut self) -> Result<u8> {
        let (&tag, rest) = self.input.split_first().ok_or_else(Error::cut)?;
        self.input = rest;
        Ok(tag)
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self.input.split_at_checked(len).ok_or_else(Error::cut)?;
        self.input = rest;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.input.split_first_chunk().ok_or_else(Error::cut)?;
        self.input = rest;
        Ok(*taken)
    }

    #[inline(always)]
    fn count(&mut self) -> Result<usize> {
        tag::take_count(&mut self.input).ok_or_else(|| Error::malformed("a count"))
    }

    /// How many values follow. Each takes a byte at least, so that a count costs no more than
    /// what came.
    #[inline(always)]
    fn values(&mut self) -> Result<usize> {
        let count = self.count()?;
        if count > self.input.len() {
            return Err(Error::cut());
        }
        Ok(count)
    }

    /// The numbers of a run, whose tag was taken.
    #[inline(always)]
    fn run(&mut self, kind: NumberKind) -> Result<NumberRun<'de>> {
        let count = self.count()?;
        let len = count.checked_mul(kind.size()).ok_or_else(Error::cut)?;
        let bytes = self.take(len)?;
        Ok(NumberRun {
            kind,
            count,
            is_array: false,
            bytes,
        })
    }

    fn run_tagged(&mut self, tag: u8) -> Result<NumberRun<'de>> {
        let kind = NumberKind::from_number(tag - tag::RUN);
        self.run(kind.ok_or_else(|| Error::malformed("a run"))?)
    }

    /// The value of an integer's tag and what follows it, of at most 8 bytes. `None`: no such tag.
    #[inline]
    fn wide_int(&mut self, first: u8, tag: u8) -> Result<u64> {
        let len = usize::from(tag - first) + 1;
        if let Some(bytes) = self.input.first_chunk::<8>() {
            // Eight bytes are read, which is one load, and what does not belong to it is cut off.
            let n = u64::from_le_bytes(*bytes) & (u64::MAX >> (64 - 8 * len));
            self.input = &self.input[len..];
            return Ok(n);
        }
        // At the end of a message.
        let bytes = self.take(len)?.iter().rev();
        Ok(bytes.fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// An integer that is not negative, if that is what comes next.
    #[inline]
    fn next_uint(&mut self) -> Result<Option<u64>> {
        match self.peek()? {
            small @ 0..tag::SMALL_END => {
                self.skip_byte();
                Ok(Some(u64::from(small)))
            }
            tag @ tag::UINT..=tag::UINT_LAST => {
                self.skip_byte();
                self.wide_int(tag::UINT, tag).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// An integer of 64 bits with a sign, if that is what comes next.
    #[inline]
    fn next_int(&mut self) -> Result<Option<i128>> {
        match self.peek()? {
            tag @ tag::NINT..=tag::NINT_LAST => {
                self.skip_byte();
                let n = self.wide_int(tag::NINT, tag)?;
                Ok(Some(-1 - i128::from(n)))
            }
            _ => Ok(self.next_uint()?.map(i128::from)),
        }
    }

    #[inline(always)]
    fn str_of(&mut self, tag: u8) -> Result<&'de str> {
        let len = match tag {
            tag::STR => self.count()?,
            short => usize::from(short - tag::SHORT_STR),
        };
        std::str::from_utf8(self.take(len)?).map_err(|_| Error::malformed("text that is not UTF-8"))
    }

    /// A string, if that is what comes next.
    #[inline(always)]
    fn next_str(&mut self) -> Result<Option<&'de str>> {
        match self.peek()? {
            tag @ (tag::STR | tag::SHORT_STR..tag::STRUCT) => {
                self.skip_byte();
                self.str_of(tag).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn char(&mut self) -> Result<char> {
        let number = u32::from_le_bytes(self.take_array()?);
        char::from_u32(number).ok_or_else(|| Error::malformed("a character"))
    }

    #[inline(always)]
    fn shape(&mut self, number: usize) -> Result<StructFields<'de>> {
        let shape = self.names.shape(number);
        shape.ok_or_else(|| Error::malformed("an unknown list of fields"))
    }

    /// The shape of a struct whose tag was taken, and whether it has all the fields.
    #[inline(always)]
    fn struct_of(&mut self, tag: u8) -> Result<Option<(StructFields<'de>, bool)>> {
        let (number, full) = match tag {
            tag::STRUCT..tag::SPARSE => (usize::from(tag - tag::STRUCT), true),
            tag::SPARSE..tag::RUN => (usize::from(tag - tag::SPARSE), false),
            tag::STRUCT_REF => (self.count()?, true),
            tag::SPARSE_REF => (self.count()?, false),
            _ => return Ok(None),
        };
        Ok(Some((self.shape(number)?, full)))
    }

    /// The name of a variant whose tag was taken, and whether a value follows.
    #[inline(always)]
    fn variant_of(&mut self, tag: u8) -> Result<Option<(&'de str, bool)>> {
        let (number, has_value) = match tag {
            tag::UNIT_VARIANT..tag::VARIANT => (usize::from(tag - tag::UNIT_VARIANT), false),
            tag::VARIANT..tag::NONE => (usize::from(tag - tag::VARIANT), true),
            tag::UNIT_VARIANT_REF => (self.count()?, false),
            tag::VARIANT_REF => (self.count()?, true),
            _ => return Ok(None),
        };
        match self.names.variant(number) {
            Some(name) => Ok(Some((name, has_value))),
            None => Err(Error::malformed("an unknown variant")),
        }
    }

    /// One level further in, for as long as `f` runs.
    #[inline(always)]
    fn nested<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.depth.enter()?;
        let result = f(self);
        self.depth.leave();
        result
    }

    #[inline(always)]
    fn seq_of<V: Visitor<'de>>(&mut self, count: usize, visitor: V) -> Result<V::Value> {
        self.nested(|decoder| visit_elements(decoder, count, visitor))
    }

    #[inline]
    fn numbers<V: Visitor<'de>>(&mut self, run: NumberRun<'de>, visitor: V) -> Result<V::Value> {
        let mut numbers = RunNumbers::new(run, self.depth);
        let value = visitor.visit_seq(&mut numbers)?;
        numbers.end()?;
        Ok(value)
    }

    fn map_of<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let count = self.values()?;
        self.entries(visitor, |decoder| Entries::of_map(decoder, count))
    }

    fn fields_of<V: Visitor<'de>>(
        &mut self,
        shape: StructFields<'de>,
        of: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        let (count, names) = (shape.count()?, shape.names()?);
        if count > self.input.len() {
            return Err(Error::cut());
        }
        self.entries(visitor, |decoder| {
            Entries::of_struct(decoder, count, names, of)
        })
    }

    #[inline]
    fn entries<'d, V: Visitor<'de>>(
        &'d mut self,
        visitor: V,
        entries: impl FnOnce(&'d mut Self) -> Entries<'d, 'de, 'n>,
    ) -> Result<V::Value> {
        self.depth.enter()?;
        let mut entries = entries(self);
        match visitor.visit_map(&mut entries) {
            Ok(value) => {
                entries.end()?.depth.leave();
                Ok(value)
            }
            Err(e) => {
                entries.abandon();
                Err(e)
            }
        }
    }

    /// Has `visitor` read a variant; without a name, that is the key of the map that it is.
    #[inline(always)]
    fn variant<V: Visitor<'de>>(
        &mut self,
        name: Option<&'de str>,
        has_value: bool,
        visitor: V,
    ) -> Result<V::Value> {
        self.announced = Announced { name, has_value };
        self.nested(|decoder| visitor.visit_enum(Variant(decoder)))
    }

    /// Passes over the mark of an extension, if that is what comes next.
    #[cold]
    fn skip_extension(&mut self) -> Result<()> {
        let before = self.input;
        let tag = self.take_tag()?;
        if !matches!(self.variant_of(tag)?, Some((EXTENSION, true))) {
            self.input = before;
        }
        Ok(())
    }

    /// What comes next is a `Some`, and the caller did not ask for an option.
    #[inline(never)]
    fn strip_some(&mut self) -> Result<()> {
        while self.input.first() == Some(&tag::SOME) {
            self.skip_byte();
        }
        Ok(())
    }

    /// Takes the tag of a value that is asked for as no option, and gives the input from that tag
    /// on.
    #[inline(always)]
    fn take_tag_past_some(&mut self) -> Result<(u8, &'de [u8])> {
        if self.peek()? == tag::SOME {
            self.strip_some()?;
        }
        let from_tag = self.input;
        Ok((self.take_tag()?, from_tag))
    }

    /// For what is asked for as another type than was written: as JSON would give it.
    #[inline(never)]
    fn decode_as_any<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.strip_some()?;
        de::Deserializer::deserialize_any(self, visitor)
    }

    /// Passes over what is left of values of which one could not be read: a visitor may pass over
    /// the error, and goes on behind them. That these cannot be passed over is a grave error.
    #[cold]
    fn abandon(&mut self, values: usize) {
        for _ in 0..values {
            if self.skip().is_err() {
                return;
            }
        }
    }

    /// Passes over the next value, however deep it is nested.
    fn skip(&mut self) -> Result<()> {
        let mut pending = 1_usize;
        while pending > 0 {
            pending -= 1;
            let tag = self.take_tag()?;
            match tag {
                0..tag::SMALL_END
                | tag::NONE
                | tag::UNIT
                | tag::FALSE
                | tag::TRUE
                | tag::SKIPPED
                | tag::UNIT_VARIANT..tag::VARIANT => {}
                tag::SHORT_STR..tag::STRUCT => {
                    self.take(usize::from(tag - tag::SHORT_STR))?;
                }
                tag::RUN..tag::RUN_END => {
                    self.run_tagged(tag)?;
                }
                tag::UINT..=tag::UINT_LAST => {
                    self.wide_int(tag::UINT, tag)?;
                }
                tag::NINT..=tag::NINT_LAST => {
                    self.wide_int(tag::NINT, tag)?;
                }
                tag::UNIT_VARIANT_REF => {
                    self.count()?;
                }
                tag::F32 | tag::CHAR => {
                    self.take(4)?;
                }
                tag::F64 => {
                    self.take(8)?;
                }
                tag::U128 | tag::I128 => {
                    self.take(16)?;
                }
                tag::STR | tag::BYTES => {
                    let len = self.count()?;
                    self.take(len)?;
                }
                tag::SOME | tag::VARIANT..tag::NONE => pending += 1,
                tag::VARIANT_REF => {
                    self.count()?;
                    pending += 1;
                }
                // Each count is bounded by the bytes that are left, so that the sum cannot
                // overflow.
                tag::SEQ => pending += self.values()?,
                tag::MAP => pending += 2 * self.values()?,
                tag => match self.struct_of(tag)? {
                    Some((shape, _)) => pending += shape.count()?,
                    None => return Err(Error::malformed("an unknown tag")),
                },
            }
            if pending > self.input.len() {
                return Err(Error::cut());
            }
        }
        Ok(())
    }
}

/// A key of a map, for the path in an error: its text or number, if it is short.
pub(super) fn shown_key(encoded: &[u8]) -> String {
    let names = Names::default();
    // What goes wrong here is no error of the message.
    let _errors = Errors::begin();
    let mut decoder = Decoder::new(encoded, &names);
    if let Ok(Some(text)) = decoder.next_str() {
        let short: String = text.chars().take(40).collect();
        return format!("{short:?}");
    }
    match decoder.next_int() {
        Ok(Some(n)) => n.to_string(),
        _ => "a key".to_owned(),
    }
}
