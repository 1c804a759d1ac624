//! Whether what is asked for a worker holds on this machine.

use std::fmt;

/// Whether a [`Limit`] holds, or an [`Effect`](crate::sandbox::Effect) of a sandbox, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Enforcement {
    /// The limit holds: by these mechanisms.
    Enforced(String),
    /// In part; what is missing, and why.
    Partial(String),
    /// The limit does not hold; why.
    Unavailable(String),
}

impl Enforcement {
    /// Whether it holds in full.
    pub fn is_enforced(&self) -> bool {
        matches!(self, Enforcement::Enforced(_))
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Enforcement::Enforced(by) => write!(f, "enforced by {by}"),
            Enforcement::Partial(why) => write!(f, "in part: {why}"),
            Enforcement::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}

/// What a [`Builder`](super::Builder) can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`memory_limit`](super::Builder::memory_limit).
    Memory,
    /// [`cpu_limit`](super::Builder::cpu_limit).
    Cpu,
    /// [`open_files_limit`](super::Builder::open_files_limit).
    OpenFiles,
    /// [`file_size_limit`](super::Builder::file_size_limit).
    FileSize,
    /// [`processes_limit`](super::Builder::processes_limit).
    Processes,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 5] = [
        Limit::Memory,
        Limit::Cpu,
        Limit::OpenFiles,
        Limit::FileSize,
        Limit::Processes,
    ];
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::Cpu => "processor time",
            Limit::OpenFiles => "open files",
            Limit::FileSize => "file size",
            Limit::Processes => "processes",
        })
    }
}
