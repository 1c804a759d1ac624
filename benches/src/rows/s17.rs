//! S17, values: encoding and decoding, one after the other, beside postcard.
//!
//! Both write to a new vector, and read from a slice, as programs use them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;

use brigade::{__codec, Message};
use serde::{Deserialize, Serialize};

use crate::report::{Goal, Row};
use crate::rounds::{Contender, each, take_turns};
use crate::rows;

const POSTCARD: &str = "postcard";

/// A record as many programs have them: six fields of as many kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    count: u32,
    delta: i64,
    price: f64,
    open: bool,
    name: String,
}

fn record(id: u64) -> Record {
    Record {
        id,
        count: 3,
        delta: 5,
        price: 2.5,
        open: true,
        name: "a name".to_owned(),
    }
}

/// Integers under 128, for which a positional format has a byte each, or over 2^32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    a: u64,
    b: u32,
    c: i64,
    d: u16,
    e: u64,
    f: i32,
}

fn numbers(large: bool) -> Numbers {
    let large = u64::from(large) << 33;
    Numbers {
        a: 1 + large,
        b: 2,
        c: 3 + large as i64,
        d: 4,
        e: 5 + 2 * large,
        f: 6,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Field<T> {
    before: u8,
    value: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Variant<T> {
    Nothing,
    Value(T),
}

fn enums() -> Vec<Variant<u64>> {
    let value = |n| match n % 2 {
        0 => Variant::Nothing,
        _ => Variant::Value(n),
    };
    (0..100).map(value).collect()
}

#[derive(Clone, Copy)]
struct Repeat {
    rounds: usize,
    times: u32,
}

fn value<T: Message + PartialEq>(
    what: &'static str,
    value: T,
    goal: f64,
    repeat: Repeat,
) -> io::Result<Row> {
    let nanoseconds = |microseconds: f64| microseconds * 1e3;
    let ours = || {
        let mut bytes = Vec::new();
        __codec::encode(black_box(&value), &mut bytes).map_err(io::Error::other)?;
        Ok::<_, io::Error>(bytes)
    };
    let theirs = || postcard::to_allocvec(black_box(&value)).map_err(io::Error::other);
    let our_turn = || {
        each(repeat.times, || {
            let back: T = __codec::decode(black_box(&ours()?)).map_err(io::Error::other)?;
            black_box(back);
            Ok(())
        })
        .map(nanoseconds)
    };
    let their_turn = || {
        each(repeat.times, || {
            let back: T = postcard::from_bytes(black_box(&theirs()?)).map_err(io::Error::other)?;
            black_box(back);
            Ok(())
        })
        .map(nanoseconds)
    };
    let all = take_turns(
        repeat.rounds,
        vec![
            Contender::new("brigade", our_turn),
            Contender::new(POSTCARD, their_turn),
        ],
    )?;
    let (ours, theirs) = (ours()?, theirs()?);
    let back: T = __codec::decode(&ours).map_err(io::Error::other)?;
    if back != value {
        return Err(io::Error::other(format!("{what} did not arrive equal")));
    }
    let row = Row::new("S17", what, "ns", &all, &[(POSTCARD, Goal::AtMost(goal))]);
    let size = format!(
        "{} bytes, postcard {}: {:.2} ×",
        ours.len(),
        theirs.len(),
        ours.len() as f64 / theirs.len() as f64
    );
    Ok(row.ok_or_else(rows::empty)?.note(size))
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 30 } else { 200 };
    let small = Repeat {
        rounds,
        times: 1000,
    };
    let large = Repeat { rounds, times: 10 };
    let records: Vec<Record> = (0..1000).map(record).collect();
    let map: BTreeMap<u64, Record> = (0..10).map(|n| (n, record(n))).collect();
    let floats = vec![0.1_f64; 1000];
    Ok(vec![
        value("u64", 1_u64 << 40, 1.0, small)?,
        value("[f64; 8]", [0.1_f64; 8], 0.5, small)?,
        value("Vec<u8>, 64", vec![7_u8; 64], 0.5, small)?,
        value("String, 32", "x".repeat(32), 1.0, small)?,
        value("struct of 6 fields", record(7), 1.0, small)?,
        value("10 of them", records[..10].to_vec(), 1.0, small)?,
        value("1,000 of them", records, 1.0, large)?,
        value(
            "1,000 of 6 integers under 128",
            vec![numbers(false); 1000],
            1.0,
            large,
        )?,
        value(
            "1,000 of 6 integers, over 2^32",
            vec![numbers(true); 1000],
            1.0,
            large,
        )?,
        value("Vec<f64>, 1,000", floats.clone(), 0.5, large)?,
        value(
            "as a field: [f64; 8]",
            Field {
                before: 1,
                value: [0.1_f64; 8],
            },
            0.5,
            small,
        )?,
        value(
            "as a field: Vec<u8>, 64",
            Field {
                before: 1,
                value: vec![7_u8; 64],
            },
            0.5,
            small,
        )?,
        value(
            "as a field: Vec<f64>, 1,000",
            Field {
                before: 1,
                value: floats.clone(),
            },
            0.5,
            large,
        )?,
        value("in an enum: nothing", Variant::<u8>::Nothing, 1.0, small)?,
        value(
            "in an enum: struct of 6 fields",
            Variant::Value(record(7)),
            1.0,
            small,
        )?,
        value(
            "in an enum: Vec<f64>, 1,000",
            Variant::Value(floats),
            0.5,
            large,
        )?,
        value("100 enums, half of them empty", enums(), 1.0, large)?,
        value("in a map: 10 structs of 6 fields", map, 1.0, small)?,
    ])
}
