//! The textbook mechanisms, raw: bytes between two ends, without the library.
//!
//! The contract of a [`Line`]: `send` and `receive` move exactly the bytes they are given, in
//! order, in both directions; a peer that is gone is an error and never a hang. What implements it:
//! [`stream`] (two pipes, or a socket pair), [`queue`] (two POSIX message queues), [`page`] (two
//! rings in shared memory, with futexes).
//!
//! The peer is a thread of this program, or this program once more (`helper peer`): it gets its
//! ends as standard input and output, which every program can be given without any unsafe code
//! between fork and exec.

pub(crate) mod lock;
pub(crate) mod page;
pub(crate) mod peer;
pub(crate) mod queue;
pub(crate) mod stream;

use std::io;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One end of a connection.
pub(crate) trait Line {
    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills all of it.
    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Over {
    /// Two pipes.
    Pipe,
    /// A pair of Unix sockets.
    Socket,
    /// Two POSIX message queues.
    Queue,
    /// Memory that both ends see, with futexes to sleep on.
    Page,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Job {
    /// The peer sends every message back.
    Echo,
    /// The peer takes a batch of messages and then says one byte.
    Sink,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) job: Job,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages of a batch.
    pub(crate) rounds: usize,
    /// Batches that count. One more is made before, to warm up.
    pub(crate) batches: usize,
    /// On which cores the near and the far end stay. Where they are decides more than what they
    /// use.
    pub(crate) cores: [usize; 2],
}

impl Plan {
    /// Does each end have a core of its own?
    pub(crate) fn is_apart(&self) -> bool {
        self.cores[0] != self.cores[1]
    }
}
