//! Structs, and what attributes of the derive make of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::family;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Six {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) ok: bool,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Empty {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newtype(Vec<String>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OneOf(u8);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tuple(u8, String, Option<i64>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Transparent {
    inner: Six,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Renamed {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(rename = "")]
    nothing: u8,
    #[serde(rename = "größe µ")]
    size: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RenamedOneWay {
    #[serde(rename(serialize = "out", deserialize = "in"))]
    a: u8,
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RenamedWithAlias {
    #[serde(rename(serialize = "out", deserialize = "in"), alias = "out")]
    a: u8,
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "SCREAMING-KEBAB-CASE", deserialize = "camelCase"))]
pub(crate) struct RenamedAll {
    #[serde(alias = "FIRST-ONE")]
    first_one: u8,
    #[serde(alias = "SECOND-ONE")]
    second_one: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aliased {
    #[serde(alias = "z")]
    a: u8,
    #[serde(alias = "a2", alias = "a1")]
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Strict {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Defaulted {
    #[serde(skip_serializing_if = "is_seven")]
    a: u8,
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SkippedIf {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u32>,
    b: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    c: Vec<u8>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    d: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    e: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    a: u8,
    #[serde(skip)]
    b: u8,
    c: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SkippedWithDefault {
    a: u8,
    #[serde(skip, default = "seven")]
    b: u8,
    c: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exchanged {
    #[serde(skip_serializing, default)]
    a: u32,
    #[serde(skip_deserializing)]
    b: u32,
    c: u32,
    d: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotWritten {
    a: u8,
    #[serde(skip_serializing)]
    b: u8,
    c: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotWrittenOption {
    a: u8,
    #[serde(skip_serializing)]
    b: Option<u8>,
    c: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotRead {
    #[serde(skip_deserializing)]
    a: u8,
    b: u8,
    c: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotReadStrict {
    a: u8,
    #[serde(skip_deserializing)]
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct With {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    number: u64,
    #[serde(with = "halves")]
    whole: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u8, u8)", into = "(u8, u8)")]
pub(crate) struct Converted {
    sum: u8,
    first: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flattened {
    a: u8,
    #[serde(flatten)]
    inner: Inner,
    z: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inner {
    b: u128,
    c: Option<Option<u8>>,
    #[serde(flatten)]
    more: Innermost,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Innermost {
    d: f64,
    e: Option<()>,
    f: Vec<u8>,
    g: char,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedSmall {
    a: u8,
    #[serde(flatten)]
    inner: SmallInner,
    z: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SmallInner {
    b: u64,
    c: Option<Option<u8>>,
    #[serde(flatten)]
    more: Innermost,
    unit: (),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedMap {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedNumbers {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<u32, i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedOption {
    a: u8,
    #[serde(flatten)]
    inner: Option<Small>,
    z: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedTwice {
    #[serde(flatten)]
    one: Small,
    #[serde(flatten)]
    two: Inner2,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlattenedSkipping {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<u8>,
    #[serde(flatten)]
    small: Small,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Small {
    x: u16,
    y: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inner2 {
    v: Vec<Small>,
    t: (u8, String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generic<T> {
    it: T,
    again: Option<T>,
    #[serde(default)]
    none: PhantomData<T>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Many {
    a0: u8,
    a1: u16,
    a2: u32,
    a3: u64,
    a4: i8,
    a5: i16,
    a6: i32,
    a7: i64,
    a8: f32,
    a9: f64,
    b0: String,
    b1: (),
    b2: bool,
    b3: char,
    b4: Option<u8>,
    b5: Vec<u8>,
    b6: [u8; 3],
    b7: (u8, i8),
    b8: Empty,
    b9: Unit,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Owned {
    text: Cow<'static, str>,
    numbers: Cow<'static, [u32]>,
    b: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unit;

fn is_seven(n: &u8) -> bool {
    *n == 0
}

fn seven() -> u8 {
    7
}

fn as_text<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{n:x}"))
}

fn from_text<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    u64::from_str_radix(&String::deserialize(d)?, 16).map_err(serde::de::Error::custom)
}

mod halves {
    use super::*;

    pub(super) fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        ((n >> 32) as u32, *n as u32).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        <(u32, u32)>::deserialize(d).map(|(high, low)| u64::from(high) << 32 | u64::from(low))
    }
}

impl From<(u8, u8)> for Converted {
    fn from((first, second): (u8, u8)) -> Converted {
        Converted {
            sum: first + second,
            first,
        }
    }
}

impl From<Converted> for (u8, u8) {
    fn from(it: Converted) -> (u8, u8) {
        (it.first, it.sum - it.first)
    }
}

/// An even number, or so its reader says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Even(u32);

impl TryFrom<u32> for Even {
    type Error = String;

    fn try_from(n: u32) -> Result<Even, String> {
        match n % 2 {
            0 => Ok(Even(n)),
            _ => Err(format!("{n} is odd, which nobody expected")),
        }
    }
}

/// A type of somebody else's, whose fields are private.
mod theirs {
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Span(u32, u32);

    impl Span {
        pub(crate) fn new(from: u32, to: u32) -> Span {
            Span(from, to)
        }
        pub(crate) fn from(&self) -> u32 {
            self.0
        }
        pub(crate) fn to(&self) -> u32 {
            self.1
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "theirs::Span")]
struct SpanDef {
    #[serde(getter = "theirs::Span::from")]
    from: u32,
    #[serde(getter = "theirs::Span::to")]
    to: u32,
}

impl From<SpanDef> for theirs::Span {
    fn from(def: SpanDef) -> theirs::Span {
        theirs::Span::new(def.from, def.to)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remote {
    #[serde(with = "SpanDef")]
    span: theirs::Span,
    after: u8,
}

fn six() -> Six {
    Six {
        id: 7,
        at: 1 << 40,
        x: 0.5,
        y: -0.0,
        ok: true,
        name: "six".into(),
    }
}

fn innermost() -> Innermost {
    Innermost {
        d: 1.5,
        e: Some(()),
        f: vec![1, 2, 3, 4, 5],
        g: 'ß',
    }
}

fn many() -> Many {
    Many {
        a0: 255,
        a7: i64::MIN,
        a9: f64::MAX,
        b3: '\0',
        b5: vec![0; 300],
        b6: [1, 2, 3],
        ..Many::default()
    }
}

family! {
    Six(Six) "struct" [six(), Six::default()] => Equal;
    Empty(Empty) "struct without fields" [Empty {}] => Equal;
    Unit(Unit) "unit struct" [Unit] => Equal;
    Newtype(Newtype) "newtype" [Newtype(vec!["a".into()]), Newtype::default()] => Equal;
    NewtypeOfMany((Generic<Newtype>, Generic<Unit>, Generic<Empty>)) "newtypes of other kinds" [Default::default()] => Equal;
    OneOf(OneOf) "tuple struct of one" [OneOf(1)] => Equal;
    Tuple(Tuple) "tuple struct" [Tuple(1, "two".into(), Some(3)), Tuple::default()] => Equal;
    Transparent(Transparent) "transparent" [Transparent { inner: six() }] => Equal;
    Renamed(Renamed) "rename, also to an empty name and beyond ASCII" [Renamed { kind: 1, nothing: 2, size: 3 }] => Equal;
    RenamedOneWay(RenamedOneWay) "rename: another name for reading" [RenamedOneWay { a: 1, b: 2 }] => Refused("missing field `in`", "RenamedOneWay");
    RenamedWithAlias(RenamedWithAlias) "the same, with the other as an alias" [RenamedWithAlias { a: 1, b: 2 }] => Equal;
    RenamedAll(RenamedAll) "rename_all: another way for reading, with aliases" [RenamedAll { first_one: 1, second_one: 2 }] => Equal;
    Aliased(Aliased) "alias" [Aliased { a: 1, b: 2 }] => Equal;
    Strict(Strict) "deny_unknown_fields, with one left out" [Strict { a: Some(1), b: 2 }, Strict { a: None, b: 2 }] => Equal;
    Defaulted(Defaulted) "default for the struct, with one left out" [Defaulted { a: 0, b: 1 }, Defaulted { a: 1, b: 0 }] => Equal;
    SkippedIf(SkippedIf) "skip_serializing_if" [
        SkippedIf { a: Some(1), b: 2, c: vec![3], d: "4".into(), e: Some(5) },
        SkippedIf { b: 2, d: "4".into(), ..SkippedIf::default() },
        SkippedIf { a: Some(1), e: Some(5), ..SkippedIf::default() },
        SkippedIf::default(),
    ] => Equal;
    SkippedIfTogether(Vec<SkippedIf>) "the same, several at once" [vec![
        SkippedIf { e: Some(5), ..SkippedIf::default() },
        SkippedIf { a: Some(1), b: 2, c: vec![3], d: "4".into(), e: Some(5) },
        SkippedIf { c: vec![3], ..SkippedIf::default() },
    ]] => Equal;
    Skipped(Skipped) "skip" [Skipped { a: 1, b: 2, c: 3 }] => Becomes("its default", [Skipped { a: 1, b: 0, c: 3 }]);
    SkippedWithDefault(SkippedWithDefault) "skip, with a default of its own"
        [SkippedWithDefault { a: 1, b: 2, c: 3 }] => Becomes("its default", [SkippedWithDefault { a: 1, b: 7, c: 3 }]);
    Exchanged(Exchanged) "skip_serializing on one, skip_deserializing on another"
        [Exchanged { a: 1, b: 2, c: 3, d: 4 }] => Becomes("its default", [Exchanged { a: 0, b: 0, c: 3, d: 4 }]);
    NotWritten(NotWritten) "skip_serializing, without a default" [NotWritten { a: 1, b: 2, c: 3 }] => Refused("missing field `b`", "NotWritten");
    NotWrittenOption(NotWrittenOption) "skip_serializing of an option"
        [NotWrittenOption { a: 1, b: Some(2), c: 3 }] => Becomes("its default", [NotWrittenOption { a: 1, b: None, c: 3 }]);
    NotRead(NotRead) "skip_deserializing" [NotRead { a: 1, b: 2, c: 3 }] => Becomes("its default", [NotRead { a: 0, b: 2, c: 3 }]);
    NotReadStrict(NotReadStrict) "skip_deserializing and deny_unknown_fields" [NotReadStrict { a: 1, b: 2 }] => Refused("unknown field `b`", "NotReadStrict");
    With(With) "serialize_with, deserialize_with, with" [With { number: 255, whole: u64::MAX - 1 }] => Equal;
    Converted(Converted) "from and into" [Converted { sum: 7, first: 3 }] => Equal;
    Even(Even) "try_from" [Even(2)] => Equal;
    Odd(Even) "try_from that fails" [Even(3)] => Refused("3 is odd, which nobody expected");
    Remote(Remote) "remote, with getters" [Remote { span: theirs::Span::new(1, 1 << 30), after: 3 }] => Equal;
    Flattened(FlattenedSmall) "flatten in flatten: options of options, units, bytes" [
        FlattenedSmall { inner: SmallInner { b: u64::MAX, c: Some(None), more: innermost(), unit: () }, ..Default::default() },
        FlattenedSmall { inner: SmallInner { b: 1, c: Some(Some(3)), more: innermost(), unit: () }, ..Default::default() },
        FlattenedSmall { inner: SmallInner { b: 1, c: None, more: Innermost { e: None, ..innermost() }, unit: () }, ..Default::default() },
    ] => Equal;
    FlattenedWide(Flattened) "u128 in flatten" [Flattened { inner: Inner { b: u128::MAX, ..Inner::default() }, ..Flattened::default() }] => Refused("128");
    FlattenedMap(FlattenedMap) "flatten of a map" [FlattenedMap { a: 1, rest: BTreeMap::from([("x".into(), -1), ("".into(), i64::MIN)]) }] => Equal;
    FlattenedNumbers(FlattenedNumbers) "flatten of a map with numbers for keys" [FlattenedNumbers { a: 1, rest: BTreeMap::from([(7, -1), (u32::MAX, 1)]) }] => Equal;
    FlattenedOption(FlattenedOption) "flatten of an option" [
        FlattenedOption { a: 1, inner: Some(Small { x: 2, y: None }), z: 3 },
        FlattenedOption { a: 1, inner: None, z: 3 },
    ] => Equal;
    FlattenedTwice(FlattenedTwice) "flatten twice" [FlattenedTwice {
        one: Small { x: 1, y: Some("2".into()) },
        two: Inner2 { v: vec![Small::default()], t: (3, "4".into()) },
    }] => Equal;
    FlattenedSkipping(FlattenedSkipping) "flatten and skip_serializing_if" [
        FlattenedSkipping { a: None, small: Small { x: 1, y: None } },
        FlattenedSkipping { a: Some(1), small: Small { x: 1, y: None } },
    ] => Equal;
    Generics((Generic<u8>, Generic<Generic<String>>, Generic<Option<u8>>)) "generic struct, of several types at once" [(
        Generic { it: 1, again: Some(2), none: PhantomData },
        Generic { it: Generic { it: "a".into(), again: None, none: PhantomData }, ..Default::default() },
        Generic { it: None, again: Some(None), none: PhantomData },
    )] => Equal;
    Many(Many) "struct of twenty fields" [many(), Many::default()] => Equal;
    Owned(Owned) "Cow, owned on arrival" [Owned { text: "text".into(), numbers: Cow::Borrowed(&[1, 2, 3, 1 << 31]), b: 1 }] => Equal;
}
