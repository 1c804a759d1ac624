//! What JSON carries because to it a key is a text, a struct a map, and nothing nested deeper than
//! 128 levels.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::*;

fn is_equal<T: Message + PartialEq + fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("JSON");
    assert_eq!(
        &serde_json::from_str::<T>(&json).expect("JSON carries it"),
        value
    );
    assert_eq!(back::<T, T>(value).as_ref(), Ok(value));
}

/// Written as one thing, read as another.
macro_rules! key {
    ($name:ident($inner:ty), |$it:ident, $s:ident| $write:expr, |$d:ident| $read:expr) => {
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        struct $name($inner);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, $s: S) -> std::result::Result<S::Ok, S::Error> {
                let $it = self;
                $write
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>($d: D) -> std::result::Result<Self, D::Error> {
                $read.map($name)
            }
        }
    };
}

fn parse<'de, T: std::str::FromStr, D: Deserializer<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    let text = String::deserialize(d)?;
    text.parse()
        .map_err(|_| de::Error::custom(format_args!("{text} is none")))
}

key!(Text(u128), |it, s| s.collect_str(&it.0), |d| {
    u128::deserialize(d)
});
key!(Number(i64), |it, s| it.0.serialize(s), |d| parse::<i64, D>(
    d
));
key!(
    Truth(bool),
    |it, s| it.0.serialize(s),
    |d| parse::<bool, D>(d)
);
key!(TextTruth(bool), |it, s| s.collect_str(&it.0), |d| {
    bool::deserialize(d)
});
key!(
    Optional(Option<u8>),
    |it, s| s.collect_str(&it.0.unwrap_or(0)),
    |d| Option::<u8>::deserialize(d)
);

#[test]
fn keys_are_texts_and_numbers_to_whoever_asks() {
    let of = |keys: &[u128]| -> BTreeMap<Text, u8> { keys.iter().map(|n| (Text(*n), 1)).collect() };
    is_equal(&of(&[0, 7, u128::MAX]));
    is_equal(&BTreeMap::from([
        (Number(i64::MIN), 1_u8),
        (Number(0), 2),
        (Number(i64::MAX), 3),
    ]));
    is_equal(&BTreeMap::from([(Truth(true), 1_u8), (Truth(false), 2)]));
    is_equal(&BTreeMap::from([(TextTruth(true), 1_u8)]));
    is_equal(&BTreeMap::from([(Optional(Some(7)), 1_u8)]));

    let numbers = BTreeMap::from([(-1_i32, 1_u8), (7, 2)]);
    let texts = HashMap::from([("-1".to_owned(), 1_u8), ("7".to_owned(), 2)]);
    assert_eq!(back(&numbers).as_ref(), Ok(&texts));
    assert_eq!(back(&texts).as_ref(), Ok(&numbers));
    // As a value by hand is, which has texts only.
    let value: serde_json::Value = back(&numbers).expect("read as JSON's own value");
    assert_eq!(value, serde_json::json!({ "-1": 1, "7": 2 }));

    #[derive(Serialize)]
    struct Numbered {
        #[serde(rename = "1")]
        one: u8,
        #[serde(rename = "-2")]
        two: u8,
    }
    let mut bytes = Vec::new();
    super::encoder::encode(&Numbered { one: 1, two: 2 }, &mut bytes).expect("encodes");
    let fields = decode::<BTreeMap<i8, u8>>(&bytes, Vec::new());
    assert_eq!(fields, Ok(BTreeMap::from([(1, 1), (-2, 2)])));
}

#[test]
fn a_key_that_is_no_number_is_refused_in_serdes_words() {
    let texts = HashMap::from([("seven".to_owned(), 1_u8)]);
    let why = back::<_, BTreeMap<i32, u8>>(&texts).expect_err("no number");
    assert!(
        why.contains("invalid type: string \"seven\", expected i32"),
        "{why}"
    );
    let why = back::<_, BTreeMap<u8, u8>>(&HashMap::from([("300".to_owned(), 1_u8)]));
    assert!(
        why.as_ref().is_err_and(|why| why.contains("\"300\"")),
        "{why:?}"
    );
    // Not as values, which are no texts to JSON either.
    assert!(back::<_, Vec<String>>(&vec![7_u8]).is_err());
    assert!(back::<_, Vec<u8>>(&vec!["7".to_owned()]).is_err());
}

/// Writes the fields that are set, and says nothing of the others.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sparse(BTreeMap<usize, u32>);

const FIELDS: &[&str] = &[
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t",
];

impl Serialize for Sparse {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut s = s.serialize_struct("Sparse", self.0.len())?;
        for (field, value) in &self.0 {
            s.serialize_field(FIELDS[*field], value)?;
        }
        s.end()
    }
}

impl<'de> Deserialize<'de> for Sparse {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct ByNames;
        impl<'de> Visitor<'de> for ByNames {
            type Value = Sparse;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Sparse, A::Error> {
                let mut all = Sparse::default();
                while let Some(name) = map.next_key::<String>()? {
                    let at = FIELDS.iter().position(|field| *field == name);
                    let at = at.ok_or_else(|| de::Error::custom("an unknown name"))?;
                    all.0.insert(at, map.next_value()?);
                }
                Ok(all)
            }
        }
        d.deserialize_struct("Sparse", FIELDS, ByNames)
    }
}

/// Each with another set of fields.
fn sparse(set: u32) -> Sparse {
    let fields = (0..FIELDS.len()).filter(|bit| set.reverse_bits() >> (31 - bit) & 1 == 1);
    Sparse(fields.map(|bit| (bit, bit as u32 * 1000)).collect())
}

#[test]
fn structs_of_any_number_of_sets_of_fields() {
    // More than a message may have lists of fields.
    let many: Vec<Sparse> = (0..70_000).map(sparse).collect();
    assert!(back::<_, Vec<Sparse>>(&many).is_ok_and(|it| it == many));
    // And their neighbours, which are no others for that.
    let mixed: Vec<(Sparse, Neighbour)> = (0..300)
        .map(|n| (sparse(n * 7919), Neighbour { a: n, b: None }))
        .collect();
    is_equal(&mixed);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Neighbour {
    a: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<u32>,
}

/// The same, by the derive, as a variant and in a struct that skips.
#[derive(Clone, Debug, PartialEq, Deserialize)]
enum Choice {
    It { x: Option<u8>, y: Option<u8> },
}

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStructVariant;
        let Choice::It { x, y } = self;
        let mut s = s.serialize_struct_variant("Choice", 0, "It", 2)?;
        // Names that nobody reads make each list another one.
        for unread in FIELDS
            .iter()
            .skip(usize::from(x.unwrap_or(0)) % FIELDS.len())
        {
            s.serialize_field(unread, &0_u8)?;
        }
        for skipped in FIELDS
            .iter()
            .take(usize::from(y.unwrap_or(0)) % FIELDS.len())
        {
            s.skip_field(skipped)?;
        }
        if let Some(x) = x {
            s.serialize_field("x", x)?;
        }
        if let Some(y) = y {
            s.serialize_field("y", y)?;
        }
        s.end()
    }
}

#[test]
fn variants_of_any_number_of_sets_of_fields() {
    let choice = |n: u32| Choice::It {
        x: (n % 3 > 0).then_some((n % 251) as u8),
        y: (n % 5 > 0).then_some((n % 241) as u8),
    };
    is_equal(&(0..3000).map(choice).collect::<Vec<_>>());
}

/// A reader that knows a field by two names, and is written with both: to JSON it is there twice.
#[derive(Debug, PartialEq, Deserialize)]
struct Aliased {
    #[serde(alias = "z")]
    a: u8,
    b: u8,
}

impl Serialize for Aliased {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let mut s = s.serialize_struct("Aliased", 3)?;
        s.serialize_field("a", &self.a)?;
        s.serialize_field("z", &99_u8)?;
        s.serialize_field("b", &self.b)?;
        s.end()
    }
}

#[test]
fn a_field_that_is_there_by_two_names_is_no_other_field() {
    let value = || Aliased { a: 1, b: 2 };
    assert!(back::<_, Aliased>(&value()).is_err());
    // With another behind it that would take what is left.
    let followed = back::<_, (Aliased, Option<u8>, Vec<u8>)>(&(value(), Some(3_u8), vec![4_u8]));
    assert!(followed.is_err(), "{followed:?}");
}

/// Types that serde looks at again when it has read all of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Leaf(u8),
    Node(Box<(Untagged, u8)>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Leaf,
    Node { next: Box<Internal> },
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    n: u8,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    next: Option<Box<Flat>>,
}

/// On the stack of a thread of the program, as std makes it.
fn on_a_thread(f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        let thread = thread.spawn_scoped(scope, f).expect("a thread");
        thread.join().expect("joined");
    });
}

fn untagged(levels: usize) -> Untagged {
    (0..levels).fold(Untagged::Leaf(1), |it, _| Untagged::Node(Box::new((it, 2))))
}

fn internal(levels: usize) -> Internal {
    let node = |next| Internal::Node {
        next: Box::new(next),
    };
    (0..levels).fold(Internal::Leaf, |it, _| node(it))
}

fn flat(levels: usize) -> Flat {
    let leaf = Flat {
        n: 0,
        rest: Rest { next: None },
    };
    (0..levels).fold(leaf, |it, _| Flat {
        n: 1,
        rest: Rest {
            next: Some(Box::new(it)),
        },
    })
}

#[test]
fn what_serde_buffers_may_be_nested() {
    let levels = if cfg!(debug_assertions) { 60 } else { 120 };
    on_a_thread(move || {
        assert!(back::<_, Untagged>(&untagged(levels)).is_ok());
        assert!(back::<_, Internal>(&internal(levels)).is_ok());
        assert!(back::<_, Flat>(&flat(levels)).is_ok());
    });
}

/// Bytes of a list in a list, so many times: of what no program here could write.
fn nested(levels: usize, open: &[u8], leaf: &[u8], close: &[u8]) -> Vec<u8> {
    [
        &[VERSION][..],
        &open.repeat(levels),
        leaf,
        &close.repeat(levels),
    ]
    .concat()
}

#[test]
fn what_serde_buffers_is_refused_before_the_stack_overflows() {
    on_a_thread(|| {
        for levels in [200, 400, 800, 1600, 3200, 6400, 50_000] {
            let bytes = nested(levels, &[tag::SEQ, 2], &[1], &[2]);
            if let Err(why) = decode::<Untagged>(&bytes, Vec::new()) {
                assert!(why.contains("nested"), "{levels}: {why}");
            }
            let mut bytes = Vec::new();
            if encode(&internal(levels.min(3200)), &mut bytes).is_ok() {
                if let Err(why) = decode::<Internal>(&bytes, Vec::new()) {
                    assert!(why.contains("nested"), "{levels}: {why}");
                }
            }
            let mut bytes = Vec::new();
            if encode(&flat(levels.min(3200)), &mut bytes).is_ok() {
                if let Err(why) = decode::<Flat>(&bytes, Vec::new()) {
                    assert!(why.contains("nested"), "{levels}: {why}");
                }
            }
        }
    });
}

/// Written as an option, read as what is in it.
#[derive(Clone, Debug, PartialEq)]
struct OptionWritten(u8);

impl Serialize for OptionWritten {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_some(&self.0)
    }
}

impl<'de> Deserialize<'de> for OptionWritten {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        u8::deserialize(d).map(OptionWritten)
    }
}

#[test]
fn an_option_in_a_buffer_is_told_from_what_is_in_it() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Bare(u8),
        Maybe(Option<u8>),
        Named { x: u8 },
        NamedMaybe { x: Option<u8> },
    }

    let all = [
        Either::Bare(5),
        // JSON makes a `Bare` of it.
        Either::Maybe(Some(5)),
        Either::Maybe(None),
        Either::Named { x: 5 },
        // And a `Named` of this.
        Either::NamedMaybe { x: Some(5) },
        Either::NamedMaybe { x: None },
    ];
    for value in &all {
        assert_eq!(back::<_, Either>(value).as_ref(), Ok(value));
    }
    let all = all.to_vec();
    assert_eq!(back::<_, Vec<Either>>(&all).as_ref(), Ok(&all));
}

#[test]
fn an_option_in_a_buffer_is_bare_to_a_type_that_asks_for_that() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flattened {
        first: u8,
        #[serde(flatten)]
        rest: Rest,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Rest {
        bare: OptionWritten,
        option: Option<u8>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Text(String),
        Of(OptionWritten),
        Keyed(BTreeMap<i8, OptionWritten>),
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Rest(Rest),
    }

    let rest = || Rest {
        bare: OptionWritten(1),
        option: Some(2),
    };
    is_equal(&Flattened {
        first: 0,
        rest: rest(),
    });
    is_equal(&Tagged::Rest(rest()));
    is_equal(&vec![
        Untagged::Text("a".to_owned()),
        Untagged::Of(OptionWritten(3)),
    ]);
    // The value that JSON gives is the one that was written, though another type takes what is in
    // the buffer.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum CatchAll {
        Of(OptionWritten),
        Maybe(Option<u8>),
        Any(serde_json::Value),
    }
    is_equal(&CatchAll::Of(OptionWritten(3)));
    is_equal(&vec![
        CatchAll::Of(OptionWritten(3)),
        CatchAll::Any(serde_json::Value::from("a")),
        CatchAll::Maybe(None),
    ]);
    is_equal(&(
        Flattened {
            first: 0,
            rest: rest(),
        },
        CatchAll::Of(OptionWritten(4)),
    ));

    // JSON cannot: the key is a text in its buffer.
    let keyed = Untagged::Keyed(BTreeMap::from([(-1, OptionWritten(4))]));
    assert_eq!(back::<_, Untagged>(&keyed).as_ref(), Ok(&keyed));
}
