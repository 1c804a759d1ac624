//! What workers inherit of the program beside its code.

use serde::{Deserialize, Serialize};

/// What a fork server has of the program's arguments and environment, and so all its workers: they
/// lie in the memory of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Inheritance {
    /// All of them.
    Environment,
    /// The first argument, and what the loader needs; and not the program's stdout, but a pipe to
    /// the fork server. For workers in a sandbox.
    #[cfg_attr(
        any(not(target_os = "linux"), brigade_portable),
        allow(dead_code, reason = "there are no workers")
    )]
    Nothing,
}
