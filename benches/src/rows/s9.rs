//! S9, channel over shared memory: 1 MiB of bytes in each message, one way, from a worker process to this one.
//!
//! A message is a `Vec<u8>`, which `send` takes by value and `recv` gives by value. So the sender makes each from a source that it keeps: allocated, and
//! copied; the receiver drops each. Both are in our figure. The ring and iceoryx2 copy out of a source too, but into the shared memory itself; the ring
//! copies into one buffer that it keeps, and iceoryx2 copies nothing out.

use std::io;
use std::sync::Arc;

use brigade::channel::{self, Sender, Transport};
use brigade::process;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peers::{iceoryx, ipc, memory};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::traffic::{self, arrivals, gigabytes, join};

const LEN: usize = 1 << 20;
const CAPACITY: usize = 4;
/// So much less, where a length precedes the bytes, that what is carried is no longer.
const HEAD: usize = 64;

const OURS: &str = "brigade, channel::shm";
const KEPT: &str = "ours, bytes that are kept";
const COPY: &str = "memcpy";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    const MANY: u32 = 600;
    const FEW: u32 = 60;
    let message = vec![7_u8; LEN];
    let in_gigabytes = |millions: f64| gigabytes(millions, LEN);
    let all = take_turns(
        if quick { 7 } else { 25 },
        vec![
            Contender::new(OURS, || {
                traffic::one_way(Transport::SharedMemory, CAPACITY, 1, &message, MANY)
                    .map(in_gigabytes)
            }),
            Contender::new(KEPT, || kept(MANY).map(in_gigabytes)),
            Contender::new(COPY, || memory::copies(LEN, MANY).map(in_gigabytes)),
            Contender::new(memory::RING, || {
                memory::one_way(LEN, CAPACITY as u64, MANY).map(in_gigabytes)
            }),
            Contender::new(iceoryx::COPIED, || {
                iceoryx::one_way(LEN, MANY).map(in_gigabytes)
            }),
            Contender::new(ipc::BYTES, || {
                ipc::bytes_one_way(LEN, MANY / 4).map(in_gigabytes)
            }),
            Contender::new(ipc::SERDE, || ipc::one_way(&message, FEW).map(in_gigabytes)),
        ],
    )?;
    let what = "channel over shared memory: 1 MiB of bytes, one way";
    let row = Row::new("S9", what, "GB/s", &all, &[]).ok_or_else(rows::empty)?;
    Ok(vec![
        row.with_goal(Goal::AtLeast(12.0))
            .note("brigade: in each message's time are a Vec<u8> that is allocated and copied from a source, and one that is dropped")
            .note("bytes that are kept: a type that serde carries as a slice, so that nothing is allocated on either side: copied to be encoded, into the ring, and out"),
    ])
}

/// Bytes that the sender keeps, and that the receiver looks at where they came in.
#[derive(Clone)]
struct Kept(Arc<Vec<u8>>);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
        let bytes: &[u8] = Deserialize::deserialize(deserializer)?;
        std::hint::black_box((bytes.first(), bytes.last()));
        Ok(Kept(Arc::default()))
    }
}

/// A task: sends bytes that it keeps.
fn lend((to, len): (Sender<Kept>, usize)) {
    let kept = Kept(Arc::new(vec![7; len]));
    while to.send(kept.clone()).is_ok() {}
}

fn kept(count: u32) -> io::Result<f64> {
    let (to, from) = channel::channel::<Kept>(Transport::SharedMemory, CAPACITY)?;
    let worker = process::spawn(lend, (to, LEN - HEAD))?;
    let figure = arrivals(count, || from.recv().map(drop).map_err(io::Error::other))?;
    drop(from);
    join(worker)?;
    Ok(figure)
}
