//! The rows of the goals, a file each.

mod s1;
mod s13;
pub(crate) mod s14;
mod s2;

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
    /// A killed worker: from SIGKILL to the caller's error.
    S13,
    /// Memory of an idle process worker; a thousand of them.
    S14,
}

impl Name {
    pub(crate) const ALL: [Name; 4] = [Name::S1, Name::S2, Name::S13, Name::S14];

    pub(crate) fn measure(self, quick: bool) -> io::Result<Vec<Row>> {
        match self {
            Name::S1 => s1::measure(quick),
            Name::S2 => s2::measure(quick),
            Name::S13 => s13::measure(quick),
            Name::S14 => s14::measure(quick),
        }
    }
}

/// No figure came out of it: a mistake of this program's.
fn empty() -> io::Error {
    io::Error::other("nothing was measured")
}
