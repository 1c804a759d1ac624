//! S9, channel over shared memory: 1 MiB of bytes in each message, one way, from a worker process
//! to this one.
//!
//! A message is a `Vec<u8>`. The sender keeps it and sends copies (`send_ref`), as the ring and
//! iceoryx2 copy out of a source that they keep; the receiver is given a vector of its own for
//! each, and drops it. Beside it, the sender that gives each away (`send`), and so has to make
//! each: allocated, and copied.

use std::io;

use brigade::channel::{self, Sender, Transport};
use brigade::process;

use crate::peers::{iceoryx, ipc, memory};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::traffic::{self, arrivals, gigabytes, join};

const LEN: usize = 1 << 20;
const CAPACITY: usize = 4;

const OURS: &str = "brigade, channel::shm";
const GIVEN: &str = "ours, vectors made and given away";
const COPY: &str = "memcpy";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    const MANY: u32 = 600;
    const FEW: u32 = 60;
    let message = vec![7_u8; LEN];
    let in_gigabytes = |millions: f64| gigabytes(millions, LEN);
    let all = take_turns(
        if quick { 7 } else { 25 },
        vec![
            Contender::new(OURS, || lent(MANY).map(in_gigabytes)),
            Contender::new(GIVEN, || {
                traffic::one_way(Transport::SharedMemory, CAPACITY, 1, &message, MANY)
                    .map(in_gigabytes)
            }),
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
            .note("brigade: the sender lends one vector; the receiver is given another for each message, and drops it"),
    ])
}

/// A task: sends bytes that it keeps.
fn lend((to, len): (Sender<Vec<u8>>, usize)) {
    let kept = vec![7; len];
    while to.send_ref(&kept).is_ok() {}
}

fn lent(count: u32) -> io::Result<f64> {
    let (to, from) = channel::channel(Transport::SharedMemory, CAPACITY)?;
    let worker = process::spawn(lend, (to, LEN))?;
    let figure = arrivals(count, || from.recv().map(drop).map_err(io::Error::other))?;
    drop(from);
    join(worker)?;
    Ok(figure)
}
