//! Types and values of serde's whole data model, made from bytes, for property tests and the
//! fuzzer.
//!
//! [`there_and_back`] makes a type and a value of it, and expects it back: asked for by its type,
//! asked what it is, and out of serde's buffer. [`from_anyone`] reads what no encoder has written.

mod read;
mod write;

use std::cell::RefCell;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{decode, encode};

/// What structs, their fields, enums and their variants are called.
pub(super) const NAMES: &[&str] = &[
    "a",
    "b",
    "",
    "type",
    "größe",
    "a_name_that_is_longer_than_any_that_fits_a_tag",
    "c",
    "d",
];

/// A type, of each of the kinds that serde has.
#[derive(Clone, Debug)]
pub(super) enum Type {
    Bool,
    /// With a sign, of this many bits.
    Int(u32),
    Uint(u32),
    F32,
    F64,
    Char,
    Text,
    Bytes,
    Unit,
    UnitStruct(&'static str),
    Option(Box<Type>),
    Newtype(&'static str, Box<Type>),
    Seq(Box<Type>),
    Tuple(Vec<Type>),
    TupleStruct(&'static str, Vec<Type>),
    Map(Box<Type>, Box<Type>),
    Struct(Struct),
    Enum(Vec<Variant>),
}

/// A struct; its fields have the first of the [`NAMES`].
#[derive(Clone, Debug)]
pub(super) struct Struct {
    name: &'static str,
    fields: Vec<Type>,
    /// The struct is read as the derive would.
    is_derived: bool,
}

/// A variant; those of an enum have the first of the [`NAMES`].
#[derive(Clone, Debug)]
pub(super) enum Variant {
    Unit,
    Newtype(Type),
    Tuple(Vec<Type>),
    Struct(Struct),
}

/// A value of a type. Numbers with a fraction are their bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i128),
    Uint(u128),
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Unit,
    None,
    Some(Box<Value>),
    Seq(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// `None`: it is skipped.
    Fields(Vec<Option<Value>>),
    Variant(usize, Box<Value>),
}

/// The answer to "what is it?".
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Any {
    Bool(bool),
    /// Less than zero.
    Negative(i128),
    Uint(u128),
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Unit,
    None,
    Some(Box<Any>),
    Seq(Vec<Any>),
    Map(Vec<(Any, Any)>),
}

/// Bytes that decide what is made; zeros, when they are used up.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len())]
    }

    fn number(&mut self) -> u128 {
        // Numbers of all lengths.
        let len = [0, 1, 1, 2, 4, 8, 9, 16][self.below(8)];
        let number = (0..len).fold(0, |n, _| n << 8 | u128::from(self.byte()));
        if self.below(4) == 0 { !number } else { number }
    }

    fn count(&mut self) -> usize {
        match self.byte() {
            many @ 250.. => usize::from(many - 240) * 10,
            few => usize::from(few) % 6,
        }
    }

    fn fields(&mut self, depth: usize) -> Struct {
        Struct {
            name: self.name(),
            fields: self.types(depth, NAMES.len()),
            is_derived: self.below(2) == 0,
        }
    }

    fn types(&mut self, depth: usize, most: usize) -> Vec<Type> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.a_type(depth)).collect()
    }

    fn a_type(&mut self, depth: usize) -> Type {
        let bits = |choice: usize| 8 << (choice % 5);
        let leaves = 18;
        let choice = self.below(if depth == 0 { leaves } else { leaves + 13 });
        let inner = |it: &mut Self| Box::new(it.a_type(depth - 1));
        match choice {
            0 => Type::Bool,
            1..6 => Type::Int(bits(choice)),
            6..11 => Type::Uint(bits(choice)),
            11 => Type::F32,
            12 => Type::F64,
            13 => Type::Char,
            14 => Type::Text,
            15 => Type::Bytes,
            16 => Type::Unit,
            17 => Type::UnitStruct(self.name()),
            18 | 19 => Type::Option(inner(self)),
            20 => Type::Newtype(self.name(), inner(self)),
            21 | 22 => Type::Seq(inner(self)),
            23 => Type::Tuple(self.types(depth - 1, 6)),
            24 => Type::TupleStruct(self.name(), self.types(depth - 1, 6)),
            25 => Type::Map(inner(self), inner(self)),
            26..28 => Type::Struct(self.fields(depth - 1)),
            _ => {
                let count = 1 + self.below(NAMES.len());
                let variants = (0..count).map(|_| match self.below(4) {
                    0 => Variant::Unit,
                    1 => Variant::Newtype(self.a_type(depth - 1)),
                    2 => Variant::Tuple(self.types(depth - 1, 5)),
                    _ => Variant::Struct(self.fields(depth - 1)),
                });
                Type::Enum(variants.collect())
            }
        }
    }

    fn value(&mut self, of: &Type) -> Value {
        match of {
            Type::Bool => Value::Bool(self.below(2) == 1),
            Type::Int(bits) => Value::Int((self.number() << (128 - bits)) as i128 >> (128 - bits)),
            Type::Uint(bits) => Value::Uint(self.number() << (128 - bits) >> (128 - bits)),
            Type::F32 => Value::F32(self.number() as u32),
            Type::F64 => Value::F64(self.number() as u64),
            Type::Char => {
                Value::Char(char::from_u32(self.number() as u32 & 0x1f_ffff).unwrap_or('ß'))
            }
            Type::Text => Value::Text((0..self.count()).map(|_| char::from(self.byte())).collect()),
            Type::Bytes => Value::Bytes((0..self.count()).map(|_| self.byte()).collect()),
            Type::Unit | Type::UnitStruct(_) => Value::Unit,
            Type::Option(inner) => match self.below(3) {
                0 => Value::None,
                _ => Value::Some(Box::new(self.value(inner))),
            },
            Type::Newtype(_, inner) => self.value(inner),
            Type::Seq(inner) => Value::Seq((0..self.count()).map(|_| self.value(inner)).collect()),
            Type::Tuple(types) | Type::TupleStruct(_, types) => self.values(types),
            Type::Map(key, value) => {
                let entries = (0..self.count()).map(|_| (self.value(key), self.value(value)));
                Value::Map(entries.collect())
            }
            Type::Struct(of) => self.field_values(of),
            Type::Enum(variants) => {
                let number = self.below(variants.len());
                let value = match &variants[number] {
                    Variant::Unit => Value::Unit,
                    Variant::Newtype(of) => self.value(of),
                    Variant::Tuple(types) => self.values(types),
                    Variant::Struct(of) => self.field_values(of),
                };
                Value::Variant(number, Box::new(value))
            }
        }
    }

    fn values(&mut self, types: &[Type]) -> Value {
        Value::Seq(types.iter().map(|of| self.value(of)).collect())
    }

    fn field_values(&mut self, of: &Struct) -> Value {
        let skips = if self.below(3) == 0 { self.byte() } else { 0 };
        let fields = of.fields.iter().enumerate();
        let values = fields.map(|(at, of)| (skips >> (at % 8) & 1 == 0).then(|| self.value(of)));
        Value::Fields(values.collect())
    }
}

/// Whether an integer of 128 bits is in this value, which serde's buffer does not know.
fn is_too_wide(of: &Type, value: &Value) -> bool {
    let any = |types: &[Type], values: &[Value]| {
        types
            .iter()
            .zip(values)
            .any(|(of, value)| is_too_wide(of, value))
    };
    let in_fields = |of: &Struct, values: &[Option<Value>]| {
        let present = of.fields.iter().zip(values);
        present
            .into_iter()
            .any(|(of, value)| value.as_ref().is_some_and(|value| is_too_wide(of, value)))
    };
    match (of, value) {
        (Type::Int(128) | Type::Uint(128), _) => true,
        (Type::Newtype(_, of), value) => is_too_wide(of, value),
        (Type::Option(of), Value::Some(value)) => is_too_wide(of, value),
        (Type::Seq(of), Value::Seq(values)) => values.iter().any(|value| is_too_wide(of, value)),
        (Type::Tuple(types) | Type::TupleStruct(_, types), Value::Seq(values)) => {
            any(types, values)
        }
        (Type::Map(key, of), Value::Map(entries)) => entries
            .iter()
            .any(|(k, v)| is_too_wide(key, k) || is_too_wide(of, v)),
        (Type::Struct(of), Value::Fields(values)) => in_fields(of, values),
        (Type::Enum(variants), Value::Variant(number, value)) => {
            match (&variants[*number], &**value) {
                (Variant::Newtype(of), value) => is_too_wide(of, value),
                (Variant::Tuple(types), Value::Seq(values)) => any(types, values),
                (Variant::Struct(of), Value::Fields(values)) => in_fields(of, values),
                _ => false,
            }
        }
        _ => false,
    }
}

thread_local! {
    /// The type that is read: serde hands no context through.
    static WANTED: RefCell<Option<Arc<Type>>> = const { RefCell::new(None) };
}

/// A value that is read as the type that is wanted.
#[derive(Debug, PartialEq)]
struct Typed(Value);

/// Serde buffers what is in here.
#[derive(Deserialize)]
#[serde(untagged)]
enum SerdeBuffer {
    It(Typed),
}

impl Serialize for Typed {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("only read"))
    }
}

impl Serialize for SerdeBuffer {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("only read"))
    }
}

impl Serialize for Any {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("only read"))
    }
}

/// Makes a type and a value of it, and expects it back.
pub(crate) fn there_and_back(data: &[u8]) {
    let (mut of, mut values) = match data.split_at_checked(data.len() / 3) {
        Some((of, values)) => (Choices(of), Choices(values)),
        None => return,
    };
    let of = Arc::new(of.a_type(4));
    let value = values.value(&of);
    WANTED.set(Some(Arc::clone(&of)));
    let written = write::Written::new(Arc::clone(&of), value.clone(), data);
    let mut bytes = Vec::new();
    let descriptors = encode(&written, &mut bytes).expect("it can be written");
    assert!(descriptors.is_empty());
    let read = decode::<Typed>(&bytes, Vec::new());
    assert_eq!(
        read.as_ref(),
        Ok(&Typed(value.clone())),
        "{of:?} as {bytes:?}"
    );
    let any = decode::<Any>(&bytes, Vec::new());
    assert_eq!(any.as_ref(), Ok(&written.as_any()), "{of:?} as {bytes:?}");
    match decode::<SerdeBuffer>(&bytes, Vec::new()) {
        Ok(SerdeBuffer::It(read)) => assert_eq!(read, Typed(value), "{of:?} as {bytes:?}"),
        Err(why) => assert!(
            is_too_wide(&of, &value),
            "{why}: {of:?}, {value:?} as {bytes:?}"
        ),
    }
    // Something in it changes on its way.
    let mut choices = Choices(data);
    for _ in 0..1 + choices.below(3) {
        let at = choices.below(256) * 7 % bytes.len();
        bytes[at] = choices.byte();
    }
    let _ = decode::<Typed>(&bytes, Vec::new());
    let _ = decode::<Any>(&bytes, Vec::new());
    let _ = decode::<SerdeBuffer>(&bytes, Vec::new());
    bytes.truncate(choices.below(256) % bytes.len());
    let _ = decode::<Typed>(&bytes, Vec::new());
    let _ = decode::<Any>(&bytes, Vec::new());
    from_anyone(&bytes);
}

mod types {
    //! Types as programs have them.

    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct PlainValue {
        a: u64,
        b: Option<Option<i8>>,
        c: String,
        d: [f64; 8],
        e: (u8, char),
        next: Option<Box<PlainValue>>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) enum Enum {
        Unit,
        New(Vec<Enum>),
        Tuple(u8, Box<Enum>),
        Struct { a: i128, b: BTreeMap<String, Enum> },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "a")]
    pub(super) enum Internal {
        Unit,
        Struct { b: u8, c: Vec<u8> },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "a", content = "b")]
    pub(super) enum Adjacent {
        Unit,
        New(Box<Adjacent>),
        Struct { b: u8 },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Number(f64),
        Text(String),
        List(Vec<Untagged>),
        Map(HashMap<String, Untagged>),
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: HashMap<String, Option<u8>>,
    }

    /// An option of itself.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub(super) struct Forever(Option<Box<Forever>>);
}

/// Reads bytes that a peer may have written, as one type after another.
pub(crate) fn from_anyone(bytes: &[u8]) {
    fn read<T: crate::Message>(bytes: &[u8]) {
        if let Ok(value) = decode::<T>(bytes, Vec::new()) {
            // What can be read can be written, and is read again then.
            let mut again = Vec::new();
            if encode(&value, &mut again).is_ok() {
                let read = decode::<T>(&again, Vec::new());
                assert!(
                    read.is_ok(),
                    "{:?} as {bytes:?}, then {again:?}",
                    read.err()
                );
            }
        }
    }
    let _ = decode::<Any>(bytes, Vec::new());
    read::<Vec<()>>(bytes);
    read::<Vec<u64>>(bytes);
    read::<Vec<Option<bool>>>(bytes);
    read::<[f64; 8]>(bytes);
    read::<String>(bytes);
    read::<std::ffi::CString>(bytes);
    read::<std::collections::BTreeMap<u8, i64>>(bytes);
    read::<(u8, String, Vec<Vec<u8>>)>(bytes);
    read::<types::PlainValue>(bytes);
    read::<types::Enum>(bytes);
    read::<types::Internal>(bytes);
    read::<types::Adjacent>(bytes);
    read::<types::Untagged>(bytes);
    read::<types::Flat>(bytes);
    read::<types::Forever>(bytes);
    read::<Vec<types::Forever>>(bytes);
    read::<std::collections::BTreeMap<types::Forever, ()>>(bytes);
}
