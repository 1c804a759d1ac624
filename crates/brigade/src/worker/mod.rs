//! WHERE a task runs: in a thread or in a process, behind one handle. `README.md` beside this file
//! tells the protocol of processes.

pub(crate) mod handle;
pub mod process;
pub mod thread;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{JoinHandle, Message};

/// Where a task runs: the one word. In a configuration file, too, it is `thread` or `process`.
#[doc(alias = "WorkerKind")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In a thread of this program: light, and shares its memory and its fate.
    Thread,
    /// In a process of its own: contained.
    Process,
}

impl Kind {
    /// Both kinds, to run the same thing for each.
    pub const ALL: [Kind; 2] = [Kind::Thread, Kind::Process];

    /// Starts `task` on `input`, in a new worker of this kind.
    ///
    /// # Errors
    /// As [`thread::spawn`] and [`process::spawn`].
    #[track_caller]
    pub fn spawn<A: Message, R: Message>(
        self,
        task: fn(A) -> R,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        match self {
            Kind::Thread => thread::spawn(task, input),
            Kind::Process => process::spawn(task, input),
        }
    }

    /// Refuses a worker's name that the kernel could not be told.
    pub(crate) fn check_name(self, name: &str) -> io::Result<()> {
        if name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a {self}'s name cannot contain a zero byte"),
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Thread => "thread",
            Kind::Process => "process",
        })
    }
}

/// The word was neither `thread` nor `process`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of worker: expected `thread` or `process`")]
pub struct ParseKindError(String);

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(word: &str) -> Result<Kind, ParseKindError> {
        match word {
            "thread" => Ok(Kind::Thread),
            "process" => Ok(Kind::Process),
            other => Err(ParseKindError(other.to_owned())),
        }
    }
}
