//! Types of well-known crates.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use either::Either;
use num_bigint::{BigInt, BigUint};
use ordered_float::{NotNan, OrderedFloat};
use rust_decimal::Decimal;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use serde_with::{As, DisplayFromStr, Same};
use uuid::Uuid;

use crate::family;

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Flags: u32 {
        const A = 1;
        const B = 2;
        const FAR = 1 << 31;
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    #[serde(with = "As::<DisplayFromStr>")]
    number: u128,
    #[serde(with = "As::<Vec<(DisplayFromStr, Same)>>")]
    pairs: Vec<(i8, bool)>,
    #[serde(with = "As::<serde_with::Bytes>")]
    bytes: Vec<u8>,
    #[serde(with = "As::<serde_with::DurationSeconds<u64>>")]
    time: std::time::Duration,
}

/// Text that is JSON, as it was written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Raw {
    before: u8,
    raw: Box<RawValue>,
    after: u8,
}

impl PartialEq for Raw {
    fn eq(&self, other: &Raw) -> bool {
        (self.before, self.raw.get(), self.after) == (other.before, other.raw.get(), other.after)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extra {
    id: u8,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

fn json() -> Value {
    json!({ "null": null, "bool": true, "numbers": [0, -1, u64::MAX, i64::MIN, 0.5, 1e300], "text": "ä", "list": [[], {}], "deep": { "x": [{ "y": null }] } })
}

fn table() -> toml::Value {
    let mut table = toml::Table::new();
    table.insert("integer".into(), toml::Value::Integer(-1));
    table.insert("real".into(), toml::Value::Float(f64::INFINITY));
    table.insert(
        "time".into(),
        toml::Value::Datetime("1979-05-27T07:32:00.5-07:00".parse().expect("a time")),
    );
    table.insert(
        "list".into(),
        toml::Value::Array(vec!["x".into(), toml::Value::Boolean(true)]),
    );
    toml::Value::Table(toml::Table::from_iter([(
        "table".into(),
        toml::Value::Table(table),
    )]))
}

fn cbor() -> Vec<ciborium::Value> {
    use ciborium::Value;
    vec![
        Value::Null,
        Value::Integer(u64::MAX.into()),
        Value::Integer(i64::MIN.into()),
        Value::Integer(
            (-1_i128 - i128::from(u64::MAX))
                .try_into()
                .expect("as small as there are"),
        ),
        Value::Bytes(vec![0, 255]),
        Value::Float(0.25),
        Value::Map(vec![
            (Value::Integer(1.into()), Value::Text("one".into())),
            (Value::Bool(true), Value::Array(vec![])),
        ]),
        Value::Tag(32, Box::new(Value::Text("tagged".into()))),
        Value::Array(vec![Value::Tag(
            1,
            Box::new(Value::Tag(2, Box::new(Value::Null))),
        )]),
    ]
}

fn msgpack() -> Vec<rmpv::Value> {
    use rmpv::Value;
    vec![
        Value::Nil,
        Value::from(u64::MAX),
        Value::from(i64::MIN),
        Value::F32(0.1),
        Value::F64(0.1),
        Value::Binary(vec![1, 255]),
        Value::Map(vec![
            (Value::Nil, Value::from("nil")),
            (Value::from(1), Value::Array(vec![])),
        ]),
        Value::Ext(5, vec![1, 2, 3]),
        Value::Array(vec![Value::Ext(-1, vec![]), Value::from(2)]),
    ]
}

fn any() -> Vec<serde_value::Value> {
    use serde_value::Value;
    vec![
        Value::Unit,
        Value::U64(5),
        Value::I64(-5),
        Value::F32(0.5),
        Value::Char('c'),
        Value::Bytes(vec![1]),
        Value::Option(None),
        Value::Option(Some(Box::new(Value::String("x".into())))),
        Value::Option(Some(Box::new(Value::Option(None)))),
        Value::Seq(vec![
            Value::Bool(true),
            Value::Option(Some(Box::new(Value::Unit))),
        ]),
        Value::Map([(Value::U64(1), Value::Seq(vec![]))].into()),
    ]
}

fn narrow() -> Vec<serde_value::Value> {
    use serde_value::Value;
    vec![
        Value::U8(5),
        Value::I32(-5),
        Value::I64(5),
        Value::Seq(vec![Value::U16(1); 5]),
        Value::Newtype(Box::new(Value::Bool(true))),
    ]
}

fn widened() -> Vec<serde_value::Value> {
    use serde_value::Value;
    vec![
        Value::U64(5),
        Value::I64(-5),
        Value::U64(5),
        Value::Seq(vec![Value::U64(1); 5]),
        Value::Bool(true),
    ]
}

fn time(text: &str) -> DateTime<Utc> {
    DateTime::from_str(text).expect("a time")
}

family! {
    Json(Value) "serde_json::Value" [json(), Value::Null, json!([]), json!(7), json!(-7)] => Equal;
    Extra(Extra) "serde_json::Map, flattened" [Extra { id: 1, rest: serde_json::Map::from_iter([("x".into(), json()), ("null".into(), Value::Null)]) }] => Equal;
    Number(Vec<serde_json::Number>) "serde_json::Number" [vec![1.into(), (-1).into(), u64::MAX.into(), serde_json::Number::from_f64(0.5).expect("finite")]] => Equal;
    Raw(Raw) "serde_json's RawValue" [Raw { before: 1, raw: RawValue::from_string("[1,  {\"a\": 2.50}]".into()).expect("JSON"), after: 2 }] => Equal;
    Toml(toml::Value) "toml::Value, with a time" [table()] => Equal;
    Cbor(ciborium::Value) "ciborium::Value, with tags" cbor() => Equal;
    Msgpack(rmpv::Value) "rmpv::Value, with extensions" msgpack() => Equal;
    Any(serde_value::Value) "serde_value::Value" any() => Equal;
    Narrow(serde_value::Value) "the same, with widths of integers and newtypes" narrow() => Becomes("widest integer, no newtype", widened());
    Decimal(Decimal) "rust_decimal" [Decimal::MAX, Decimal::new(-150, 2), Decimal::ZERO] => Equal;
    Uuid(Uuid) "uuid" [Uuid::from_u128(u128::MAX / 3), Uuid::nil()] => Equal;
    Times((DateTime<Utc>, NaiveDate, NaiveDateTime, TimeDelta)) "chrono" [(time("2026-11-28T15:00:00.123456789Z"), NaiveDate::MIN, time("1969-01-01T00:00:00Z").naive_utc(), TimeDelta::MAX)] => Equal;
    Versions((Version, VersionReq)) "semver" [(Version::new(1, 2, u64::MAX), VersionReq::parse(">=1.2, <3").expect("a requirement"))] => Equal;
    Flags(Flags) "bitflags" [Flags::empty(), Flags::A | Flags::FAR, Flags::from_bits_retain(1 << 7)] => Equal;
    Reals((OrderedFloat<f64>, OrderedFloat<f32>, NotNan<f64>)) "ordered-float" [(f64::NAN.into(), (0.1).into(), NotNan::new(-0.5).expect("a number"))] => Equal;
    Big((BigInt, BigUint)) "num-bigint" [(BigInt::from(i128::MIN) * 7, BigUint::from(u128::MAX) * 9_u8), (BigInt::ZERO, BigUint::ZERO)] => Equal;
    Either((Either<u8, String>, Either<u8, String>)) "either" [(Either::Left(1), Either::Right("r".into()))] => Equal;
    Shown(Shown) "serde_with" [Shown { number: u128::MAX, pairs: vec![(-1, true)], bytes: vec![1, 255], time: std::time::Duration::from_secs(7) }] => Equal;
}
