//! Readers that pass over errors: of an element, a value, a key, a field. What JSON reads on behind
//! is read on; and nothing behind is read as anything else.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::*;

/// One of many things.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Thing {
    Int(i64),
    Wide(u128),
    Float(f64),
    Truth(bool),
    Text(String),
    Letter(char),
    Nothing(()),
    Option(Option<Box<Thing>>),
    List(Vec<Thing>),
    Pair(Box<(Thing, Thing)>),
    Map(BTreeMap<String, Thing>),
    Struct { a: Box<Thing>, b: u8 },
    Enum(Choice),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    New(u8),
    Struct { x: u8 },
}

/// What JSON passes over whole.
fn plain() -> Vec<Thing> {
    vec![
        Thing::Int(7),
        Thing::Int(-7),
        Thing::Int(i64::MIN),
        Thing::Int(300),
        Thing::Wide(u128::from(u64::MAX)),
        Thing::Float(0.5),
        Thing::Truth(true),
        Thing::Text("text".to_owned()),
        Thing::Text("a text that is longer than thirty-two bytes".to_owned()),
        Thing::Letter('ö'),
        Thing::Nothing(()),
        Thing::Option(None),
        Thing::Option(Some(Box::new(Thing::Int(1)))),
        Thing::Option(Some(Box::new(Thing::Text("x".to_owned())))),
        Thing::Enum(Choice::Unit),
    ]
}

/// What JSON stops in the middle of.
fn nested() -> Vec<Thing> {
    let int = Thing::Int;
    let map = [("a", int(1)), ("b", Thing::List(vec![int(1)]))];
    let map = map.map(|(key, value)| (key.to_owned(), value));
    vec![
        Thing::Wide(u128::MAX),
        Thing::List(vec![]),
        Thing::List(vec![int(1), Thing::Text("x".to_owned()), int(3)]),
        Thing::List(vec![int(1), int(300), int(3), int(4), int(5)]),
        Thing::List(plain()),
        Thing::Pair(Box::new((int(1), Thing::List(vec![int(2); 7])))),
        Thing::Map(BTreeMap::from(map)),
        Thing::Struct {
            a: Box::new(Thing::List(vec![int(1)])),
            b: 2,
        },
        Thing::Enum(Choice::New(1)),
        Thing::Enum(Choice::Struct { x: 1 }),
        Thing::Option(Some(Box::new(Thing::List(vec![Thing::Option(None)])))),
    ]
}

/// A list, of which only those elements are taken that are a `T`.
#[derive(Debug, PartialEq)]
struct Those<T>(Vec<Option<T>>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Those<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Taking<T>(std::marker::PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Taking<T> {
            type Value = Those<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Those<T>, A::Error> {
                let mut all = Vec::new();
                loop {
                    match seq.next_element() {
                        Ok(Some(it)) => all.push(Some(it)),
                        Ok(None) => return Ok(Those(all)),
                        Err(_) if all.len() > 100_000 => return Err(de::Error::custom("endless")),
                        Err(_) => all.push(None),
                    }
                }
            }
        }
        d.deserialize_seq(Taking(std::marker::PhantomData))
    }
}

/// A map, of which the values that are no `T` are the default.
#[derive(Debug, PartialEq)]
struct OrDefault<K: Ord, T>(BTreeMap<K, T>);

impl<'de, K: DeserializeOwned + Ord, T: DeserializeOwned + Default> Deserialize<'de>
    for OrDefault<K, T>
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Taking<K, T>(std::marker::PhantomData<(K, T)>);
        impl<'de, K: DeserializeOwned + Ord, T: DeserializeOwned + Default> Visitor<'de> for Taking<K, T> {
            type Value = OrDefault<K, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(key) = map.next_key()? {
                    all.insert(key, map.next_value().unwrap_or_default());
                }
                Ok(OrDefault(all))
            }
        }
        d.deserialize_map(Taking(std::marker::PhantomData))
    }
}

/// A map, of which only those entries are taken that are a `K` and a `T`.
#[derive(Debug, PartialEq)]
struct ThoseEntries<K: Ord, T>(BTreeMap<K, T>);

impl<'de, K: DeserializeOwned + Ord, T: DeserializeOwned> Deserialize<'de> for ThoseEntries<K, T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Taking<K, T>(std::marker::PhantomData<(K, T)>);
        impl<'de, K: DeserializeOwned + Ord, T: DeserializeOwned> Visitor<'de> for Taking<K, T> {
            type Value = ThoseEntries<K, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                loop {
                    match map.next_entry() {
                        Ok(Some((key, value))) => _ = all.insert(key, value),
                        Ok(None) => return Ok(ThoseEntries(all)),
                        Err(_) => {}
                    }
                }
            }
        }
        d.deserialize_map(Taking(std::marker::PhantomData))
    }
}

/// As [`decode`], of what is not written again.
fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    let read = || super::decode_message(bytes);
    let read = read().or_else(|e| super::reread::again(true, e, read, |_| true));
    read.map_err(|e| e.to_string())
}

/// What was written of one type, read as another: with something before it and something behind.
fn read_as<R: DeserializeOwned>(value: &impl Serialize) -> std::result::Result<R, String> {
    #[derive(Serialize)]
    struct Written<'a, T>(&'a str, (u8, &'a T, i64), [u8; 5], Thing);
    let behind = Thing::List(plain());
    let written = Written("before", (1, value, -2), [9; 5], behind);
    let mut bytes = Vec::new();
    super::encoder::encode(&written, &mut bytes).map_err(|e| e.to_string())?;
    type Read<R> = (String, (u8, R, i64), [u8; 5], serde_json::Value);
    let (before, (one, read, two), nines, behind) = decoded::<Read<R>>(&bytes)?;
    assert_eq!(
        (before.as_str(), one, two, nines),
        ("before", 1, -2, [9; 5])
    );
    assert_eq!(
        behind,
        serde_json::to_value(Thing::List(plain())).expect("JSON")
    );
    Ok(read)
}

fn as_json<R: DeserializeOwned>(value: &impl Serialize) -> R {
    let json = serde_json::to_string(value).expect("JSON");
    serde_json::from_str(&json).expect("JSON reads on")
}

fn elements<T: DeserializeOwned + PartialEq + fmt::Debug>() {
    // All together, and each among others of its like: four numbers are a run.
    let mut lists = vec![plain(), nested()];
    for thing in plain().into_iter().chain(nested()) {
        for count in [1, 2, 5] {
            let mut list = vec![Thing::Int(1); count];
            list.push(thing.clone());
            list.extend(vec![Thing::Int(2); count]);
            lists.push(list);
        }
    }
    for list in lists {
        let read: Those<T> = read_as(&list).expect("read on");
        assert_eq!(read.0.len(), list.len(), "{list:?}");
        // Each as it is by itself.
        for (read, thing) in read.0.iter().zip(&list) {
            let alone = serde_json::to_string(thing).expect("JSON");
            assert_eq!(*read, serde_json::from_str(&alone).ok(), "{thing:?}");
        }
        // JSON stops in the middle of what is nested, and some readers before it.
        let json = serde_json::to_string(&list).expect("JSON");
        if let Ok(json) = serde_json::from_str::<Those<T>>(&json) {
            assert_eq!(read, json, "{list:?}");
        }
    }
}

#[test]
fn elements_are_passed_over() {
    elements::<u8>();
    elements::<i64>();
    elements::<bool>();
    elements::<String>();
    elements::<Vec<u8>>();
    elements::<(u8, u8)>();
    elements::<BTreeMap<String, u8>>();
    elements::<Choice>();
    elements::<Refined>();
}

/// Is refused when all of it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)")]
struct Refined((u8, u8));

impl TryFrom<(u8, u8)> for Refined {
    type Error = String;

    fn try_from(pair: (u8, u8)) -> std::result::Result<Refined, String> {
        match pair.0 < pair.1 {
            true => Ok(Refined(pair)),
            false => Err("not in order".to_owned()),
        }
    }
}

#[test]
fn values_are_passed_over() {
    let things = plain().into_iter().chain(nested());
    let map: BTreeMap<u32, Thing> = (1000..).zip(things).collect();
    let read: OrDefault<u32, i64> = read_as(&map).expect("read on");
    assert_eq!(read.0.len(), map.len());
    let plain: BTreeMap<u32, Thing> = (1000..).zip(self::plain()).collect();
    let read: OrDefault<u32, i64> = read_as(&plain).expect("read on");
    assert_eq!(read, as_json(&plain));

    // The fields of a struct, and those that it lacks.
    #[derive(Serialize)]
    struct Fields {
        a: Thing,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
        c: Thing,
        d: u8,
    }
    for thing in self::plain().into_iter().chain(nested()) {
        let fields = Fields {
            a: thing.clone(),
            b: None,
            c: thing,
            d: 7,
        };
        let read: OrDefault<String, u8> = read_as(&fields).expect("read on");
        assert_eq!((read.0.len(), read.0["d"]), (3, 7));
    }
}

#[test]
fn keys_are_passed_over() {
    let map = BTreeMap::from([("1", 1_u8), ("two", 2), ("3", 3), ("four", 4)]);
    let read: ThoseEntries<u8, u8> = read_as(&map).expect("read on");
    assert_eq!(read.0, BTreeMap::from([(1, 1), (3, 3)]));
    // With keys that JSON does not have.
    let map = BTreeMap::from([
        ((1, "a"), vec![1]),
        ((2, "b"), vec![2, 2]),
        ((3, "c"), vec![]),
    ]);
    let read: ThoseEntries<u8, u8> = read_as(&map).expect("read on");
    assert_eq!(read.0, BTreeMap::new());
    let read: ThoseEntries<(u8, String), (u8, u8)> = read_as(&map).expect("read on");
    assert_eq!(read.0, BTreeMap::from([((2, "b".to_owned()), (2, 2))]));
}

/// A field that is its default where it cannot be read.
#[derive(Debug, PartialEq, Deserialize)]
struct Tolerant<T: Default + DeserializeOwned> {
    #[serde(deserialize_with = "or_default", bound = "")]
    value: T,
    next: u8,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(T::deserialize(d).unwrap_or_default())
}

#[test]
fn fields_are_passed_over() {
    #[derive(Serialize)]
    struct Written {
        value: Thing,
        next: u8,
    }
    for value in plain().into_iter().chain(nested()) {
        let json = serde_json::to_string(&value).expect("JSON");
        let written = Written { value, next: 5 };
        let read: Tolerant<u8> = read_as(&written).expect("read on");
        let value = serde_json::from_str(&json).unwrap_or_default();
        assert_eq!(read, Tolerant { value, next: 5 }, "{json}");
        let read: Tolerant<Vec<u8>> = read_as(&written).expect("read on");
        let value = serde_json::from_str(&json).unwrap_or_default();
        assert_eq!(read, Tolerant { value, next: 5 }, "{json}");
    }
}

/// As people read a text from JSON: with a method for a text, and one for null.
#[derive(Clone, Debug, PartialEq)]
struct TextOrNull(Option<String>);

impl Default for TextOrNull {
    fn default() -> TextOrNull {
        TextOrNull(Some("the default".to_owned()))
    }
}

impl<'de> Deserialize<'de> for TextOrNull {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct JsonVisitor;
        impl Visitor<'_> for JsonVisitor {
            type Value = TextOrNull;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or null")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> std::result::Result<TextOrNull, E> {
                Ok(TextOrNull(Some(v.to_owned())))
            }
            fn visit_unit<E: de::Error>(self) -> std::result::Result<TextOrNull, E> {
                Ok(TextOrNull(None))
            }
        }
        d.deserialize_any(JsonVisitor)
    }
}

impl Serialize for TextOrNull {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

/// That such a visitor lacks a method is an error, after which the message is read once more: also
/// where that error is passed over.
#[test]
fn what_is_learned_of_a_visitor_is_not_passed_over() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(deserialize_with = "or_default")]
        null: TextOrNull,
        #[serde(deserialize_with = "or_default")]
        text: TextOrNull,
        next: u8,
    }
    let both = Both {
        null: TextOrNull(None),
        text: TextOrNull(Some("text".to_owned())),
        next: 1,
    };
    assert_eq!(back::<_, Both>(&both).as_ref(), Ok(&both));
}

/// Refuses before it takes anything: it is not known where it ends.
#[derive(Debug, PartialEq)]
struct Refusing;

impl<'de> Deserialize<'de> for Refusing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(de::Error::custom("not today"))
    }
}

#[test]
fn what_is_not_even_taken_is_not_passed_over() {
    for count in [1, 2, 3, 4, 5, 100] {
        let list: Vec<u8> = (0..count).collect();
        assert!(read_as::<Those<Refusing>>(&list).is_err());
        let mut bytes = Vec::new();
        super::encoder::encode(&list, &mut bytes).expect("encodes");
        assert!(decoded::<Those<Refusing>>(&bytes).is_err());
    }
}

/// More errors than a message may have levels, each some levels deep.
#[test]
fn any_number_of_errors_is_passed_over() {
    let deep = (0..5).fold(Thing::Text("x".to_owned()), |it, _| Thing::List(vec![it]));
    let list = vec![deep; 70_000];
    type Lists<T> = Vec<Vec<T>>;
    let read: Those<Vec<Lists<Lists<u8>>>> = read_as(&list).expect("read on");
    assert!(read.0.len() == list.len() && read.0.iter().all(Option::is_none));
}

/// What no encoder writes is an error, whoever passes over it.
#[test]
fn what_is_malformed_is_not_passed_over() {
    let read = |bytes: &[u8]| {
        let message = [&[VERSION][..], bytes].concat();
        decoded::<Those<u8>>(&message).map(|those| those.0)
    };
    assert_eq!(
        read(&[tag::SEQ, 3, 1, tag::SHORT_STR, 2]).expect("well-formed"),
        [Some(1), None, Some(2)]
    );
    // No such tag; no such variant; no UTF-8; no such list of fields; no character.
    for malformed in [
        &[0xff][..],
        &[tag::UNIT_VARIANT],
        &[tag::SHORT_STR + 1, 0xff],
        &[tag::STRUCT],
        &[tag::CHAR, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(read(&[&[tag::SEQ, 3, 1][..], malformed, &[2]].concat()).is_err());
    }
    // Of what is not looked at, where it ends has to be known.
    for malformed in [&[0xff][..], &[tag::STRUCT], &[tag::SEQ, 9], &[tag::STR, 9]] {
        let inner = [&[tag::SEQ, 2, 1, tag::SEQ, 2, 1][..], malformed];
        assert!(read(&inner.concat()).is_err());
    }
}
