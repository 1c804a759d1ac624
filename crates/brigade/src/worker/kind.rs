//! The kinds of workers, and their words.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

    /// The kind that this environment variable names, `thread` or `process`. `None`: it is not set.
    ///
    /// ```
    /// use brigade::{Kind, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let kind = Kind::from_env("KITCHEN_WORKERS")?.unwrap_or(Kind::Thread);
    /// let pool = Pool::new(kind, 2)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// It is set to something else, or to nothing: the error names the variable.
    pub fn from_env(variable: &str) -> Result<Option<Kind>, ParseKindError> {
        let Some(word) = std::env::var_os(variable) else {
            return Ok(None);
        };
        word.to_string_lossy()
            .parse()
            .map(Some)
            .map_err(|e: ParseKindError| ParseKindError {
                variable: Some(variable.to_owned()),
                ..e
            })
    }

    /// Refuses a worker's name that the kernel does not take.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKindError {
    word: String,
    /// The environment variable that has it.
    variable: Option<String>,
}

impl std::error::Error for ParseKindError {}

impl fmt::Display for ParseKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        write!(
            f,
            "`{}` is not a kind of worker: expected `thread` or `process`",
            self.word
        )
    }
}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(word: &str) -> Result<Kind, ParseKindError> {
        match word {
            "thread" => Ok(Kind::Thread),
            "process" => Ok(Kind::Process),
            other => Err(ParseKindError {
                word: other.to_owned(),
                variable: None,
            }),
        }
    }
}

/// For a flag of a command line: `#[arg(long, value_enum)] kind: Kind`.
#[cfg(feature = "clap")]
impl clap::ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Kind] {
        &Kind::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self {
            Kind::Thread => clap::builder::PossibleValue::new("thread")
                .help("in a thread of this program: light, and shares its memory and its fate"),
            Kind::Process => clap::builder::PossibleValue::new("process")
                .help("in a process of its own: contained"),
        })
    }
}
