//! Bytes that no encoder writes, and types that make the most of them.

use serde::{Deserialize, Serialize};

use super::*;
use crate::task::codec::format::MAX_BYTES;

/// Runs on a stack as small as the smallest that programs have.
fn on_stack(bytes: usize, f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(bytes)
            .spawn_scoped(scope, f)
            .expect("a thread")
            .join()
            .expect("joined");
    });
}

/// An option of itself: each level can be read from the bytes of the one before.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Forever(Option<Box<Forever>>);

#[test]
fn an_option_of_itself_ends() {
    // A bare value where an option was expected is `Some` of it, and so is what is in there.
    on_stack(1 << 20, || {
        for value in [
            vec![tag::TRUE],
            vec![7],
            vec![tag::SHORT_STR],
            vec![tag::SEQ, 0],
        ] {
            let bytes = [&[VERSION][..], &value].concat();
            let why = decode::<Forever>(&bytes, Vec::new()).expect_err("no such value");
            assert!(why.contains("nested"), "{why}");
        }
    });
}

#[test]
fn an_option_of_itself_ends_in_runs_and_keys() {
    use std::collections::BTreeMap;
    on_stack(1 << 20, || {
        let run = [VERSION, tag::RUN, 4, 1, 2, 3, 4];
        let why = decode::<Vec<Forever>>(&run, Vec::new()).expect_err("no such value");
        assert!(why.contains("nested"), "{why}");
        // A struct's names as keys.
        let mut fields = Vec::new();
        encode(&Named { name: 7 }, &mut fields).expect("encodes");
        let why = decode::<BTreeMap<Forever, u8>>(&fields, Vec::new()).expect_err("no such value");
        assert!(why.contains("nested"), "{why}");
    });
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: u8,
}

/// A list that is as long as one likes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Node {
    number: u64,
    next: Option<Box<Node>>,
}

impl Drop for Node {
    // The derived one would recurse.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}

fn list(levels: u64) -> Node {
    let mut list = Node::default();
    for number in 1..levels {
        let next = Some(Box::new(list));
        list = Node { number, next };
    }
    list
}

/// The encoding of a list of so many levels, whose depth was not looked at.
fn encoded_list(levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&list(2), &mut bytes).expect("encodes");
    // Version, struct, number, `Some`, struct, number, `None`, names.
    assert_eq!(
        &bytes[1..7],
        [tag::STRUCT, 1, tag::SOME, tag::STRUCT, 0, tag::NONE]
    );
    let names = bytes.split_off(6);
    bytes.truncate(1);
    for _ in 1..levels {
        bytes.extend_from_slice(&[tag::STRUCT, 1, tag::SOME]);
    }
    bytes.extend_from_slice(&[tag::STRUCT, 0]);
    bytes.extend_from_slice(&names);
    bytes
}

#[test]
fn a_list_a_million_deep_is_refused_on_any_stack() {
    for stack in [192 << 10, 2 << 20, 16 << 20] {
        on_stack(stack, || {
            let why = encode(&list(1_000_000), &mut Vec::new()).expect_err("too deep");
            assert!(
                why.contains("levels deep") && why.contains("encoded"),
                "{why}"
            );
            assert!(
                why.len() < 2000,
                "a sentence, not a path of {} bytes",
                why.len()
            );
            let why = decode::<Node>(&encoded_list(1_000_000), Vec::new()).expect_err("too deep");
            assert!(
                why.contains("levels deep") && why.contains("decoded"),
                "{why}"
            );
            assert!(
                why.len() < 2000,
                "a sentence, not a path of {} bytes",
                why.len()
            );
        });
    }
}

#[test]
fn what_can_be_encoded_in_a_thread_is_some_hundreds_of_levels_deep_in_any_build() {
    on_stack(2 << 20, || {
        let fits = |levels: u64| back::<Node, Node>(&list(levels)).is_ok();
        let (mut fits_so_many, mut not_so_many) = (1_u64, 1 << 17);
        while fits_so_many + 1 < not_so_many {
            let levels = (fits_so_many + not_so_many) / 2;
            match fits(levels) {
                true => fits_so_many = levels,
                false => not_so_many = levels,
            }
        }
        println!("{fits_so_many} levels of Box<Node> on a stack of 2 MiB");
        assert!(fits_so_many >= if cfg!(debug_assertions) { 100 } else { 1000 });
    });
}

#[test]
fn passing_over_a_value_a_million_deep_takes_no_stack() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Less {
        last: u8,
    }
    let mut bytes = vec![VERSION, tag::MAP, 2, tag::SHORT_STR + 1, b'x'];
    bytes.extend(std::iter::repeat_n(tag::SOME, 1_000_000));
    bytes.extend_from_slice(&[tag::NONE, tag::SHORT_STR + 4]);
    bytes.extend_from_slice(b"last\x09");
    on_stack(128 << 10, || {
        assert_eq!(decode::<Less>(&bytes, Vec::new()), Ok(Less { last: 9 }));
    });
}

#[test]
fn claimed_counts_cost_nothing() {
    let mut claims = Vec::new();
    for tag in [
        tag::SEQ,
        tag::MAP,
        tag::STR,
        tag::BYTES,
        tag::RUN,
        tag::RUN + 7,
        tag::STRUCT_REF,
    ] {
        for count in [1_usize, 1000, 1 << 31, (1 << 35) - 1] {
            let mut bytes = vec![VERSION, tag];
            tag::put_count(&mut bytes, count);
            claims.push(bytes);
        }
    }
    for bytes in claims {
        assert!(decode::<Vec<()>>(&bytes, Vec::new()).is_err());
        assert!(decode::<Vec<u64>>(&bytes, Vec::new()).is_err());
        assert!(decode::<String>(&bytes, Vec::new()).is_err());
        assert!(decode::<std::collections::HashMap<u8, ()>>(&bytes, Vec::new()).is_err());
        assert!(decode::<serde_json::Value>(&bytes, Vec::new()).is_err());
        assert!(decode::<Node>(&bytes, Vec::new()).is_err());
    }
}

#[test]
fn elements_without_bytes_have_a_limit() {
    let (limit, count) = (MAX_BYTES.to_string(), (1_usize << 60).to_string());
    let why = encode(&vec![(); 1 << 60], &mut Vec::new()).expect_err("too many");
    assert!(why.contains(&limit) && why.contains(&count[..6]), "{why}");
    // Many, but not too many.
    let many = vec![(); 1_000_000];
    assert_eq!(back(&many), Ok(many));
}

/// A sequence that says nothing of its length, and has no end.
#[derive(Debug, Deserialize)]
struct Endless;

impl Serialize for Endless {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_seq(std::iter::repeat_n([0_u64; 32], usize::MAX).chain([[0; 32]]))
    }
}

#[test]
#[ignore = "takes 2 GiB; run by hand"]
fn a_sequence_without_end_has_a_limit() {
    let why = encode(&Endless, &mut Vec::new()).expect_err("too many");
    assert!(why.contains(&MAX_BYTES.to_string()), "{why}");
}

#[test]
fn names_of_variants_that_are_no_text_are_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Letter {
        #[serde(rename = "é")]
        Acute,
        #[serde(rename = "e")]
        NumberKind,
    }
    let letters = vec![Letter::Acute, Letter::NumberKind];
    let mut bytes = Vec::new();
    encode(&letters, &mut bytes).expect("encodes");
    let read = |bytes: &[u8]| decode::<Vec<Letter>>(bytes, Vec::new());
    assert_eq!(read(&bytes).as_ref(), Ok(&letters));
    // Two names, in three bytes; where they end, and how many there are, two bytes each.
    let names = bytes.len() - 11;
    assert_eq!(&bytes[names..], "ée\x02\0\x03\0\x02\0\0\0".as_bytes());
    // The first ends within its letter; it is longer than all; one is no text.
    for (at, byte) in [(3, 1), (3, 200), (5, 200), (1, b'e'), (2, 0xff)] {
        let mut bytes = bytes.clone();
        bytes[names + at] = byte;
        let why = read(&bytes).expect_err("no such names");
        assert!(why.contains("malformed"), "{why}");
    }
}
