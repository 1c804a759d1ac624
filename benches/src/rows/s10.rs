//! S10, channels over a pipe, a socket and a queue: one way, from a worker process to this one,
//! beside the same system calls with nothing around them.

use std::io;

use brigade::channel::Transport;

use crate::peers::kernel::{self, Through};
use crate::report::{Goal, Row};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::traffic::{self, SMALL};

const CAPACITY: usize = 1024;
const MANY: u32 = 100_000;
const GOAL: Goal = Goal::AtLeast(0.9);

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 7 } else { 25 };
    let pipe = (Transport::Pipe, &[Through::Pipe][..], CAPACITY);
    let socket = (
        Transport::Socket,
        &[Through::Packets, Through::Stream][..],
        CAPACITY,
    );
    let queue = (Transport::Queue, &[Through::Queue][..], kernel::QUEUE);
    Ok(vec![
        row(
            rounds,
            "S10a",
            "channel over a pipe: 64 B, one way",
            64,
            pipe,
        )?,
        row(rounds, "S10b", "the same, 4 KiB", 4096, pipe)?,
        row(
            rounds,
            "S10c",
            "channel over a socket: 64 B, one way",
            64,
            socket,
        )?,
        row(rounds, "S10d", "the same, 4 KiB", 4096, socket)?,
        row(
            rounds,
            "S10e",
            "channel over a queue: 64 B, one way",
            64,
            queue,
        )?,
        row(rounds, "S10f", "the same, 4 KiB", 4096, queue)?,
    ])
}

/// Our transport, what it is measured beside, and how many messages are on their way.
type Pair = (Transport, &'static [Through], usize);

fn row(
    rounds: usize,
    id: &'static str,
    what: &'static str,
    len: usize,
    (over, peers, capacity): Pair,
) -> io::Result<Row> {
    // What the kernel is slow at gets fewer.
    let count = if over == Transport::Queue {
        MANY / 3
    } else {
        MANY
    };
    let bytes = vec![7_u8; len];
    let ours = || match len {
        64 => traffic::one_way_lent(over, capacity, &SMALL, count),
        _ => traffic::one_way_lent(over, capacity, &bytes, count),
    };
    let mut contenders = vec![Contender::new("brigade", ours)];
    contenders.extend(peers.iter().map(|&through| {
        Contender::new(through.name(), move || kernel::one_way(through, len, count))
    }));
    let all = take_turns(rounds, contenders)?;
    let goals = [(peers[0].name(), GOAL)];
    let row = Row::new(id, what, "M/s", &all, &goals).ok_or_else(rows::empty)?;
    Ok(row.note(match len {
        64 => "a message is [f64; 8]",
        _ => "a message is a Vec<u8>, which the sender keeps; what the capacity (1024) allows and the mechanism has no room for goes through memory beside it",
    }))
}
