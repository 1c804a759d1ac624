//! Sequences and tuples. Plain numbers of one kind become a run: one head, then the numbers as they
//! are in memory.
//!
//! Serde does not say beforehand what the elements are. A sequence whose first element is a plain
//! number begins a run; if an element comes that does not belong into it, what is there is written
//! again, one by one.

use serde::ser::{
    self, Serialize, SerializeSeq, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    Serializer,
};

use super::Encoder;
use super::entries::Entries;
use super::structs::Fields;
use crate::task::codec::error::{Error, Result};
use crate::task::codec::format::EXTENSION;
use crate::task::codec::plain::{self, NumberKind};
use crate::task::codec::tag;

/// With fewer elements, a run is no shorter, and a tuple of few numbers is most likely one of
/// different kinds.
const RUN_MIN: usize = 4;

/// A sequence of which some elements are written.
pub(in crate::task::codec) struct Sequence<'a, 'o> {
    encoder: &'a mut Encoder<'o>,
    /// Where its head is in `out`.
    head: usize,
    declared: Option<usize>,
    count: usize,
    form: SequenceForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SequenceForm {
    /// No element yet, and no head.
    Open,
    /// Each element with its tag.
    Tagged,
    Run(NumberKind),
}

impl<'a, 'o> Sequence<'a, 'o> {
    #[inline(always)]
    pub(super) fn begin(encoder: &'a mut Encoder<'o>, declared: Option<usize>) -> Result<Self> {
        encoder.depth.enter()?;
        let head = encoder.out.len();
        Ok(Sequence {
            encoder,
            head,
            declared,
            count: 0,
            form: SequenceForm::Open,
        })
    }

    #[inline(always)]
    fn element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        // An iterator without end comes to one.
        if self.count % 4096 == 4095 {
            self.encoder.check_growth(0)?;
        }
        let index = self.count;
        let written = match plain::run_of(value) {
            Some(run) => self.tagged().and_then(|()| self.encoder.run(run)),
            None => value.serialize(Element(self)),
        };
        self.count = index + 1;
        written.map_err(|e| e.at_index(index))
    }

    /// Whether the next element, a number of this kind, belongs into a run.
    #[inline(always)]
    fn is_run_of(&mut self, kind: NumberKind) -> Result<bool> {
        match self.form {
            SequenceForm::Run(run) if run == kind => Ok(true),
            SequenceForm::Tagged => Ok(false),
            SequenceForm::Open if self.declared.is_none_or(|count| count >= RUN_MIN) => {
                self.begin_run(kind)?;
                Ok(true)
            }
            _ => {
                self.tagged()?;
                Ok(false)
            }
        }
    }

    #[inline(never)]
    fn begin_run(&mut self, kind: NumberKind) -> Result<()> {
        let bytes = self.declared.unwrap_or(0).saturating_mul(kind.size());
        self.encoder.check_growth(bytes)?;
        self.encoder.head(tag::RUN + kind as u8, self.declared)?;
        // What was declared need not be true: more than a page is not believed.
        self.encoder.out.reserve(bytes.min(4096));
        self.form = SequenceForm::Run(kind);
        Ok(())
    }

    /// The next element is written with its tag.
    #[inline(always)]
    fn tagged(&mut self) -> Result<()> {
        match self.form {
            SequenceForm::Tagged => Ok(()),
            SequenceForm::Open => {
                self.form = SequenceForm::Tagged;
                self.encoder.head(tag::SEQ, self.declared)
            }
            SequenceForm::Run(kind) => self.break_run(kind),
        }
    }

    /// An element came that does not belong into the run: those before it get a tag each.
    #[cold]
    fn break_run(&mut self, kind: NumberKind) -> Result<()> {
        let size = kind.size();
        let numbers = self.encoder.out.len() - self.count * size;
        let numbers = self.encoder.out.split_off(numbers);
        self.encoder.out.truncate(self.head);
        self.form = SequenceForm::Tagged;
        self.encoder.head(tag::SEQ, self.declared)?;
        for number in numbers.chunks_exact(size) {
            put_tagged(self.encoder, kind, number)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn finish(self) -> Result<()> {
        if self.form == SequenceForm::Open || self.declared != Some(self.count) {
            self.encoder.settle(
                self.form == SequenceForm::Open,
                self.head,
                self.declared,
                self.count,
            )?;
        }
        self.encoder.depth.leave();
        Ok(())
    }
}

fn put_tagged(encoder: &mut Encoder<'_>, kind: NumberKind, number: &[u8]) -> Result<()> {
    macro_rules! put {
        ($number:ty, $serialize:ident) => {
            encoder.$serialize(<$number>::from_ne_bytes(
                number.try_into().unwrap_or_default(),
            ))
        };
    }
    match kind {
        NumberKind::U8 => put!(u8, serialize_u8),
        NumberKind::I8 => put!(i8, serialize_i8),
        NumberKind::U16 => put!(u16, serialize_u16),
        NumberKind::I16 => put!(i16, serialize_i16),
        NumberKind::U32 => put!(u32, serialize_u32),
        NumberKind::I32 => put!(i32, serialize_i32),
        NumberKind::U64 => put!(u64, serialize_u64),
        NumberKind::I64 => put!(i64, serialize_i64),
        NumberKind::U128 => put!(u128, serialize_u128),
        NumberKind::I128 => put!(i128, serialize_i128),
        NumberKind::F32 => put!(f32, serialize_f32),
        NumberKind::F64 => put!(f64, serialize_f64),
    }
}

/// Where one element of a sequence is written.
struct Element<'s, 'a, 'o>(&'s mut Sequence<'a, 'o>);

macro_rules! numbers {
    ($($serialize:ident: $number:ty => $kind:ident),*) => {
        $(#[inline(always)]
        fn $serialize(self, v: $number) -> Result<()> {
            if self.0.is_run_of(NumberKind::$kind)? {
                self.0.encoder.out.extend_from_slice(&v.to_ne_bytes());
                return Ok(());
            }
            self.0.encoder.$serialize(v)
        })*
    };
}

macro_rules! tagged {
    ($($serialize:ident($($arg:ident: $type:ty),*) -> $ok:ty;)*) => {
        $(#[inline(always)]
        fn $serialize(self $(, $arg: $type)*) -> Result<$ok> {
            self.0.tagged()?;
            self.0.encoder.$serialize($($arg),*)
        })*
    };
}

impl<'s, 'o> ser::Serializer for Element<'s, '_, 'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Sequence<'s, 'o>;
    type SerializeTuple = Sequence<'s, 'o>;
    type SerializeTupleStruct = Sequence<'s, 'o>;
    type SerializeTupleVariant = Sequence<'s, 'o>;
    type SerializeMap = Entries<'s, 'o>;
    type SerializeStruct = Fields<'s, 'o>;
    type SerializeStructVariant = Fields<'s, 'o>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }

    numbers! {
        serialize_u8: u8 => U8, serialize_u16: u16 => U16, serialize_u32: u32 => U32, serialize_u64: u64 => U64,
        serialize_i8: i8 => I8, serialize_i16: i16 => I16, serialize_i32: i32 => I32, serialize_i64: i64 => I64,
        serialize_u128: u128 => U128, serialize_i128: i128 => I128, serialize_f32: f32 => F32, serialize_f64: f64 => F64
    }

    tagged! {
        serialize_bool(v: bool) -> ();
        serialize_char(v: char) -> ();
        serialize_str(v: &str) -> ();
        serialize_bytes(v: &[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(name: &'static str) -> ();
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> ();
        serialize_seq(len: Option<usize>) -> Sequence<'s, 'o>;
        serialize_tuple(len: usize) -> Sequence<'s, 'o>;
        serialize_tuple_struct(name: &'static str, len: usize) -> Sequence<'s, 'o>;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> Sequence<'s, 'o>;
        serialize_map(len: Option<usize>) -> Entries<'s, 'o>;
        serialize_struct(name: &'static str, len: usize) -> Fields<'s, 'o>;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> Fields<'s, 'o>;
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<()> {
        self.0.tagged()?;
        self.0.encoder.serialize_some(value)
    }

    /// A newtype of a number is a number.
    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        if name == EXTENSION {
            self.0.tagged()?;
            return self.0.encoder.serialize_newtype_struct(name, value);
        }
        match plain::run_of(value) {
            Some(run) => {
                self.0.tagged()?;
                self.0.encoder.run(run)
            }
            None => value.serialize(self),
        }
    }

    #[inline]
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.0.tagged()?;
        self.0
            .encoder
            .serialize_newtype_variant(name, index, variant, value)
    }
}

macro_rules! sequence {
    ($($trait:ident :: $method:ident),*) => {
        $(impl $trait for Sequence<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            #[inline(always)]
            fn end(self) -> Result<()> {
                self.finish()
            }
        })*
    };
}
sequence!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);
