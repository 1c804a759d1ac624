//! S8, channel over shared memory: 64 B, one way, from worker processes to this one, messages a
//! second.

use std::io;

use brigade::channel::Transport;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peers::{ipc, memory, threads};
use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, Series, take_turns};
use crate::rows;
use crate::traffic::{self, SMALL};

const CAPACITY: usize = 1024;
const MANY: u32 = 400_000;
const FEW: u32 = 40_000;

const OURS: &str = "brigade, channel::shm";
const BYTES: &str = "ours, as a slice of bytes";
const ARRAYS: &str = "ours, as two [u8; 32]";
const VECTOR: &str = "ours, as a Vec<u8>";

/// 64 bytes that serde carries as a slice of bytes.
#[derive(Clone)]
struct Bytes([u8; 64]);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let bytes: &[u8] = Deserialize::deserialize(deserializer)?;
        bytes
            .try_into()
            .map(Bytes)
            .map_err(serde::de::Error::custom)
    }
}

fn ours<T: brigade::Message + Clone>(senders: usize, message: &T) -> io::Result<f64> {
    traffic::one_way(Transport::SharedMemory, CAPACITY, senders, message, MANY)
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 7 } else { 25 };
    Ok(vec![one(rounds)?, several(rounds)?])
}

fn one(rounds: usize) -> io::Result<Row> {
    let all = take_turns(
        rounds,
        vec![
            Contender::new(OURS, || ours(1, &SMALL)),
            Contender::new(BYTES, || ours(1, &Bytes([7; 64]))),
            Contender::new(ARRAYS, || ours(1, &([7_u8; 32], [7_u8; 32]))),
            Contender::new(VECTOR, || ours(1, &vec![7_u8; 64])),
            Contender::new(memory::RING, || {
                memory::one_way(64, CAPACITY as u64, 4 * MANY)
            }),
            Contender::new(ipc::NAME, || ipc::one_way(&SMALL, FEW)),
            Contender::new(threads::CROSSBEAM, || {
                threads::crossbeam_one_way(CAPACITY, 1, MANY)
            }),
        ],
    )?;
    let what = "channel over shared memory: 64 B, one way";
    let row = Row::new("S8a", what, "M/s", &all, &[]).ok_or_else(rows::empty)?;
    Ok(row
        .with_goal(Goal::AtLeast(10.0))
        .note(format!("a message is [f64; 8], capacity {CAPACITY}")))
}

fn several(rounds: usize) -> io::Result<Row> {
    const NAMES: [&str; 3] = ["ours, 1 sender", "ours, 2 senders", "ours, 4 senders"];
    const THREADS: [&str; 3] = [
        "crossbeam (threads), 1 sender",
        "crossbeam (threads), 2 senders",
        "crossbeam (threads), 4 senders",
    ];
    let mut contenders = Vec::new();
    for (place, senders) in [1_u32, 2, 4].into_iter().enumerate() {
        contenders.push(Contender::new(NAMES[place], move || {
            ours(senders as usize, &SMALL)
        }));
        contenders.push(Contender::new(THREADS[place], move || {
            threads::crossbeam_one_way(CAPACITY, senders, MANY)
        }));
    }
    let all: Vec<Series> = take_turns(rounds, contenders)?;
    let growth = |of: usize, to: usize| {
        let ratio = all[of].ratio_to(&all[to]).ok_or_else(rows::empty)?;
        Ok::<String, io::Error>(figure(ratio.median))
    };
    let note = format!(
        "2 senders reach {} × and 4 senders {} × what 1 does; crossbeam's {} × and {} ×",
        growth(2, 0)?,
        growth(4, 0)?,
        growth(3, 1)?,
        growth(5, 1)?
    );
    let what = "the same, with 1, 2 and 4 sending processes";
    let row = Row::new("S8b", what, "M/s", &all, &[]).ok_or_else(rows::empty)?;
    Ok(row.note(note))
}
