//! Implementations by hand: what the derive never calls, in orders that it never uses, with counts
//! that are wrong.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, Serializer,
};
use serde::{Deserialize, Serialize};

use crate::family;

/// A type whose `Serialize` is this.
macro_rules! written {
    ($name:ident, |$it:ident, $s:ident| $write:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, $s: S) -> Result<S::Ok, S::Error> {
                let $it = self;
                $write
            }
        }
    };
}

/// A type that is read by one method, with a visitor that knows a few others.
macro_rules! read {
    ($name:ident, $method:ident($($arg:expr),*), $expected:literal, { $($visits:tt)* }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct HisVisitor;
                impl<'de> Visitor<'de> for HisVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    $($visits)*
                }
                d.$method($($arg,)* HisVisitor)
            }
        }
    };
}

/// Three numbers, under as many names as there are ways to write and read them.
macro_rules! threes {
    ($($name:ident)*) => {
        $(#[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name { a: u32, b: u32, c: u32 })*
    };
}
threes!(ByNames InOrder InChangingOrder Sparse TooFewDeclared TooManyDeclared Nothing AsMap AsTuple AsText FromAny Ignoring);

macro_rules! all {
    ($name:ident) => {
        [
            $name {
                a: 1,
                b: 1 << 20,
                c: 3,
            },
            $name {
                a: 4,
                b: 5,
                c: u32::MAX,
            },
        ]
    };
}

const FIELDS: &[&str] = &["a", "b", "c"];

macro_rules! visit_names {
    ($name:ident) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
            let mut all = [0; 3];
            while let Some(key) = map.next_key::<String>()? {
                let at = FIELDS.iter().position(|field| *field == key);
                let at = at.ok_or_else(|| de::Error::unknown_field(&key, FIELDS))?;
                all[at] = map.next_value()?;
            }
            Ok($name {
                a: all[0],
                b: all[1],
                c: all[2],
            })
        }
    };
}

macro_rules! visit_order {
    ($name:ident) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
            let mut next = || {
                seq.next_element()?
                    .ok_or_else(|| de::Error::custom("too few"))
            };
            Ok($name {
                a: next()?,
                b: next()?,
                c: next()?,
            })
        }
    };
}

fn fields<S: Serializer>(
    s: S,
    declared: usize,
    all: &[(&'static str, u32)],
) -> Result<S::Ok, S::Error> {
    let mut s = s.serialize_struct("Three", declared)?;
    for (name, value) in all {
        s.serialize_field(name, value)?;
    }
    s.end()
}

written!(ByNames, |it, s| fields(
    s,
    3,
    &[("a", it.a), ("b", it.b), ("c", it.c)]
));
read!(ByNames, deserialize_struct("Three", FIELDS), "names", {
    visit_names!(ByNames);
});

// Written as a tuple, so that there are no names.
written!(InOrder, |it, s| (it.a, it.b, it.c).serialize(s));
read!(InOrder, deserialize_struct("Three", FIELDS), "an order", {
    visit_order!(InOrder);
});

written!(InChangingOrder, |it, s| match it.a % 2 {
    0 => fields(s, 3, &[("c", it.c), ("a", it.a), ("b", it.b)]),
    _ => fields(s, 3, &[("b", it.b), ("c", it.c), ("a", it.a)]),
});
read!(
    InChangingOrder,
    deserialize_struct("Three", FIELDS),
    "names",
    {
        visit_names!(InChangingOrder);
    }
);

written!(Sparse, |it, s| {
    let mut s = s.serialize_struct("Three", 3)?;
    s.skip_field("none")?;
    s.serialize_field("a", &it.a)?;
    s.skip_field("b2")?;
    s.serialize_field("b", &it.b)?;
    s.serialize_field("c", &it.c)?;
    s.skip_field("last")?;
    s.end()
});
read!(Sparse, deserialize_struct("Three", FIELDS), "names", {
    visit_names!(Sparse);
});

written!(TooFewDeclared, |it, s| fields(
    s,
    0,
    &[("a", it.a), ("b", it.b), ("c", it.c)]
));
read!(
    TooFewDeclared,
    deserialize_struct("Three", FIELDS),
    "names",
    {
        visit_names!(TooFewDeclared);
    }
);
written!(TooManyDeclared, |it, s| fields(
    s,
    1 << 40,
    &[("a", it.a), ("b", it.b), ("c", it.c)]
));
read!(TooManyDeclared, deserialize_any(), "names", {
    visit_names!(TooManyDeclared);
});

// Reads what it never wrote: refused, with its own words.
written!(Nothing, |_it, s| s.serialize_unit());
read!(
    Nothing,
    deserialize_struct("Three", FIELDS),
    "names, and nothing else will do",
    {
        visit_names!(Nothing);
    }
);

written!(AsMap, |it, s| s.collect_map([
    ("a", it.a),
    ("b", it.b),
    ("c", it.c)
]));
read!(AsMap, deserialize_struct("Three", FIELDS), "names", {
    visit_names!(AsMap);
});

written!(AsTuple, |it, s| {
    let mut s = s.serialize_tuple(3)?;
    s.serialize_element(&it.a)?;
    s.serialize_element(&it.b)?;
    s.serialize_element(&it.c)?;
    s.end()
});
read!(AsTuple, deserialize_seq(), "an order", {
    visit_order!(AsTuple);
});

written!(AsText, |it, s| s
    .collect_str(&format_args!("{}/{}/{}", it.a, it.b, it.c)));
read!(AsText, deserialize_string(), "three numbers", {
    fn visit_str<E: de::Error>(self, text: &str) -> Result<AsText, E> {
        let mut all = text.split('/').map(|n| n.parse().map_err(E::custom));
        let mut next = || all.next().ok_or_else(|| E::custom("too few"))?;
        Ok(AsText {
            a: next()?,
            b: next()?,
            c: next()?,
        })
    }
});

written!(FromAny, |it, s| fields(
    s,
    3,
    &[("a", it.a), ("b", it.b), ("c", it.c)]
));
read!(FromAny, deserialize_any(), "anything", {
    visit_names!(FromAny);
    visit_order!(FromAny);
});

// Has more than it reads, and passes over that.
written!(Ignoring, |it, s| {
    let mut map = s.serialize_map(None)?;
    map.serialize_entry("x", &[Some(Some(1)), None])?;
    map.serialize_entry("a", &it.a)?;
    map.serialize_entry(&(1, "key"), &Bomb(Ok(vec![1, 2])))?;
    map.serialize_entry("b", &it.b)?;
    map.serialize_entry("y", &[[0.5; 9]; 2])?;
    map.serialize_entry("c", &it.c)?;
    map.end()
});
read!(Ignoring, deserialize_map(), "names", {
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ignoring, A::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Key {
            Name(String),
            Other(IgnoredAny),
        }
        let mut all = [0; 3];
        while let Some(key) = map.next_key::<Key>()? {
            let at = match &key {
                Key::Name(name) => FIELDS.iter().position(|field| field == name),
                Key::Other(_) => None,
            };
            match at {
                Some(at) => all[at] = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ignoring {
            a: all[0],
            b: all[1],
            c: all[2],
        })
    }
});

/// A list whose writer is wrong about its length, or says nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Miscounted {
    declared: Option<usize>,
    numbers: Vec<u16>,
    texts: Vec<String>,
}

written!(Miscounted, |it, s| {
    let mut s = s.serialize_seq(it.declared)?;
    s.serialize_element(&it.declared.map(|n| n as u64))?;
    for number in &it.numbers {
        s.serialize_element(number)?;
    }
    for text in &it.texts {
        s.serialize_element(text)?;
    }
    s.end()
});
read!(Miscounted, deserialize_seq(), "a list", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Miscounted, A::Error> {
        let declared: Option<Option<u64>> = seq.next_element()?;
        let declared = declared
            .ok_or_else(|| de::Error::custom("nothing"))?
            .map(|n| n as usize);
        let mut all = Miscounted {
            declared,
            numbers: vec![],
            texts: vec![],
        };
        while let Some(next) = seq.next_element::<NumberOrText>()? {
            match next {
                NumberOrText::Number(n) => all.numbers.push(n as u16),
                NumberOrText::Text(text) => all.texts.push(text),
            }
        }
        Ok(all)
    }
});

fn miscounted() -> Vec<Miscounted> {
    let counts = [None, Some(0), Some(3), Some(200), Some(100_000)];
    counts
        .map(|declared| Miscounted {
            declared,
            numbers: (0..9).collect(),
            texts: vec!["x".into(); 3],
        })
        .into()
}

/// Numbers first, then something else: a run that breaks off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Breaking(Vec<i64>, Option<NumberOrText>);

written!(Breaking, |it, s| {
    let mut s = s.serialize_seq(None)?;
    for number in &it.0 {
        s.serialize_element(number)?;
    }
    if let Some(last) = &it.1 {
        s.serialize_element(last)?;
    }
    s.end()
});
read!(Breaking, deserialize_seq(), "a list", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Breaking, A::Error> {
        let mut all = Breaking(vec![], None);
        while let Some(next) = seq.next_element::<Signed>()? {
            match next {
                Signed(Ok(n)) => all.0.push(n),
                Signed(Err(other)) => all.1 = Some(other),
            }
        }
        Ok(all)
    }
});

struct Signed(Result<i64, NumberOrText>);
read!(Signed, deserialize_any(), "a number or a text", {
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Signed, E> {
        Ok(Signed(Ok(n)))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Signed, E> {
        Ok(Signed(
            i64::try_from(n).map_err(|_| NumberOrText::Number(n)),
        ))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Signed, E> {
        Ok(Signed(Err(NumberOrText::Text(text.into()))))
    }
});

/// A number or a text, by whatever comes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NumberOrText {
    Number(u64),
    Text(String),
}

written!(NumberOrText, |it, s| match it {
    NumberOrText::Number(n) => s.serialize_u64(*n),
    NumberOrText::Text(text) => s.serialize_str(text),
});
read!(NumberOrText, deserialize_any(), "a number or a text", {
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Number(n))
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<NumberOrText, E> {
        Ok(NumberOrText::Text(text))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<NumberOrText, E> {
        self.visit_string(text.to_owned())
    }
});

/// An option, as people read it who know JSON: whatever comes, null or a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextOrNull(Option<String>);

written!(TextOrNull, |it, s| it.0.serialize(s));
read!(TextOrNull, deserialize_any(), "a text or null", {
    fn visit_unit<E: de::Error>(self) -> Result<TextOrNull, E> {
        Ok(TextOrNull(None))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrNull, E> {
        Ok(TextOrNull(Some(text.to_owned())))
    }
});

/// Bytes by `serialize_bytes` and `deserialize_byte_buf`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ByteBuf(Vec<u8>);

written!(ByteBuf, |it, s| s.serialize_bytes(&it.0));
read!(ByteBuf, deserialize_byte_buf(), "bytes", {
    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<ByteBuf, E> {
        Ok(ByteBuf(bytes))
    }
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ByteBuf, E> {
        Ok(ByteBuf(bytes.to_vec()))
    }
});

/// The same, by who knows bytes as lists only.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ByteList(Vec<u8>);

written!(ByteList, |it, s| s.serialize_bytes(&it.0));
read!(ByteList, deserialize_any(), "a list", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ByteList, A::Error> {
        let mut bytes = vec![];
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(ByteList(bytes))
    }
});

/// A variant whose fields change their order, which is written under a number that is wrong.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) enum Variant {
    First { x: u8, y: u8 },
    Second(u8),
    Third,
}

written!(Variant, |it, s| match it {
    Variant::First { x, y } => {
        let mut s = s.serialize_struct_variant("Variant", 9, "First", 7)?;
        if x < y {
            s.serialize_field("y", y)?;
            s.skip_field("z")?;
            s.serialize_field("x", x)?;
        } else {
            s.serialize_field("x", x)?;
            s.serialize_field("y", y)?;
        }
        s.end()
    }
    Variant::Second(n) => s.serialize_newtype_variant("Variant", 0, "Second", n),
    Variant::Third => s.serialize_unit_variant("Variant", 0, "Third"),
});

/// An enum, as JSON has it: a text, or a map of one entry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) enum LikeJson {
    Unit,
    New(Option<u8>),
    Tuple(u8, u8),
    Struct { x: u8 },
}

written!(LikeJson, |it, s| match it {
    LikeJson::Unit => s.serialize_str("Unit"),
    LikeJson::New(n) => s.collect_map([("New", n)]),
    LikeJson::Tuple(a, b) => s.collect_map([("Tuple", (a, b))]),
    LikeJson::Struct { x } => {
        let mut s = s.serialize_struct("LikeJson", 1)?;
        s.serialize_field("Struct", &std::collections::BTreeMap::from([("x", x)]))?;
        s.end()
    }
});

/// A table that is read by a seed, row by row, as wide as its first number says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seeded(u8, Vec<Vec<u32>>);

written!(Seeded, |it, s| (it.0, &it.1).serialize(s));
read!(Seeded, deserialize_tuple(2), "a table", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seeded, A::Error> {
        struct Rows(u8);
        impl<'de> DeserializeSeed<'de> for Rows {
            type Value = Vec<Vec<u32>>;
            fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                let rows = Vec::<Vec<u32>>::deserialize(d)?;
                match rows.iter().all(|row| row.len() == usize::from(self.0)) {
                    true => Ok(rows),
                    false => Err(de::Error::custom(format_args!(
                        "a row is not {} wide",
                        self.0
                    ))),
                }
            }
        }
        let width = seq
            .next_element()?
            .ok_or_else(|| de::Error::custom("no width"))?;
        let rows = seq.next_element_seed(Rows(width))?;
        Ok(Seeded(
            width,
            rows.ok_or_else(|| de::Error::custom("no rows"))?,
        ))
    }
});

/// Fails when it is written, or read, with these words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bomb(Result<Vec<u8>, (bool, String)>);

written!(Bomb, |it, s| match &it.0 {
    Err((true, why)) => Err(serde::ser::Error::custom(why)),
    Err((false, why)) => s.serialize_str(why),
    Ok(bytes) => bytes.serialize(s),
});
read!(Bomb, deserialize_any(), "no bomb", {
    fn visit_str<E: de::Error>(self, why: &str) -> Result<Bomb, E> {
        Err(E::custom(why))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Bomb, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(|bytes| Bomb(Ok(bytes)))
    }
});

/// Writes those fields that are set, and says nothing of the others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetFields(u8);

const EIGHT: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h"];

written!(SetFields, |it, s| {
    let set = (0..EIGHT.len()).filter(|bit| it.0 >> bit & 1 == 1);
    let all: Vec<_> = set.map(|bit| (EIGHT[bit], bit as u32)).collect();
    fields(s, all.len(), &all)
});
read!(
    SetFields,
    deserialize_struct("SetFields", EIGHT),
    "names",
    {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SetFields, A::Error> {
            let mut all = SetFields(0);
            while let Some((name, bit)) = map.next_entry::<String, u32>()? {
                if EIGHT.get(bit as usize) != Some(&name.as_str()) {
                    return Err(de::Error::custom(format_args!("{bit} at {name}")));
                }
                all.0 |= 1 << bit;
            }
            Ok(all)
        }
    }
);

/// Read by the derive, which knows a field by two names; written with both.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct TwoNames {
    #[serde(alias = "b")]
    a: u32,
    c: u32,
}

written!(TwoNames, |it, s| fields(
    s,
    3,
    &[("a", it.a), ("b", it.a), ("c", it.c)]
));

/// Things with prices, one of which is no good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    name: String,
    price: Bomb,
}

fn order(price: Bomb) -> Order {
    let item = |price| Item {
        name: "n".into(),
        price,
    };
    let good = || item(Bomb(Ok(vec![1])));
    Order {
        customer: "c".into(),
        items: vec![good(), good(), good(), item(price), good()],
    }
}

fn bomb(when_written: bool) -> Bomb {
    Bomb(Err((when_written, "the price of eggs is no number".into())))
}

family! {
    ByNames(ByNames) "only visit_map" all!(ByNames) => Equal;
    InOrder(InOrder) "only visit_seq" all!(InOrder) => Equal;
    InChangingOrder(Vec<InChangingOrder>) "fields in changing order" [all!(InChangingOrder).to_vec()] => Equal;
    Sparse(Sparse) "skip_field for fields that nobody knows" all!(Sparse) => Equal;
    TooFewDeclared(TooFewDeclared) "a struct of more fields than declared" all!(TooFewDeclared) => Equal;
    TooManyDeclared(TooManyDeclared) "a struct of fewer fields than declared" all!(TooManyDeclared) => Equal;
    Nothing(Nothing) "written as (), read as a struct" all!(Nothing) => Refused("invalid type: unit value, expected names, and nothing else will do");
    AsMap(AsMap) "written as a map, read as a struct" all!(AsMap) => Equal;
    AsTuple(AsTuple) "written as a tuple, read as a list" all!(AsTuple) => Equal;
    AsText(AsText) "only visit_str; collect_str" all!(AsText) => Equal;
    FromAny(FromAny) "a struct by deserialize_any" all!(FromAny) => Equal;
    Ignoring(Ignoring) "entries that are passed over" all!(Ignoring) => Equal;
    Miscounted(Miscounted) "lists of other lengths than declared, or of none" miscounted() => Equal;
    Breaking(Breaking) "numbers, and then something else" [
        Breaking(vec![1, -1, 2, i64::MIN, 3], Some(NumberOrText::Text("x".into()))),
        Breaking(vec![1, -1, 2, i64::MIN, 3], Some(NumberOrText::Number(u64::MAX))),
        Breaking(vec![1; 5], None),
        Breaking(vec![], Some(NumberOrText::Text("x".into()))),
    ] => Equal;
    NumberOrText(Vec<NumberOrText>) "a number or a text, whichever comes" [vec![NumberOrText::Number(1), NumberOrText::Text("1".into()), NumberOrText::Number(u64::MAX)]] => Equal;
    TextOrNull(Vec<TextOrNull>) "null or a text, whichever comes" [vec![TextOrNull(None), TextOrNull(Some("x".into()))]] => Equal;
    ByteBuf(ByteBuf) "serialize_bytes, deserialize_byte_buf" [ByteBuf(vec![]), ByteBuf(vec![1, 255])] => Equal;
    ByteList(ByteList) "bytes to who knows lists" [ByteList(vec![]), ByteList(vec![1, 255])] => Equal;
    Variant(Vec<Variant>) "variants by hand" [vec![Variant::First { x: 1, y: 2 }, Variant::First { x: 2, y: 1 }, Variant::Second(3), Variant::Third]] => Equal;
    LikeJson(LikeJson) "an enum written as JSON has it" [LikeJson::Unit, LikeJson::New(None), LikeJson::New(Some(1)), LikeJson::Tuple(1, 2), LikeJson::Struct { x: 1 }] => Equal;
    SetFields(Vec<SetFields>) "structs of all sets of fields" [(0..=255).map(|set: u8| SetFields(set.reverse_bits())).collect::<Vec<_>>()] => Equal;
    TwoNames((TwoNames, Option<u8>)) "a field and its alias" [(TwoNames { a: 1, c: 2 }, None)] => Refused("elements");
    Seeded(Seeded) "a seed that knows more" [Seeded(2, vec![vec![1, 2], vec![3, 4]])] => Equal;
    SeededBadly(Seeded) "a seed that refuses" [Seeded(2, vec![vec![1, 2], vec![3]])] => Refused("a row is not 2 wide", "[1]");
    BombWritten(Order) "an error of its own when written" [order(bomb(true))] => Refused("encoded", "items[3].price", "`price` of `Item`", "the price of eggs is no number");
    BombRead(Order) "an error of its own when read" [order(bomb(false))] => Refused("decoded", "items[3].price", "`price` of `Item`", "the price of eggs is no number");
}
