//! Why a task of another program cannot be called.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a [`Program`](crate::process::Program) has no such task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The program exports no task of this name.
    #[error(transparent)]
    NoSuchTask(NoSuchTask),
    /// The one that it exports takes or gives other types.
    #[error(transparent)]
    OtherTypes(OtherTypes),
    /// The program could not be asked.
    #[error(transparent)]
    Program(#[from] io::Error),
}

/// A task that a [`Program`](crate::process::Program) does not export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchTask {
    pub(crate) program: PathBuf,
    pub(crate) name: String,
    pub(crate) offered: Vec<String>,
}

impl NoSuchTask {
    /// What was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What there is.
    pub fn offered(&self) -> &[String] {
        &self.offered
    }
}

impl fmt::Display for NoSuchTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, program) = (&self.name, self.program.display());
        write!(f, "the program {program} exports no task `{name}`: ")?;
        if self.offered.is_empty() {
            return f.write_str("it exports none");
        }
        write!(f, "it has `{}`", self.offered.join("`, `"))
    }
}

impl std::error::Error for NoSuchTask {}

/// A task that a [`Program`](crate::process::Program) exports with other types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherTypes {
    pub(crate) program: PathBuf,
    pub(crate) name: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

impl OtherTypes {
    /// What was asked for: `fn(Order { id: u64 }) -> bool`. The words may change with any version.
    pub fn ours(&self) -> &str {
        &self.ours
    }

    /// What the program exports.
    pub fn theirs(&self) -> &str {
        &self.theirs
    }
}

impl fmt::Display for OtherTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, program) = (&self.name, self.program.display());
        let (ours, theirs) = (&self.ours, &self.theirs);
        write!(
            f,
            "task `{name}` of the program {program} is `{theirs}`, and was asked for as `{ours}`"
        )
    }
}

impl std::error::Error for OtherTypes {}
