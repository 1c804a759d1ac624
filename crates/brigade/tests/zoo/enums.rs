//! Enums: the four representations, and what attributes make of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::family;
use crate::structs::{Six, Unit};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Plain {
    A,
    B(u8),
    C(u8, String),
    D { x: u8, y: Option<i8> },
    E(()),
    F(Vec<Plain>),
    G {},
    H(),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Key {
    A,
    B,
    #[serde(rename = "see")]
    C,
}

// The first of them is not written: all others would shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ledger {
    #[serde(skip)]
    Hidden,
    Debit(u64),
    Credit(u64),
    #[serde(skip_serializing)]
    Spent(u64),
    #[serde(skip_deserializing)]
    Lost(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum Kebab {
    FirstOne {
        some_field: u8,
    },
    #[serde(alias = "x")]
    SecondOne,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Internal {
    Unit,
    Struct {
        x: u8,
        deep: Option<Option<u8>>,
        nan: Bits,
    },
    New(Inner),
    Map(BTreeMap<String, u8>),
    UnitStruct(Unit),
    Nothing(()),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum InternalWide {
    Struct { x: u128 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum InternalTuple {
    New(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
pub(crate) enum Adjacent {
    Unit,
    New(u8),
    Option(Option<u8>),
    Tuple(u8, String),
    Struct { x: u8, y: Option<Option<u8>> },
    Nothing(()),
    Wide(u128),
    Again(Box<Adjacent>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c", deny_unknown_fields)]
pub(crate) enum AdjacentStrict {
    Unit,
    New(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Untagged {
    Nothing(()),
    Flag(bool),
    Number(i64),
    Real(Bits),
    Char(char),
    Text(String),
    Tuple(u8, String, bool),
    List(Vec<Untagged>),
    Bytes(serde_bytes::ByteBuf),
    Struct { x: u8, y: Option<Option<u8>> },
    Enum(Plain),
    Keys(BTreeMap<u32, u8>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum UntaggedUnit {
    Number(u8),
    None,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PartlyUntagged {
    A(u8),
    #[serde(untagged)]
    Rest(BTreeMap<String, u8>),
    #[serde(untagged)]
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Other {
    A,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Generic<T> {
    It(T),
    More {
        it: T,
        next: Option<Box<Generic<T>>>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Never {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Crowd {
    A0,
    A1,
    A2,
    A3,
    A4,
    A5,
    A6,
    A7,
    A8,
    A9,
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B9(u8),
    C0(u8),
    C1 { x: u8 },
    C2(u8, u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub(crate) enum Converted {
    Zero,
    Many(u8),
}

impl From<u8> for Converted {
    fn from(n: u8) -> Converted {
        if n == 0 {
            Converted::Zero
        } else {
            Converted::Many(n)
        }
    }
}

impl From<Converted> for u8 {
    fn from(it: Converted) -> u8 {
        match it {
            Converted::Zero => 0,
            Converted::Many(n) => n,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inner {
    a: u64,
    b: Vec<f32>,
    key: (Key, char),
}

/// A number that is equal to itself, bit by bit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits(pub(crate) f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Bits) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// An enum by its number.
#[derive(
    Clone, Copy, Debug, PartialEq, serde_repr::Serialize_repr, serde_repr::Deserialize_repr,
)]
#[repr(i16)]
pub(crate) enum Repr {
    Minus = -300,
    One = 1,
}

pub(crate) const NAN: Bits = Bits(f64::from_bits(0x7ff4_dead_beef_0001));

fn crowd() -> Vec<Crowd> {
    use Crowd::*;
    vec![
        C2(1, 2),
        C1 { x: 3 },
        C0(4),
        B9(5),
        B8,
        B7,
        B6,
        B5,
        B4,
        B3,
        B2,
        B1,
        B0,
        A9,
        A8,
        A7,
        A6,
        A5,
        A4,
        A3,
        A2,
        A1,
        A0,
        C0(6),
        B9(7),
        A0,
    ]
}

family! {
    Plain(Plain) "enum, externally tagged" [
        Plain::A,
        Plain::B(1),
        Plain::C(2, "c".into()),
        Plain::D { x: 3, y: Some(-4) },
        Plain::D { x: 3, y: None },
        Plain::E(()),
        Plain::F(vec![Plain::A, Plain::F(vec![]), Plain::D { x: 0, y: None }]),
        Plain::G {},
        Plain::H(),
    ] => Equal;
    Skips(Ledger) "enum whose first variant is skipped" [Ledger::Debit(7), Ledger::Credit(7)] => Equal;
    SkipsIt(Ledger) "a variant that is skipped" [Ledger::Hidden] => Refused("Ledger::Hidden cannot be serialized");
    SkipsWriting(Ledger) "a variant that is not written" [Ledger::Spent(1)] => Refused("Ledger::Spent cannot be serialized");
    SkipsReading(Ledger) "a variant that is not read" [Ledger::Lost(1)] => Refused("unknown variant `Lost`, expected one of `Debit`, `Credit`, `Spent`");
    Kebab(Kebab) "enum, renamed" [Kebab::FirstOne { some_field: 1 }, Kebab::SecondOne] => Equal;
    Internal(Internal) "enum, internally tagged" [
        Internal::Unit,
        Internal::Struct { x: 1, deep: Some(None), nan: NAN },
        Internal::Struct { x: 1, deep: None, nan: Bits(-0.0) },
        Internal::Struct { x: 1, deep: Some(Some(2)), nan: Bits(1.0) },
        Internal::New(Inner { a: u64::MAX, b: vec![0.1; 7], key: (Key::C, '\u{10ffff}') }),
        Internal::Map(BTreeMap::from([("x".into(), 1)])),
        Internal::UnitStruct(Unit),
        Internal::Nothing(()),
    ] => Equal;
    InternalWide(InternalWide) "u128, internally tagged" [InternalWide::Struct { x: 1 }, InternalWide::Struct { x: u128::MAX }] => Refused("128");
    InternalNumber(InternalTuple) "a number, internally tagged" [InternalTuple::New(1)] => Refused("cannot serialize tagged newtype variant InternalTuple::New containing an integer");
    Adjacent(Adjacent) "enum, adjacently tagged" [
        Adjacent::Unit,
        Adjacent::New(1),
        Adjacent::Option(None),
        Adjacent::Option(Some(1)),
        Adjacent::Tuple(1, "t".into()),
        Adjacent::Struct { x: 1, y: Some(None) },
        Adjacent::Struct { x: 1, y: None },
        Adjacent::Nothing(()),
        Adjacent::Wide(u128::MAX),
        Adjacent::Again(Box::new(Adjacent::Again(Box::new(Adjacent::Unit)))),
    ] => Equal;
    AdjacentStrict(AdjacentStrict) "the same, with deny_unknown_fields" [AdjacentStrict::Unit, AdjacentStrict::New(2)] => Equal;
    Untagged(Untagged) "enum, untagged" [
        Untagged::Nothing(()),
        Untagged::Flag(true),
        Untagged::Number(i64::MIN),
        Untagged::Number(200),
        Untagged::Real(NAN),
        Untagged::Char('c'),
        Untagged::Text("text".into()),
        Untagged::Bytes(serde_bytes::ByteBuf::from(vec![0, 255])),
        Untagged::Tuple(1, "2".into(), true),
        Untagged::List(vec![Untagged::Number(1), Untagged::List(vec![]), Untagged::Nothing(())]),
        Untagged::List((0..9).map(Untagged::Number).collect()),
        Untagged::Struct { x: 1, y: Some(None) },
        Untagged::Struct { x: 1, y: Some(Some(2)) },
        Untagged::Enum(Plain::C(1, "2".into())),
        Untagged::Enum(Plain::D { x: 1, y: None }),
        Untagged::Keys(BTreeMap::from([(7, 1)])),
    ] => Equal;
    UntaggedUnit(UntaggedUnit) "untagged, with a unit" [UntaggedUnit::None, UntaggedUnit::Number(1)] => Equal;
    PartlyUntagged(PartlyUntagged) "untagged, some variants only" [
        PartlyUntagged::A(1),
        PartlyUntagged::Rest(BTreeMap::from([("x".into(), 1), ("y".into(), 2)])),
        PartlyUntagged::Text("text".into()),
    ] => Equal;
    Other(Other) "other" [Other::A, Other::Unknown] => Equal;
    Generic(Generic<Generic<Option<u8>>>) "generic enum" [
        Generic::It(Generic::It(None)),
        Generic::More { it: Generic::It(Some(1)), next: Some(Box::new(Generic::It(Generic::It(None)))) },
    ] => Equal;
    Never((Option<Never>, Vec<Never>)) "enum without variants" [(None, vec![])] => Equal;
    Crowd(Crowd) "enum of more variants than a tag has room for" crowd() => Equal;
    Crowds(Vec<Crowd>) "the same, all at once" [crowd()] => Equal;
    Converted(Converted) "enum, from and into a number" [Converted::Zero, Converted::Many(9)] => Equal;
    Repr(Repr) "serde_repr" [Repr::Minus, Repr::One] => Equal;
    Result(Result<Result<u8, String>, Six>) "Result" [Ok(Ok(1)), Ok(Err("e".into())), Err(Six::default())] => Equal;
}
