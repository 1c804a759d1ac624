//! Keys that are numbers and truths in serde's buffers (`untagged`, `flatten`, internally tagged),
//! and where a name is asked for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::*;

/// A key that is written as itself, and read as a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AsText<T>(T);

impl<T: Serialize> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de, T: std::str::FromStr> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = text.parse().map(AsText);
        parsed.map_err(|_| de::Error::custom(format_args!("{text} is none")))
    }
}

type Texts = (BTreeMap<AsText<i64>, u8>, BTreeMap<AsText<bool>, u8>);

fn texts() -> Texts {
    let keys = [i64::MIN, -1, 0, 7, i64::MAX].map(|n| (AsText(n), 1));
    let truths = [true, false].map(|it| (AsText(it), 2));
    (BTreeMap::from(keys), BTreeMap::from(truths))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<M> {
    No(u8),
    Yes { map: M },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal<M> {
    No,
    Yes { map: M, last: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outer<M> {
    id: u8,
    #[serde(flatten)]
    inner: Inner<M>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner<M> {
    map: M,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat<K: Ord> {
    id: u8,
    #[serde(flatten)]
    map: BTreeMap<K, u8>,
}

fn arrives<T: Message + PartialEq + fmt::Debug>(value: &T) {
    assert_eq!(back::<T, T>(value).as_ref(), Ok(value));
}

fn arrives_as_in_json<T: Message + PartialEq + fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("JSON");
    let read = serde_json::from_str::<T>(&json).expect("JSON carries it");
    assert_eq!(&read, value);
    arrives(value);
}

fn in_all_buffers<M: Message + Clone + PartialEq + fmt::Debug>(
    map: M,
    arrives: impl Fn(&dyn Fn(bool)),
) {
    let untagged = Untagged::Yes { map: map.clone() };
    let internal = Internal::Yes {
        map: map.clone(),
        last: 9,
    };
    let outer = Outer {
        id: 1,
        inner: Inner { map },
    };
    arrives(&|json| each(json, &untagged));
    arrives(&|json| each(json, &internal));
    arrives(&|json| each(json, &outer));
    arrives(&|json| each(json, &vec![(untagged.clone(), Some(internal.clone())); 3]));
}

fn each<T: Message + PartialEq + fmt::Debug>(json: bool, value: &T) {
    match json {
        true => arrives_as_in_json(value),
        false => arrives(value),
    }
}

#[test]
fn keys_that_are_read_as_texts_are_texts_in_buffers() {
    in_all_buffers(texts(), |arrives| arrives(true));
    let flat = Flat {
        id: 1,
        map: BTreeMap::from([(AsText(-1_i64), 1), (AsText(7), 2)]),
    };
    arrives_as_in_json(&flat);
    arrives_as_in_json(&Flat {
        id: 1,
        map: BTreeMap::from([(AsText(true), 1), (AsText(false), 2)]),
    });
}

/// Which JSON does not carry.
#[test]
fn keys_that_are_read_as_numbers_are_numbers_in_buffers() {
    in_all_buffers(BTreeMap::from([(-1_i64, 1_u8), (7, 2)]), |arrives| {
        arrives(false);
    });
    in_all_buffers(BTreeMap::from([(u64::MAX, 1_u8), (7, 2)]), |arrives| {
        arrives(false);
    });
    in_all_buffers(HashMap::from([(true, 1_u8)]), |arrives| arrives(false));
    arrives(&Flat {
        id: 1,
        map: BTreeMap::from([(7_u64, 1), (8, 2)]),
    });
}

/// Beside what only an option will do for.
#[test]
fn options_in_buffers_stay_beside_keys_that_are_texts() {
    let options = vec![None, Some(None), Some(Some(()))];
    in_all_buffers((texts(), options), |arrives| arrives(false));
}

/// To the derive a number is that of a field, or of a variant, and not its name.
#[test]
fn a_number_where_a_name_is_asked_for_is_a_name() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Crossed {
        #[serde(rename = "1")]
        one: u8,
        #[serde(rename = "0")]
        zero: u8,
    }
    impl Serialize for Crossed {
        fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
            s.collect_map([(0, self.zero), (1, self.one)])
        }
    }
    arrives_as_in_json(&Crossed { one: 1, zero: 2 });

    #[derive(Debug, PartialEq, Deserialize)]
    enum Variants {
        #[serde(rename = "1")]
        One(u8),
        #[serde(rename = "0")]
        Zero(u8),
    }
    impl Serialize for Variants {
        fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
            let (Variants::One(n) | Variants::Zero(n)) = self;
            s.collect_map([(u8::from(matches!(self, Variants::One(_))), n)])
        }
    }
    arrives_as_in_json(&Variants::One(7));
    arrives_as_in_json(&Variants::Zero(7));

    // And no name is no field.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named {
        #[serde(default)]
        a: u8,
    }
    let unknown = BTreeMap::from([(0_u8, 9_u8)]);
    assert_eq!(back::<_, Named>(&unknown), Ok(Named { a: 0 }));
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        First(u8),
    }
    assert!(back::<_, Choice>(&unknown).is_err());
}
