//! From values to bytes.

mod entries;
mod names;
mod put;
mod sequence;
mod structs;

use serde::ser::{self, Serialize};

use self::entries::Entries;
use self::names::Names;
use self::put::{put_array, put_int, put_numbered, put_uint};
pub(super) use self::sequence::Sequence;
use self::structs::Fields;
use super::depth::Depth;
use super::error::{Error, Errors, Result};
use super::format::{EXTENSION, VERSION, within_limit};
use super::plain::{self, NumberRun};
use super::tag;

/// Writes one message, value by value.
pub(super) struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Where the message begins in `out`.
    start: usize,
    depth: Depth,
    names: &'o mut Names,
}

/// The bytes of a small message.
const SMALL: usize = 128;

/// Appends the whole message that `value` is, if that is an array of plain numbers, for which
/// little else is to be done.
#[inline(always)]
pub(super) fn encode_array<T>(value: &T, out: &mut Vec<u8>) -> bool {
    match plain::run_of(value) {
        Some(run) if run.is_array => {
            out.push(VERSION);
            put_array(out, run);
            true
        }
        _ => false,
    }
}

/// Appends the whole message that `value` is.
#[inline]
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    // Most messages are small: a new vector gets memory for one once.
    out.reserve(SMALL);
    let start = out.len();
    let mut names = Names::default();
    let mut encoder = Encoder {
        out,
        start,
        depth: Depth::default(),
        names: &mut names,
    };
    encoder.out.push(VERSION);
    let errors = Errors::begin();
    encoder.value(value)?;
    if !errors.none_placed() {
        return Err(Error::passed_over());
    }
    let Encoder { out, names, .. } = encoder;
    if !names.is_empty() {
        out[start] |= names.put(out)?;
    }
    within_limit(out.len() - start)
}

impl<'o> Encoder<'o> {
    #[inline(always)]
    fn value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        match plain::run_of(value) {
            Some(run) if run.is_array => {
                put_array(self.out, run);
                Ok(())
            }
            Some(run) => self.run(run),
            None => value.serialize(self),
        }
    }

    /// A vector of plain numbers.
    fn run(&mut self, run: NumberRun<'_>) -> Result<()> {
        self.check_growth(run.bytes.len())?;
        self.out.reserve(1 + tag::COUNT_BYTES + run.bytes.len());
        plain::about_to_fill(self.out, run.bytes.len());
        self.out.push(tag::RUN + run.kind as u8);
        tag::put_count(self.out, run.count);
        self.out.extend_from_slice(run.bytes);
        Ok(())
    }

    #[inline(always)]
    fn uint(&mut self, n: u64) {
        put_uint(self.out, n);
    }

    #[inline(always)]
    fn int(&mut self, n: i64) {
        put_int(self.out, n);
    }

    #[inline]
    fn four(&mut self, tag: u8, [a, b, c, d]: [u8; 4]) {
        self.out.extend_from_slice(&[tag, a, b, c, d]);
    }

    #[inline]
    fn eight(&mut self, tag: u8, bytes: [u8; 8]) {
        let mut all = [tag; 9];
        all[1..].copy_from_slice(&bytes);
        self.out.extend_from_slice(&all);
    }

    fn sixteen(&mut self, tag: u8, bytes: [u8; 16]) {
        self.out.push(tag);
        self.out.extend_from_slice(&bytes);
    }

    fn variant(&mut self, name: &'static str) -> Result<()> {
        let number = self.names.variant(name)?;
        put_numbered(
            self.out,
            tag::VARIANT,
            tag::INLINE_VARIANTS,
            tag::VARIANT_REF,
            number,
        );
        Ok(())
    }

    /// Refuses what would go over the limit of size before it is written.
    #[inline]
    fn check_growth(&self, more: usize) -> Result<()> {
        let len = self.out.len() - self.start;
        within_limit(len.saturating_add(more))
    }

    /// The head of what holds `declared` values, if it is known how many, and its place in `out`.
    #[inline(always)]
    fn head(&mut self, tag: u8, declared: Option<usize>) -> Result<()> {
        match declared {
            Some(count @ 0..0x80) => {
                self.out.extend_from_slice(&[tag, count as u8]);
                Ok(())
            }
            _ => self.long_head(tag, declared),
        }
    }

    #[inline(never)]
    fn long_head(&mut self, tag: u8, declared: Option<usize>) -> Result<()> {
        // No value takes less than a byte.
        self.check_growth(declared.unwrap_or(0))?;
        self.out.push(tag);
        match declared {
            Some(count) => tag::put_count(self.out, count),
            None => self.out.extend_from_slice(&tag::wide_count(0)),
        }
        Ok(())
    }

    /// A sequence has no elements, or another count than was said.
    #[inline(never)]
    fn settle(
        &mut self,
        is_empty: bool,
        at: usize,
        declared: Option<usize>,
        count: usize,
    ) -> Result<()> {
        if is_empty {
            return self.head(tag::SEQ, Some(0));
        }
        self.correct_head(at, declared, count);
        Ok(())
    }

    /// Writes the count that it came to into the head at `at`.
    fn correct_head(&mut self, at: usize, declared: Option<usize>, count: usize) {
        let at = at + 1;
        match declared {
            None => self.out[at..at + tag::COUNT_BYTES].copy_from_slice(&tag::wide_count(count)),
            Some(declared) if declared == count => {}
            // A `Serialize` implementation that said another count than it wrote.
            Some(declared) => {
                let (mut wrong, mut right) = (Vec::new(), Vec::new());
                tag::put_count(&mut wrong, declared);
                tag::put_count(&mut right, count);
                self.out.splice(at..at + wrong.len(), right);
            }
        }
    }
}

impl<'a, 'o> ser::Serializer for &'a mut Encoder<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Sequence<'a, 'o>;
    type SerializeTuple = Sequence<'a, 'o>;
    type SerializeTupleStruct = Sequence<'a, 'o>;
    type SerializeTupleVariant = Sequence<'a, 'o>;
    type SerializeMap = Entries<'a, 'o>;
    type SerializeStruct = Fields<'a, 'o>;
    type SerializeStructVariant = Fields<'a, 'o>;

    // Serde gives its buffers of `untagged` and `flatten` no way to say "not for humans": what such
    // a type writes would not be what it reads. JSON says the same.
    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<()> {
        self.out.push(if v { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<()> {
        self.uint(u64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result<()> {
        self.uint(u64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result<()> {
        self.uint(u64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result<()> {
        self.uint(v);
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Result<()> {
        match u64::try_from(v) {
            Ok(v) => self.uint(v),
            Err(_) => self.sixteen(tag::U128, v.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Result<()> {
        self.int(i64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result<()> {
        self.int(i64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result<()> {
        self.int(i64::from(v));
        Ok(())
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result<()> {
        self.int(v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result<()> {
        match (u64::try_from(v), i64::try_from(v)) {
            (Ok(v), _) => self.uint(v),
            (_, Ok(v)) => self.int(v),
            _ => self.sixteen(tag::I128, v.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Result<()> {
        self.four(tag::F32, v.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result<()> {
        self.eight(tag::F64, v.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<()> {
        self.four(tag::CHAR, u32::from(v).to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<()> {
        if v.len() <= tag::SHORT_STR_MAX {
            self.out.reserve(1 + tag::SHORT_STR_MAX);
            self.out.push(tag::SHORT_STR + v.len() as u8);
        } else {
            self.check_growth(v.len())?;
            self.out.reserve(1 + tag::COUNT_BYTES + v.len());
            self.out.push(tag::STR);
            tag::put_count(self.out, v.len());
        }
        self.out.extend_from_slice(v.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<()> {
        self.check_growth(v.len())?;
        self.out.push(tag::BYTES);
        tag::put_count(self.out, v.len());
        self.out.extend_from_slice(v);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.out.push(tag::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<()> {
        self.out.push(tag::SOME);
        self.depth.enter()?;
        self.value(value)?;
        self.depth.leave();
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        self.out.push(tag::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        let number = self.names.variant(variant)?;
        put_numbered(
            self.out,
            tag::UNIT_VARIANT,
            tag::INLINE_VARIANTS,
            tag::UNIT_VARIANT_REF,
            number,
        );
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        if name == EXTENSION {
            self.variant(EXTENSION)?;
        }
        self.value(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(variant)?;
        self.depth.enter()?;
        self.value(value).map_err(|e| e.in_variant(variant))?;
        self.depth.leave();
        Ok(())
    }

    #[inline(always)]
    fn serialize_seq(self, len: Option<usize>) -> Result<Sequence<'a, 'o>> {
        Sequence::begin(self, len)
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<Sequence<'a, 'o>> {
        Sequence::begin(self, Some(len))
    }

    #[inline(always)]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Sequence<'a, 'o>> {
        Sequence::begin(self, Some(len))
    }

    #[inline(always)]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Sequence<'a, 'o>> {
        self.variant(variant)?;
        Sequence::begin(self, Some(len))
    }

    #[inline]
    fn serialize_map(self, declared: Option<usize>) -> Result<Entries<'a, 'o>> {
        Entries::begin(self, declared)
    }

    #[inline(always)]
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a, 'o>> {
        Fields::begin(self, name)
    }

    #[inline(always)]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'a, 'o>> {
        self.variant(variant)?;
        Fields::begin(self, variant)
    }
}
