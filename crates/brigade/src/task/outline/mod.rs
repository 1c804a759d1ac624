//! What a type is made of, as serde's `Deserialize` asks for it: names of structs, of their fields
//! and of variants, in order, and what each is.
//!
//! Problem: two builds of a program may mean different types by one name, and the encoding of
//! values is positional. A type tells nothing of itself at run time, but its `Deserialize` does: it
//! asks a reader for a struct of these fields, and then for each of them. So a reader that has no
//! value ([`tracer`]) gives it samples and writes down what it was asked for. An enum is read again
//! until each of its variants was chosen once.
//!
//! What is not seen so: what is read by an implementation that asks for anything at all
//! (`deserialize_any`: `untagged`, internally tagged and flattened types); and all behind a value
//! whose samples are refused. There the outline says `?`, and is marked as partial: then the
//! type's own name and size stand beside it.

mod format;
mod tracer;

use std::fmt::Write;

use serde::de::DeserializeOwned;

use self::format::{Container, Format, TypeContent, TypeFields};
use self::tracer::TypeTrace;

/// Longer outlines are cut, and a hash of what is cut stands in its place.
const LONGEST: usize = 16 * 1024;

/// What `T` is made of, on one line.
pub(crate) fn of<T: DeserializeOwned>() -> String {
    let mut text = match tracer::trace::<T>() {
        Some((format, trace)) => {
            let mut writer = OutlineWriter {
                trace: &trace,
                text: String::new(),
                written: vec![None; trace.containers.len()],
                is_partial: trace.is_partial,
            };
            writer.format(&format);
            let OutlineWriter {
                mut text,
                is_partial,
                ..
            } = writer;
            if is_partial {
                text += &by_name::<T>();
            }
            text
        }
        None => format!("?{}", by_name::<T>()),
    };
    if text.len() > LONGEST {
        let end = super::text::floor_char_boundary(&text, LONGEST);
        let rest = hash(&text.as_bytes()[end..]);
        text.truncate(end);
        let _ = write!(text, "… ({rest:016x})");
    }
    text
}

fn by_name<T>() -> String {
    let name = std::any::type_name::<T>();
    format!(" ({name}, {} bytes)", size_of::<T>())
}

/// FNV-1a, of 64 bits: the same in all builds.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

struct OutlineWriter<'t> {
    trace: &'t TypeTrace,
    text: String,
    /// The number of a container that was written already.
    written: Vec<Option<usize>>,
    is_partial: bool,
}

impl OutlineWriter<'_> {
    fn format(&mut self, format: &Format) {
        match format {
            Format::Unknown => {
                self.is_partial = true;
                self.text.push('?');
            }
            Format::Any => {
                self.is_partial = true;
                self.text += "any";
            }
            Format::Plain(name) => self.text += name,
            Format::Option(of) => self.within("Option<", &[of], ">"),
            Format::Seq(of) => self.within("[", &[of], "]"),
            Format::Map(key, value) => self.within("{", &[key, value], "}"),
            Format::Tuple(all) => self.tuple(all),
            Format::Container(at) => self.container(*at),
        }
    }

    fn within(&mut self, before: &str, all: &[&Format], after: &str) {
        self.text += before;
        for (i, format) in all.iter().enumerate() {
            self.text += if i == 0 { "" } else { ": " };
            self.format(format);
        }
        self.text += after;
    }

    /// Equal ones that follow each other are an array.
    fn tuple(&mut self, all: &[Format]) {
        self.text.push('(');
        let mut rest = all;
        while let [first, ..] = rest {
            let same = rest.iter().take_while(|format| *format == first).count();
            self.text += if rest.len() == all.len() { "" } else { ", " };
            self.format(first);
            if same > 1 {
                let _ = write!(self.text, "; {same}");
            }
            rest = &rest[same..];
        }
        self.text.push(')');
    }

    /// The second time, by its name.
    fn container(&mut self, at: usize) {
        let Container { name, content } = &self.trace.containers[at];
        self.text += name;
        let before = self.written.iter().flatten().count();
        if let Some(number) = self.written[at] {
            let _ = write!(self.text, "#{number}");
            return;
        }
        self.written[at] = Some(before);
        match content {
            TypeContent::Struct(content) => self.content(content),
            TypeContent::Enum(variants) => {
                self.text += "::{";
                for (i, (name, content)) in variants.iter().enumerate() {
                    self.text += if i == 0 { "" } else { " | " };
                    self.text += name;
                    match content {
                        Some(content) => self.content(content),
                        None => self.format(&Format::Unknown),
                    }
                }
                self.text.push('}');
            }
        }
    }

    fn content(&mut self, content: &TypeFields) {
        match content {
            TypeFields::Unit => {}
            TypeFields::Newtype(of) => self.within("(", &[of], ")"),
            TypeFields::Tuple(all) => self.tuple(all),
            TypeFields::Named(names, formats) => {
                self.text += " { ";
                for (i, name) in names.iter().enumerate() {
                    self.text += if i == 0 { "" } else { ", " };
                    self.text += name;
                    self.text += ": ";
                    self.format(formats.get(i).unwrap_or(&Format::Unknown));
                }
                self.text += " }";
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::net::IpAddr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use serde::Deserialize;

    use super::of;

    #[expect(dead_code, reason = "only their outlines are wanted")]
    mod types {
        use super::*;

        #[derive(Deserialize)]
        pub(super) struct Item {
            name: String,
            price: f64,
        }

        #[derive(Deserialize)]
        pub(super) enum Kind {
            Plain,
            Many(Vec<Item>),
            Pair(u8, Item),
            Named { item: Item, count: NonZeroU32 },
        }

        #[derive(Deserialize)]
        pub(super) struct Order {
            id: u64,
            kind: Kind,
            after: Option<Box<Order>>,
        }

        #[derive(Deserialize)]
        pub(super) enum Expr {
            Add(Box<Expr>, Box<Expr>),
            Neg(Box<Expr>),
            Num(i64),
        }

        #[derive(Deserialize)]
        pub(super) struct Newtype(pub(super) [u8; 3]);

        #[derive(Deserialize)]
        pub(super) struct Unit;

        #[derive(Deserialize)]
        #[serde(untagged)]
        pub(super) enum Untagged {
            A(u8),
            B(String),
        }

        pub(super) mod other {
            #[derive(serde::Deserialize)]
            pub(in super::super) struct Item {
                name: String,
                price: f32,
            }
        }
    }

    #[test]
    fn a_type_tells_its_fields_and_those_of_its_fields() {
        assert_eq!(of::<u8>(), "u8");
        assert_eq!(of::<(u8, u8, String)>(), "(u8; 2, str)");
        assert_eq!(of::<types::Newtype>(), "Newtype((u8; 3))");
        assert_eq!(of::<types::Unit>(), "Unit");
        assert_eq!(of::<Option<Vec<char>>>(), "Option<[char]>");
        assert_eq!(of::<BTreeMap<String, bool>>(), "{str: bool}");
        assert_eq!(of::<HashMap<u8, ()>>(), "{u8: ()}");
        assert_eq!(of::<types::Item>(), "Item { name: str, price: f64 }");
        assert_eq!(of::<Duration>(), "Duration { secs: u64, nanos: u32 }");
    }

    #[test]
    fn each_variant_of_an_enum_is_told() {
        assert_eq!(
            of::<types::Order>(),
            "Order { id: u64, kind: Kind::{Plain | Many([Item { name: str, price: f64 }]) \
             | Pair(u8, Item#2) | Named { item: Item#2, count: u32 }}, after: Option<Order#0> }"
        );
        assert_eq!(
            of::<types::Expr>(),
            "Expr::{Add(Expr#0; 2) | Neg(Expr#0) | Num(i64)}"
        );
        assert_eq!(of::<Result<u8, String>>(), "Result::{Ok(u8) | Err(str)}");
    }

    #[test]
    fn two_types_of_one_name_are_two() {
        let both = of::<(types::Item, types::other::Item)>();
        assert!(both.contains("f64") && both.contains("f32"), "{both}");
    }

    #[test]
    fn text_that_is_read_in_its_own_way_is_given_samples() {
        assert_eq!(of::<IpAddr>(), "str");
        assert_eq!(
            of::<Vec<(IpAddr, types::Item)>>(),
            "[(str, Item { name: str, price: f64 })]"
        );
        assert_eq!(of::<uuid::Uuid>(), "str");
        assert_eq!(of::<semver::Version>(), "str");
        assert_eq!(of::<chrono::DateTime<chrono::Utc>>(), "str");
    }

    #[test]
    fn what_cannot_be_seen_is_said_and_told_by_its_name() {
        let untagged = of::<types::Untagged>();
        assert!(untagged.starts_with("any ("), "{untagged}");
        assert!(untagged.contains("::types::Untagged, "), "{untagged}");
        let value = of::<serde_json::Value>();
        assert!(value.contains("serde_json::value::Value, "), "{value}");
        let receiver = of::<crate::channel::Receiver<u8>>();
        assert!(receiver.contains("Receiver<u8>"), "{receiver}");
    }
}
