//! The rows of the goals, a file each.

mod curves;
mod growth;
mod s1;
mod s10;
mod s11;
mod s12;
mod s13;
pub(crate) mod s14;
mod s15;
mod s16;
mod s17;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;
mod users;

use std::io;

use clap::ValueEnum;

use crate::report::Row;

/// A row of the goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Fresh process.
    S1,
    /// Fresh thread.
    S2,
    /// Pool of processes: null tasks, one at a time.
    S3,
    /// The same: a million null tasks.
    S4,
    /// The same: tasks of 10 µs.
    S5,
    /// Pool of threads: the same three.
    S6,
    /// Channel over shared memory: 64 B there and back.
    S7,
    /// The same, one way, messages a second.
    S8,
    /// The same, one way, 1 MiB of bytes.
    S9,
    /// Channels over a pipe, a socket and a queue.
    S10,
    /// A shared region to a worker and back.
    S11,
    /// Locks.
    S12,
    /// A killed worker: from SIGKILL to the caller's error.
    S13,
    /// Memory of an idle process worker; a thousand of them.
    S14,
    /// Large values through a pool and channels.
    S15,
    /// A worker in a sandbox.
    S16,
    /// Values: encoding and decoding.
    S17,
    /// How the four transports grow with the size of a message, and with the number of senders.
    Growth,
    /// How pools grow with the length, the input and the number of tasks, and with the number of
    /// workers.
    Curves,
    /// What users of pools ask for: growth under a burst, streams, actors, tasks by name, contexts,
    /// matrices, stacks.
    Users,
}

impl Name {
    pub(crate) const ALL: [Name; 20] = [
        Name::S1,
        Name::S2,
        Name::S3,
        Name::S4,
        Name::S5,
        Name::S6,
        Name::S7,
        Name::S8,
        Name::S9,
        Name::S10,
        Name::S11,
        Name::S12,
        Name::S13,
        Name::S14,
        Name::S15,
        Name::S16,
        Name::S17,
        Name::Growth,
        Name::Curves,
        Name::Users,
    ];

    pub(crate) fn measure(self, quick: bool) -> io::Result<Vec<Row>> {
        match self {
            Name::S1 => s1::measure(quick),
            Name::S2 => s2::measure(quick),
            Name::S3 => s3::measure(quick),
            Name::S4 => s4::measure(quick),
            Name::S5 => s5::measure(quick),
            Name::S6 => s6::measure(quick),
            Name::S7 => s7::measure(quick),
            Name::S8 => s8::measure(quick),
            Name::S9 => s9::measure(quick),
            Name::S10 => s10::measure(quick),
            Name::S11 => s11::measure(quick),
            Name::S12 => s12::measure(quick),
            Name::S13 => s13::measure(quick),
            Name::S14 => s14::measure(quick),
            Name::S15 => s15::measure(quick),
            Name::S16 => s16::measure(quick),
            Name::S17 => s17::measure(quick),
            Name::Growth => growth::measure(quick),
            Name::Curves => curves::measure(quick),
            Name::Users => users::measure(quick),
        }
    }
}

/// No figure came out of it: a mistake of this program's.
fn empty() -> io::Error {
    io::Error::other("nothing was measured")
}
