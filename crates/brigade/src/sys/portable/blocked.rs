//! In place of `blocked`: nothing is known of a thread that waits.

/// Why a thread cannot answer: it was never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    Stopped,
    Blocks,
    NoHandler,
    Ended,
}

/// A thread, seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) cannot_answer: Option<NoAnswer>,
    pub(crate) place: String,
}
