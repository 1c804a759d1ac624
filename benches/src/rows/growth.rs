//! How the four transports grow: with the size of a message, and with the number of senders. One
//! way, from worker processes to this one.

use std::io;

use brigade::channel::Transport;

use crate::peers::kernel;
use crate::report::Row;
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::traffic::{self, gigabytes};

const SHM: &str = "channel::shm";
const PIPE: &str = "channel::pipe";
const SOCKET: &str = "channel::socket";
const QUEUE: &str = "channel::queue";

const ALL: [(&str, Transport, usize); 4] = [
    (SHM, Transport::SharedMemory, 1024),
    (PIPE, Transport::Pipe, 1024),
    (SOCKET, Transport::Socket, 1024),
    (QUEUE, Transport::Queue, kernel::QUEUE),
];

/// Sizes, and how many of each are timed.
const SIZES: [(&str, usize, u32); 7] = [
    ("messages of 64 B, one way", 64, 60_000),
    ("messages of 1 KiB", 1 << 10, 60_000),
    ("messages of 4 KiB", 4 << 10, 40_000),
    ("messages of 64 KiB", 64 << 10, 3000),
    ("messages of 1 MiB", 1 << 20, 200),
    ("messages of 16 MiB", 16 << 20, 10),
    ("messages of 64 MiB", 64 << 20, 5),
];

const SENDERS: [(&str, usize); 3] = [
    ("1 sender, messages of 64 B", 1),
    ("2 senders", 2),
    ("4 senders", 4),
];

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 3 } else { 9 };
    let mut rows = Vec::new();
    for (what, len, count) in SIZES {
        let message = vec![7_u8; len];
        let contenders = ALL
            .iter()
            .map(|&(name, over, capacity)| {
                let message = &message;
                Contender::new(name, move || {
                    traffic::one_way(over, capacity, 1, message, count)
                        .map(|millions| gigabytes(millions, len))
                })
            })
            .collect();
        let all = take_turns(rounds, contenders)?;
        rows.push(Row::new("Size", what, "GB/s", &all, &[]).ok_or_else(rows::empty)?);
    }
    for (what, senders) in SENDERS {
        let contenders = ALL
            .iter()
            .map(|&(name, over, capacity)| {
                Contender::new(name, move || {
                    traffic::one_way(over, capacity, senders, &traffic::SMALL, 60_000)
                })
            })
            .collect();
        let all = take_turns(rounds, contenders)?;
        rows.push(Row::new("Senders", what, "M/s", &all, &[]).ok_or_else(rows::empty)?);
    }
    if let Some(first) = rows.first_mut() {
        first.notes.push("a message is a Vec<u8>: the sender allocates each and copies it from a source, the receiver drops each".to_owned());
    }
    Ok(rows)
}
