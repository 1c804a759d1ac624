//! Implementations of `Serialize` and `Deserialize` as people write them: with methods that the
//! derive never calls, in orders that it never uses, and with mistakes.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::*;

/// A text or nothing, as people read it from JSON: whatever comes, with a method for a text, and
/// one for null.
#[derive(Clone, Debug, Default, PartialEq)]
struct TextOrNull(Option<String>);

impl Serialize for TextOrNull {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(s)
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

/// A value that knows options, as `serde_value` does.
#[derive(Clone, Debug, PartialEq)]
enum Any {
    Null,
    Text(String),
    Option(Option<Box<Any>>),
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Any::Null => s.serialize_unit(),
            Any::Text(text) => s.serialize_str(text),
            Any::Option(option) => option.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct AnyVisitor;
        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = Any;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> std::result::Result<Any, E> {
                Ok(Any::Text(v.to_owned()))
            }
            fn visit_unit<E: de::Error>(self) -> std::result::Result<Any, E> {
                Ok(Any::Null)
            }
            fn visit_none<E: de::Error>(self) -> std::result::Result<Any, E> {
                Ok(Any::Option(None))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Any, D::Error> {
                Any::deserialize(d).map(|any| Any::Option(Some(Box::new(any))))
            }
        }
        d.deserialize_any(AnyVisitor)
    }
}

#[test]
fn visitors_made_for_json_get_what_json_would_give() {
    let text = TextOrNull(Some("text".to_owned()));
    let null = TextOrNull(None);
    assert_eq!(back(&text), Ok(text.clone()));
    assert_eq!(back(&null), Ok(null.clone()));
    // More than one at once, and again.
    let all = vec![text, null.clone(), null];
    assert_eq!(back(&all), Ok(all.clone()));
    assert_eq!(back(&all), Ok(all));
}

#[test]
fn visitors_that_know_options_get_them_beside_those_that_do_not() {
    let some = |any| Any::Option(Some(Box::new(any)));
    let all = vec![
        Any::Null,
        some(Any::Text("text".to_owned())),
        Any::Option(None),
        some(Any::Option(None)),
        some(some(Any::Null)),
    ];
    assert_eq!(back(&all), Ok(all.clone()));
    let both = (all, TextOrNull(Some("text".to_owned())), TextOrNull(None));
    assert_eq!(back(&both), Ok(both));
}

/// Written as bytes, read as whatever comes, if it is a sequence.
#[derive(Clone, Debug, PartialEq)]
struct BytesAsSeq(Vec<u8>);

impl Serialize for BytesAsSeq {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for BytesAsSeq {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct SeqVisitor;
        impl<'de> Visitor<'de> for SeqVisitor {
            type Value = BytesAsSeq;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<BytesAsSeq, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(BytesAsSeq(bytes))
            }
        }
        d.deserialize_any(SeqVisitor)
    }
}

#[test]
fn bytes_are_numbers_to_who_knows_no_bytes() {
    let bytes = BytesAsSeq(vec![1, 2, 255]);
    assert_eq!(back(&bytes), Ok(bytes));
}

/// What a map's writer or reader does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    KeyOnly,
    ValueTwice,
}

#[derive(Debug, PartialEq)]
struct BadWriter(Slip);

impl Serialize for BadWriter {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        map.serialize_key(&1_u8)?;
        match self.0 {
            Slip::KeyOnly => {}
            Slip::ValueTwice => {
                map.serialize_value(&2_u8)?;
                map.serialize_value(&3_u8)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for BadWriter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<u8, u8>::deserialize(d)?;
        Ok(BadWriter(if map.is_empty() {
            Slip::KeyOnly
        } else {
            Slip::ValueTwice
        }))
    }
}

#[test]
fn a_key_without_a_value_is_refused_where_it_is_written() {
    for slip in [Slip::KeyOnly, Slip::ValueTwice] {
        let why = encode(&BadWriter(slip), &mut Vec::new()).expect_err("no map");
        assert!(why.contains("key") && why.contains("value"), "{why}");
    }
    // Two mistakes that would make up for each other.
    let both = (BadWriter(Slip::KeyOnly), BadWriter(Slip::ValueTwice), 1_u8);
    assert!(back::<_, (BadWriter, BadWriter, u8)>(&both).is_err());
}

/// Reads a map with these mistakes.
#[derive(Debug, PartialEq)]
struct BadReader<const VALUES: usize>(u8);

impl<const VALUES: usize> Serialize for BadReader<VALUES> {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_map([(self.0, self.0)])
    }
}

impl<'de, const VALUES: usize> Deserialize<'de> for BadReader<VALUES> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct MapVisitor<const VALUES: usize>;
        impl<'de, const VALUES: usize> Visitor<'de> for MapVisitor<VALUES> {
            type Value = BadReader<VALUES>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let key = map.next_key()?.unwrap_or_default();
                for _ in 0..VALUES {
                    map.next_value::<u8>()?;
                }
                Ok(BadReader(key))
            }
        }
        d.deserialize_map(MapVisitor)
    }
}

#[test]
fn a_reader_that_takes_another_number_of_values_is_refused() {
    assert_eq!(back(&BadReader::<1>(5)), Ok(BadReader::<1>(5)));
    assert!(back::<_, BadReader<0>>(&BadReader::<0>(5)).is_err());
    assert!(back::<_, BadReader<2>>(&BadReader::<2>(5)).is_err());
    let both = (BadReader::<0>(5), BadReader::<2>(5));
    let why = back::<_, (BadReader<0>, BadReader<2>)>(&both)
        .expect_err("they do not make up for each other");
    assert!(why.contains("[0]"), "{why}");
}

/// Writes what it can, and where it cannot, something else.
#[derive(Debug, PartialEq)]
struct Lenient(Vec<(u8, Option<u8>)>);

struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("no zero, please")),
            n => s.serialize_u8(n),
        }
    }
}

impl Serialize for Lenient {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(None)?;
        for (a, b) in &self.0 {
            if seq.serialize_element(&(a, Picky(b.unwrap_or(0)))).is_err() {
                seq.serialize_element(a)?;
            }
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Both(u8, u8),
            One(u8),
        }
        let all = Vec::<Either>::deserialize(d)?;
        let all = all.into_iter().map(|either| match either {
            Either::Both(a, b) => (a, Some(b)),
            Either::One(a) => (a, None),
        });
        Ok(Lenient(all.collect()))
    }
}

#[test]
fn an_error_that_a_writer_passes_over_changes_nothing_else() {
    let good = Lenient(vec![(1, Some(2)), (3, Some(4))]);
    assert_eq!(back(&good), Ok(good));
    for bad in [
        vec![(1, Some(2)), (3, None), (4, Some(5))],
        vec![(1, None), (3, None)],
        vec![(1, None)],
    ] {
        let bad = (Lenient(bad), 9_u8);
        match back::<_, (Lenient, u8)>(&bad) {
            Ok(back) => assert_eq!(back, bad),
            Err(why) => assert!(why.contains("passed over"), "{why}"),
        }
    }
}

/// Reads what it can, and where it cannot, the default: a line that many programs have.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tolerant<T: Default + Serialize + de::DeserializeOwned> {
    #[serde(deserialize_with = "or_default", bound = "")]
    value: T,
    next: u8,
    last: u8,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(T::deserialize(d).unwrap_or_default())
}

#[test]
fn an_error_that_a_reader_passes_over_changes_nothing_else() {
    fn tried<T: Message, U: Default + Message + PartialEq + fmt::Debug>(value: T, whole: bool) {
        #[derive(Serialize, Deserialize)]
        struct Written<T> {
            value: T,
            next: u8,
            last: u8,
        }
        let written = Written {
            value,
            next: 1,
            last: 2,
        };
        let expected = Tolerant {
            value: U::default(),
            next: 1,
            last: 2,
        };
        match back::<_, Tolerant<U>>(&written) {
            Ok(read) => assert_eq!(read, expected),
            Err(why) => assert!(!whole, "{why}"),
        }
    }
    tried::<_, u8>("no number".to_owned(), true);
    tried::<_, u8>(-1_i8, true);
    tried::<_, u8>((), true);
    tried::<_, (u8, u8)>(("no number".to_owned(), 3_u8), false);
    tried::<_, Vec<u8>>(vec![Some(1_u16), Some(300), Some(3)], false);
    tried::<_, std::collections::BTreeMap<u8, u8>>(
        std::collections::BTreeMap::from([(1, -1)]),
        false,
    );
}

/// Takes nothing of what it is made from.
#[derive(Debug, PartialEq)]
struct Aloof;

impl Serialize for Aloof {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_u8(7)
    }
}

impl<'de> Deserialize<'de> for Aloof {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Ok(Aloof)
    }
}

/// Refuses before it takes anything.
#[derive(Debug, PartialEq, Serialize)]
struct Refusing(u8);

impl<'de> Deserialize<'de> for Refusing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(de::Error::custom("not today"))
    }
}

#[test]
fn a_reader_that_takes_nothing_is_refused() {
    for count in [1, 3, 4, 5] {
        let aloof: Vec<Aloof> = (0..count).map(|_| Aloof).collect();
        assert!(back::<_, Vec<Aloof>>(&aloof).is_err());
        let refusing: Vec<Refusing> = (0..count).map(Refusing).collect();
        let why = back::<_, Vec<Refusing>>(&refusing).expect_err("refused");
        assert!(why.contains("[0]") && why.contains("not today"), "{why}");
    }
    assert!(back::<_, (Aloof, u8)>(&(Aloof, 7_u8)).is_err());
    assert!(back::<_, Aloof>(&Aloof).is_err());
}

#[test]
fn a_struct_may_have_no_name() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename = "")]
    struct Nameless {
        #[serde(rename = "")]
        a: u8,
    }
    let nameless = [Nameless { a: 1 }, Nameless { a: 2 }];
    assert_eq!(back(&nameless), Ok(nameless));
}

/// A struct whose fields come in another order each time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Shuffled {
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    e: u8,
}

impl Serialize for Shuffled {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut fields = vec![
            ("a", self.a),
            ("b", self.b),
            ("c", self.c),
            ("d", self.d),
            ("e", self.e),
        ];
        // As in a shuffle of cards: the digits of a number say which is next.
        let mut order = usize::from(self.a) % 120;
        let mut s = s.serialize_struct("Shuffled", 5)?;
        while !fields.is_empty() {
            let (name, value) = fields.remove(order % fields.len());
            order /= fields.len() + 1;
            s.serialize_field(name, &value)?;
        }
        s.end()
    }
}

#[test]
fn fields_in_all_orders_many_times() {
    let all: Vec<Shuffled> = (0..200_000_u32)
        .map(|n| {
            let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_le_bytes();
            Shuffled {
                a,
                b,
                c,
                d,
                e: a ^ b,
            }
        })
        .collect();
    let mut bytes = Vec::new();
    encode(&all, &mut bytes).expect("as in JSON");
    assert!(bytes.len() < 30 * all.len(), "{} bytes", bytes.len());
    assert!(decode::<Vec<Shuffled>>(&bytes, Vec::new()) == Ok(all));
}
