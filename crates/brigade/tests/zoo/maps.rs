//! Maps, with keys of all kinds.

use std::collections::{BTreeMap, HashMap};

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize, Serializer};

use crate::enums::{Converted, Key};
use crate::family;
use crate::structs::Six;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Point {
    x: i32,
    y: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Name {
    Known(String),
    Number { n: u128 },
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id(u64);

/// A key that is written as a text and read as a number, as JSON lets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct AsText(u64);

impl Serialize for AsText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

/// An order is part of what an `IndexMap` is, though not of its equality.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ordered(IndexMap<String, u8>, IndexSet<u32>);

impl PartialEq for Ordered {
    fn eq(&self, other: &Ordered) -> bool {
        self.0.iter().eq(&other.0) && self.1.iter().eq(&other.1)
    }
}

fn of<K: Ord, const N: usize>(keys: [K; N]) -> BTreeMap<K, Vec<u8>> {
    keys.into_iter().map(|key| (key, vec![1, 2])).collect()
}

family! {
    Texts(HashMap<String, u8>) "HashMap with texts for keys" [HashMap::new(), (0..100).map(|n| (n.to_string(), n)).collect()] => Equal;
    Unsigned(BTreeMap<u64, Vec<u8>>) "unsigned keys" [of([0, 1, 200, u64::MAX])] => Equal;
    Signed(BTreeMap<i8, Vec<u8>>) "signed keys" [of([-128, -1, 0, 127])] => Equal;
    Wide(BTreeMap<u128, Vec<u8>>) "u128 keys" [of([0, u128::MAX])] => Equal;
    Bools(BTreeMap<bool, Vec<u8>>) "bool keys" [of([true, false])] => Equal;
    Chars(BTreeMap<char, Vec<u8>>) "char keys" [of(['a', 'ß'])] => Equal;
    Options(BTreeMap<Option<Option<u8>>, Vec<u8>>) "options for keys" [of([None, Some(None), Some(Some(1))])] => Equal;
    Units(BTreeMap<(), Vec<u8>>) "() for a key" [of([()])] => Equal;
    Tuples(BTreeMap<(u8, String), Vec<u8>>) "tuples for keys" [of([(1, "one".into()), (2, "two".into())])] => Equal;
    Structs(BTreeMap<Point, Vec<u8>>) "structs for keys" [of([Point { x: 1, y: -1 }, Point { x: 1, y: 1 << 30 }])] => Equal;
    Variants(BTreeMap<Key, Vec<u8>>) "unit variants for keys" [of([Key::A, Key::B, Key::C])] => Equal;
    Enums(BTreeMap<Name, Vec<u8>>) "variants with values for keys" [of([Name::None, Name::Known("x".into()), Name::Number { n: 1 << 100 }])] => Equal;
    Newtypes(BTreeMap<Id, Vec<u8>>) "newtypes for keys" [of([Id(1), Id(u64::MAX)])] => Equal;
    Lists(BTreeMap<Vec<u8>, Vec<u8>>) "lists for keys" [of([vec![], vec![1; 100]])] => Equal;
    Bytes(BTreeMap<serde_bytes::ByteBuf, Vec<u8>>) "bytes for keys" [of([vec![255].into(), vec![].into()])] => Equal;
    Reals(BTreeMap<ordered_float::OrderedFloat<f64>, Vec<u8>>) "real numbers for keys" [of([(0.1).into(), f64::NEG_INFINITY.into()])] => Equal;
    Maps(BTreeMap<BTreeMap<u8, u8>, Vec<u8>>) "maps for keys" [of([BTreeMap::new(), BTreeMap::from([(1, 2)])])] => Equal;
    AsTexts(BTreeMap<AsText, Vec<u8>>) "keys written as texts, read as numbers" [of([AsText(0), AsText(u64::MAX)])] => Equal;
    Nested(BTreeMap<String, BTreeMap<u32, HashMap<i64, Six>>>) "maps of maps of maps" [BTreeMap::from([
        ("a".into(), BTreeMap::new()),
        ("b".into(), BTreeMap::from([(7, HashMap::from([(-7, Six::default())]))])),
    ])] => Equal;
    OfEnums(HashMap<String, Option<Vec<Converted>>>) "maps to options of lists" [HashMap::from([("a".into(), None), ("b".into(), Some(vec![Converted::Zero]))])] => Equal;
    Ordered(Ordered) "indexmap" [Ordered(["z", "a", "m"].into_iter().zip(0..).map(|(k, v)| (k.to_owned(), v)).collect(), [9, 1, 5].into_iter().collect())] => Equal;
}
