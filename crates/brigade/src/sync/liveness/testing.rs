//! Processes that are none: for tests, which cannot kill a thread.

use super::{LivenessTable, Token};

/// A process that has a slot of the table, and is alive until it is killed.
#[derive(Debug)]
pub(crate) struct FakeProcess {
    token: Token,
}

impl FakeProcess {
    pub(crate) fn new() -> FakeProcess {
        let liveness = LivenessTable::get().expect("a liveness table");
        FakeProcess {
            token: liveness.allot().expect("a slot"),
        }
    }

    /// The token that the first one of this program has, as long as it lives.
    pub(crate) fn first() -> Token {
        Token::worker(0, 1)
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn kill(self) {
        LivenessTable::get()
            .expect("a liveness table")
            .mark_dead(self.token);
    }

    /// The token of one that has been dead for long.
    pub(crate) fn dead() -> Token {
        let process = FakeProcess::new();
        let token = process.token();
        process.kill();
        token
    }
}
