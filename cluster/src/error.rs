//! What can go wrong between this program and the servers.

use std::io;
use std::time::Duration;

/// Why the servers could not be used, or a setting was refused. Tasks end with a
/// [`brigade::JoinError`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of an application has other characters in it than letters, digits, `-` and `_`, or
    /// none, or more than 64.
    #[error("`{0}` cannot name an application: it takes 1 to 64 letters, digits, `-` and `_`")]
    Name(String),
    /// The name of a build has other characters in it than letters, digits, `-` and `_`, or none,
    /// or more than 64.
    #[error("`{0}` cannot name a build: it takes 1 to 64 letters, digits, `-` and `_`")]
    Build(String),
    /// No connection could be made. Says why.
    #[error("no connection to {url}: {why}")]
    Connect {
        /// Where to; without a password.
        url: String,
        /// The client's own words.
        why: String,
    },
    /// The server is of an older version than this crate works with.
    #[error(
        "the server is nats-server {found}; {} or later is needed",
        crate::OLDEST_SERVER
    )]
    OldServer {
        /// What it says of itself.
        found: String,
    },
    /// The server takes only smaller messages than this crate sends: its `max_payload` has to be
    /// 512 KiB at least. By default it is 1 MiB.
    #[error(
        "the server takes messages of {most} bytes at most; its `max_payload` has to be 512 KiB or more"
    )]
    SmallMessages {
        /// What it says that it takes.
        most: usize,
    },
    /// No worker that lives has the task, and it was [to be
    /// offered](crate::TaskBuilder::only_if_offered). Says which builds there are.
    #[error("{0}")]
    NotOffered(String),
    /// A request was refused or failed. Says which, and why.
    #[error("could not {what}: {why}")]
    Request {
        /// What was to be done.
        what: &'static str,
        /// The client's or the server's own words.
        why: String,
    },
    /// A request had no answer in [its time](crate::Settings::request_timeout). What a server does
    /// not permit it does not answer; it is told as an event of `tracing` then.
    #[error("could not {what}: no answer in {after:?}")]
    TimedOut {
        /// What was to be done.
        what: &'static str,
        /// The time that it had.
        after: Duration,
    },
    /// The local pool could not be started.
    #[error("the local pool could not be started: {0}")]
    Local(#[from] io::Error),
}
