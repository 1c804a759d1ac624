//! Reads a value as its type, or as whatever comes.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Any, NAMES, Struct, Type, Typed, Value, Variant, WANTED};

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let of = WANTED.with_borrow(|of| of.clone());
        of.ok_or_else(|| Error::custom("no type"))?
            .deserialize(d)
            .map(Typed)
    }
}

/// What a visitor expects.
fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("what its type says")
}

impl<'de> DeserializeSeed<'de> for &Type {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        let visitor = Typ(self);
        match self {
            Type::Bool => d.deserialize_bool(visitor),
            Type::Int(8) => d.deserialize_i8(visitor),
            Type::Int(16) => d.deserialize_i16(visitor),
            Type::Int(32) => d.deserialize_i32(visitor),
            Type::Int(64) => d.deserialize_i64(visitor),
            Type::Int(_) => d.deserialize_i128(visitor),
            Type::Uint(8) => d.deserialize_u8(visitor),
            Type::Uint(16) => d.deserialize_u16(visitor),
            Type::Uint(32) => d.deserialize_u32(visitor),
            Type::Uint(64) => d.deserialize_u64(visitor),
            Type::Uint(_) => d.deserialize_u128(visitor),
            Type::F32 => d.deserialize_f32(visitor),
            Type::F64 => d.deserialize_f64(visitor),
            Type::Char => d.deserialize_char(visitor),
            Type::Text => d.deserialize_string(visitor),
            Type::Bytes => d.deserialize_byte_buf(visitor),
            Type::Unit => d.deserialize_unit(visitor),
            Type::UnitStruct(name) => d.deserialize_unit_struct(name, visitor),
            Type::Option(_) => d.deserialize_option(visitor),
            Type::Newtype(name, _) => d.deserialize_newtype_struct(name, visitor),
            Type::Seq(_) => d.deserialize_seq(visitor),
            Type::Tuple(types) => d.deserialize_tuple(types.len(), visitor),
            Type::TupleStruct(name, types) => {
                d.deserialize_tuple_struct(name, types.len(), visitor)
            }
            Type::Map(..) => d.deserialize_map(visitor),
            Type::Struct(of) => {
                let fields = &NAMES[..of.fields.len()];
                match of.is_derived {
                    true => d.deserialize_struct(of.name, fields, derived::__Visitor(of)),
                    false => d.deserialize_struct(of.name, fields, FieldsVisitor(of)),
                }
            }
            Type::Enum(variants) => d.deserialize_enum("E", &NAMES[..variants.len()], visitor),
        }
    }
}

/// The visitor of a type.
struct Typ<'t>(&'t Type);

macro_rules! only {
    ($($visit:ident($number:ty) $type:pat => $value:expr;)*) => {
        $(fn $visit<E: Error>(self, v: $number) -> Result<Value, E> {
            match self.0 {
                $type => $value(v),
                other => Err(E::custom(format_args!("{v:?} came, and {other:?} was asked for"))),
            }
        })*
    };
}

impl<'de> Visitor<'de> for Typ<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting(f)
    }

    only! {
        visit_bool(bool) Type::Bool => |v| Ok(Value::Bool(v));
        visit_f32(f32) Type::F32 => |v: f32| Ok(Value::F32(v.to_bits()));
        visit_f64(f64) Type::F64 => |v: f64| Ok(Value::F64(v.to_bits()));
        visit_char(char) Type::Char => |v| Ok(Value::Char(v));
        visit_str(&str) Type::Text => |v: &str| Ok(Value::Text(v.to_owned()));
        visit_bytes(&[u8]) Type::Bytes => |v: &[u8]| Ok(Value::Bytes(v.to_vec()));
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Value, E> {
        match self.0 {
            Type::Int(_) => Ok(Value::Int(v)),
            Type::Uint(_) => u128::try_from(v).map(Value::Uint).map_err(E::custom),
            other => Err(E::custom(format_args!(
                "{v} came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<Value, E> {
        match self.0 {
            Type::Uint(_) => Ok(Value::Uint(v)),
            Type::Int(_) => i128::try_from(v).map(Value::Int).map_err(E::custom),
            other => Err(E::custom(format_args!(
                "{v} came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        self.visit_i128(v.into())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        self.visit_u128(v.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        match self.0 {
            Type::Unit | Type::UnitStruct(_) => Ok(Value::Unit),
            other => Err(E::custom(format_args!(
                "nothing came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        match self.0 {
            Type::Option(_) => Ok(Value::None),
            other => Err(E::custom(format_args!(
                "none came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        match self.0 {
            Type::Option(of) => Ok(Value::Some(Box::new(of.deserialize(d)?))),
            other => Err(Error::custom(format_args!(
                "some came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        match self.0 {
            Type::Newtype(_, of) => of.deserialize(d),
            other => Err(Error::custom(format_args!(
                "a newtype came, and {other:?} was asked for"
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        match self.0 {
            Type::Seq(of) => {
                while let Some(value) = seq.next_element_seed(&**of)? {
                    values.push(value);
                }
            }
            Type::Tuple(types) | Type::TupleStruct(_, types) => return Tuple(types).visit_seq(seq),
            other => {
                return Err(Error::custom(format_args!(
                    "a list came, and {other:?} was asked for"
                )));
            }
        }
        Ok(Value::Seq(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Type::Map(key, of) = self.0 else {
            return Err(Error::custom(format_args!(
                "a map came, and {:?} was asked for",
                self.0
            )));
        };
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(&**key)? {
            entries.push((key, map.next_value_seed(&**of)?));
        }
        Ok(Value::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let Type::Enum(variants) = self.0 else {
            return Err(Error::custom(format_args!(
                "a variant came, and {:?} was asked for",
                self.0
            )));
        };
        let (number, data) = data.variant_seed(NameNumber(variants.len()))?;
        let value = match &variants[number] {
            Variant::Unit => data.unit_variant().map(|()| Value::Unit),
            Variant::Newtype(of) => data.newtype_variant_seed(of),
            Variant::Tuple(types) => data.tuple_variant(types.len(), Tuple(types)),
            Variant::Struct(of) => {
                let fields = &NAMES[..of.fields.len()];
                match of.is_derived {
                    true => data.struct_variant(fields, derived::__Visitor(of)),
                    false => data.struct_variant(fields, FieldsVisitor(of)),
                }
            }
        };
        Ok(Value::Variant(number, Box::new(value?)))
    }
}

/// The number of a name, of this many names.
struct NameNumber(usize);

impl<'de> DeserializeSeed<'de> for NameNumber {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<usize, D::Error> {
        d.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameNumber {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting(f)
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<usize, E> {
        let names = &NAMES[..self.0];
        let number = names.iter().position(|name| *name == v);
        number.ok_or_else(|| E::unknown_field(v, names))
    }
}

struct Tuple<'t>(&'t [Type]);

impl<'de> Visitor<'de> for Tuple<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        for of in self.0 {
            let value = seq.next_element_seed(of)?;
            values.push(value.ok_or_else(|| A::Error::invalid_length(values.len(), &"more"))?);
        }
        Ok(Value::Seq(values))
    }
}

fn by_names<'de, A: MapAccess<'de>>(of: &Struct, mut map: A) -> Result<Value, A::Error> {
    let mut values: Vec<_> = of.fields.iter().map(|_| None).collect();
    while let Some(number) = map.next_key_seed(NameNumber(values.len()))? {
        if values[number].is_some() {
            return Err(Error::duplicate_field(NAMES[number]));
        }
        values[number] = Some(map.next_value_seed(&of.fields[number])?);
    }
    Ok(Value::Fields(values))
}

/// The visitor of a struct by a reader that knows its fields by their names.
struct FieldsVisitor<'t>(&'t Struct);

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        by_names(self.0, map)
    }
}

mod derived {
    //! What the derive would make.

    use super::*;

    pub(super) struct __Visitor<'t>(pub(super) &'t Struct);

    impl<'de> Visitor<'de> for __Visitor<'_> {
        type Value = Value;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            expecting(f)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
            match Tuple(&self.0.fields).visit_seq(seq)? {
                Value::Seq(values) => Ok(Value::Fields(values.into_iter().map(Some).collect())),
                other => Ok(other),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
            by_names(self.0, map)
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Any, D::Error> {
        d.deserialize_any(Anything)
    }
}

struct Anything;

macro_rules! anything {
    ($($visit:ident($v:ident: $type:ty) $any:expr;)*) => {
        $(fn $visit<E: Error>(self, $v: $type) -> Result<Any, E> {
            Ok($any)
        })*
    };
}

impl<'de> Visitor<'de> for Anything {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting(f)
    }

    anything! {
        visit_bool(v: bool) Any::Bool(v);
        visit_i64(v: i64) u128::try_from(v).map_or(Any::Negative(v.into()), Any::Uint);
        visit_i128(v: i128) u128::try_from(v).map_or(Any::Negative(v), Any::Uint);
        visit_u64(v: u64) Any::Uint(v.into());
        visit_u128(v: u128) Any::Uint(v);
        visit_f32(v: f32) Any::F32(v.to_bits());
        visit_f64(v: f64) Any::F64(v.to_bits());
        visit_char(v: char) Any::Char(v);
        visit_str(v: &str) Any::Text(v.to_owned());
        visit_bytes(v: &[u8]) Any::Bytes(v.to_vec());
    }

    fn visit_unit<E: Error>(self) -> Result<Any, E> {
        Ok(Any::Unit)
    }

    fn visit_none<E: Error>(self) -> Result<Any, E> {
        Ok(Any::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Any, D::Error> {
        Any::deserialize(d).map(|any| Any::Some(Box::new(any)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
        let mut all = Vec::new();
        while let Some(next) = seq.next_element()? {
            all.push(next);
        }
        Ok(Any::Seq(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = map.next_entry()? {
            all.push(entry);
        }
        Ok(Any::Map(all))
    }
}
