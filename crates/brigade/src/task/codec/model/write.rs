//! Writes a value with just the methods that its type has.

use std::sync::Arc;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{Any, NAMES, Struct, Type, Value, Variant};

/// A value, and how it is written: in which order, with which counts.
pub(super) struct Written {
    of: Arc<Type>,
    value: Value,
    habits: Vec<u8>,
}

impl Written {
    pub(super) fn new(of: Arc<Type>, value: Value, habits: &[u8]) -> Written {
        let habits = habits.to_vec();
        Written { of, value, habits }
    }

    /// The answer to "what is it?".
    pub(super) fn as_any(&self) -> Any {
        self.part().as_any()
    }

    fn part(&self) -> Part<'_> {
        Part {
            of: &self.of,
            value: &self.value,
            habits: &self.habits,
        }
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.part().serialize(s)
    }
}

impl<'de> serde::Deserialize<'de> for Written {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("only written"))
    }
}

/// A part of a value.
#[derive(Clone, Copy)]
struct Part<'v> {
    of: &'v Type,
    value: &'v Value,
    habits: &'v [u8],
}

impl<'v> Part<'v> {
    fn with(self, of: &'v Type, value: &'v Value) -> Part<'v> {
        Part { of, value, ..self }
    }

    /// What is done here, one of `n` ways; the same for the same place.
    fn habit(self, n: usize, salt: usize) -> usize {
        let at = (std::ptr::from_ref(self.value) as usize >> 3).wrapping_mul(31) + salt;
        match self.habits.len() {
            0 => 0,
            len => usize::from(self.habits[at % len]) % n,
        }
    }

    /// How long it says that it is.
    fn declared(self, len: usize) -> Option<usize> {
        match self.habit(8, 1) {
            0 => None,
            1 => Some(len + 1),
            2 => Some(len.saturating_sub(1)),
            3 => Some(0),
            _ => Some(len),
        }
    }

    /// The struct's fields in the order in which they are written; of those that are skipped, maybe
    /// with a word.
    fn fields(self, of: &'v Struct) -> Vec<(&'static str, Option<Part<'v>>)> {
        let Value::Fields(values) = self.value else {
            unreachable!("{:?}", self.value);
        };
        let parts = NAMES.iter().zip(of.fields.iter().zip(values));
        let mut fields: Vec<_> = parts
            .map(|(name, (of, value))| (*name, value.as_ref().map(|value| self.with(of, value))))
            .collect();
        match self.habit(6, 2) {
            0 => fields.reverse(),
            1 if !fields.is_empty() => {
                let first = self.habit(fields.len(), 3);
                fields.rotate_left(first);
            }
            _ => {}
        }
        if self.habit(2, 4) == 0 {
            fields.retain(|(_, part)| part.is_some());
        }
        fields
    }

    fn parts(self, types: &'v [Type]) -> impl Iterator<Item = Part<'v>> {
        let Value::Seq(values) = self.value else {
            unreachable!("{:?}", self.value);
        };
        types
            .iter()
            .zip(values)
            .map(move |(of, value)| self.with(of, value))
    }

    fn as_any(self) -> Any {
        let seq = |types: &'v [Type]| Any::Seq(self.parts(types).map(Part::as_any).collect());
        let map = |part: Part<'v>, of: &'v Struct| {
            let fields = part.fields(of).into_iter();
            let entries = fields
                .filter_map(|(name, part)| Some((Any::Text(name.to_owned()), part?.as_any())));
            Any::Map(entries.collect())
        };
        match (self.of, self.value) {
            (Type::Newtype(_, of), value) => self.with(of, value).as_any(),
            (Type::Option(of), Value::Some(value)) => {
                Any::Some(Box::new(self.with(of, value).as_any()))
            }
            (Type::Seq(of), Value::Seq(values)) => Any::Seq(
                values
                    .iter()
                    .map(|value| self.with(of, value).as_any())
                    .collect(),
            ),
            (Type::Tuple(types) | Type::TupleStruct(_, types), _) => seq(types),
            (Type::Map(key, of), Value::Map(entries)) => {
                let entries = entries
                    .iter()
                    .map(|(k, v)| (self.with(key, k).as_any(), self.with(of, v).as_any()));
                Any::Map(entries.collect())
            }
            (Type::Struct(of), _) => map(self, of),
            (Type::Enum(variants), Value::Variant(number, value)) => {
                let name = Any::Text(NAMES[*number].to_owned());
                let it = match &variants[*number] {
                    Variant::Unit => return name,
                    Variant::Newtype(of) => self.with(of, value).as_any(),
                    Variant::Tuple(types) => Any::Seq(
                        self.with(self.of, value)
                            .parts(types)
                            .map(Part::as_any)
                            .collect(),
                    ),
                    Variant::Struct(of) => map(self.with(self.of, value), of),
                };
                Any::Map(vec![(name, it)])
            }
            (_, Value::Bool(v)) => Any::Bool(*v),
            (_, Value::Int(v)) => u128::try_from(*v).map_or(Any::Negative(*v), Any::Uint),
            (_, Value::Uint(v)) => Any::Uint(*v),
            (_, Value::F32(v)) => Any::F32(*v),
            (_, Value::F64(v)) => Any::F64(*v),
            (_, Value::Char(v)) => Any::Char(*v),
            (_, Value::Text(v)) => Any::Text(v.clone()),
            (_, Value::Bytes(v)) => Any::Bytes(v.clone()),
            (_, Value::Unit) => Any::Unit,
            (_, Value::None) => Any::None,
            (of, value) => unreachable!("{value:?} of {of:?}"),
        }
    }
}

/// Writes each of these by one method, and ends.
macro_rules! all {
    ($writer:expr, $method:ident, $parts:expr) => {{
        let mut writer = $writer;
        for part in $parts {
            writer.$method(&part)?;
        }
        writer.end()
    }};
}

macro_rules! fields {
    ($writer:expr, $fields:expr) => {{
        let mut writer = $writer;
        for (name, part) in $fields {
            match part {
                Some(part) => writer.serialize_field(name, &part)?,
                None => writer.skip_field(name)?,
            }
        }
        writer.end()
    }};
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (self.of, self.value) {
            (_, Value::Bool(v)) => s.serialize_bool(*v),
            (Type::Int(8), Value::Int(v)) => s.serialize_i8(*v as i8),
            (Type::Int(16), Value::Int(v)) => s.serialize_i16(*v as i16),
            (Type::Int(32), Value::Int(v)) => s.serialize_i32(*v as i32),
            (Type::Int(64), Value::Int(v)) => s.serialize_i64(*v as i64),
            (Type::Int(_), Value::Int(v)) => s.serialize_i128(*v),
            (Type::Uint(8), Value::Uint(v)) => s.serialize_u8(*v as u8),
            (Type::Uint(16), Value::Uint(v)) => s.serialize_u16(*v as u16),
            (Type::Uint(32), Value::Uint(v)) => s.serialize_u32(*v as u32),
            (Type::Uint(64), Value::Uint(v)) => s.serialize_u64(*v as u64),
            (Type::Uint(_), Value::Uint(v)) => s.serialize_u128(*v),
            (_, Value::F32(v)) => s.serialize_f32(f32::from_bits(*v)),
            (_, Value::F64(v)) => s.serialize_f64(f64::from_bits(*v)),
            (_, Value::Char(v)) => s.serialize_char(*v),
            (_, Value::Text(v)) if self.habit(4, 5) == 0 => s.collect_str(v),
            (_, Value::Text(v)) => s.serialize_str(v),
            (_, Value::Bytes(v)) => s.serialize_bytes(v),
            (Type::Unit, _) => s.serialize_unit(),
            (Type::UnitStruct(name), _) => s.serialize_unit_struct(name),
            (Type::Newtype(name, of), value) => {
                s.serialize_newtype_struct(name, &self.with(of, value))
            }
            (Type::Option(_), Value::None) => s.serialize_none(),
            (Type::Option(of), Value::Some(value)) => s.serialize_some(&self.with(of, value)),
            (Type::Seq(of), Value::Seq(values)) => {
                let parts = values.iter().map(|value| self.with(of, value));
                all!(
                    s.serialize_seq(self.declared(values.len()))?,
                    serialize_element,
                    parts
                )
            }
            (Type::Tuple(types), _) => all!(
                s.serialize_tuple(types.len())?,
                serialize_element,
                self.parts(types)
            ),
            (Type::TupleStruct(name, types), _) => {
                all!(
                    s.serialize_tuple_struct(name, types.len())?,
                    serialize_field,
                    self.parts(types)
                )
            }
            (Type::Map(key, of), Value::Map(entries)) => {
                let mut map = s.serialize_map(self.declared(entries.len()))?;
                for (k, v) in entries {
                    map.serialize_key(&self.with(key, k))?;
                    map.serialize_value(&self.with(of, v))?;
                }
                map.end()
            }
            (Type::Struct(of), _) => fields!(
                s.serialize_struct(of.name, of.fields.len())?,
                self.fields(of)
            ),
            (Type::Enum(variants), Value::Variant(number, value)) => {
                let (name, index) = (NAMES[*number], *number as u32);
                let inner = self.with(self.of, value);
                match &variants[*number] {
                    Variant::Unit => s.serialize_unit_variant("E", index, name),
                    Variant::Newtype(of) => {
                        s.serialize_newtype_variant("E", index, name, &self.with(of, value))
                    }
                    Variant::Tuple(types) => all!(
                        s.serialize_tuple_variant("E", index, name, types.len())?,
                        serialize_field,
                        inner.parts(types)
                    ),
                    Variant::Struct(of) => fields!(
                        s.serialize_struct_variant("E", index, name, of.fields.len())?,
                        inner.fields(of)
                    ),
                }
            }
            (of, value) => unreachable!("{value:?} of {of:?}"),
        }
    }
}
