//! Why a value could not be carried: serde's own sentence, and the place in the value.

use std::cell::Cell;
use std::fmt;

use serde::de::{Expected, Unexpected};

use super::json::{self, Lacks};

/// The result of a step of encoding or decoding.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// One allocation, so that a result of a step stays as small as a pointer.
#[derive(Debug)]
pub(crate) struct Error(Box<ErrorData>);

#[derive(Debug)]
struct ErrorData {
    message: String,
    /// The way to the place, innermost first.
    path: Vec<PathStep>,
    /// A visitor has no method for what came.
    is_of_type: bool,
    /// One more visitor is known now to be written for JSON only.
    is_learned: bool,
}

/// The most steps of a way that are shown at either end of it.
const SHOWN: usize = 12;

thread_local! {
    /// The errors of this thread so far, each kind in a half: in one word, for each message looks
    /// at it.
    static COUNTS: Cell<u64> = const { Cell::new(0) };
}

/// One that has got a place.
const PLACED: u64 = 1;
/// One after which a message cannot be read on.
const GRAVE: u64 = 1 << 32;

/// Counts the errors while a message is written or read. Where that succeeds all the same, the
/// program's own code has passed over them.
pub(super) struct Errors(u64);

impl Errors {
    #[inline(always)]
    pub(super) fn begin() -> Errors {
        Errors(COUNTS.get())
    }

    /// None has got a place. A writer that passes over one has left a part of a value in the
    /// message, and it is not known which.
    #[inline(always)]
    pub(super) fn none_placed(&self) -> bool {
        COUNTS.get() as u32 == self.0 as u32
    }

    /// None was a grave one: see [`Error::grave`].
    #[inline(always)]
    pub(super) fn none_grave(&self) -> bool {
        COUNTS.get() / GRAVE == self.0 / GRAVE
    }
}

impl Drop for Errors {
    /// They are none of the message's within which this one is written or read.
    #[inline(always)]
    fn drop(&mut self) {
        COUNTS.set(self.0);
    }
}

/// One more error after which the message cannot be read on.
#[cold]
pub(super) fn count_grave() {
    COUNTS.set(COUNTS.get().wrapping_add(GRAVE));
}

#[derive(Debug)]
enum PathStep {
    Field { of: &'static str, name: String },
    Variant(String),
    Index(usize),
    Key(String),
}

impl Error {
    pub(super) fn new(message: impl fmt::Display) -> Error {
        Error(Box::new(ErrorData {
            message: message.to_string(),
            path: Vec::new(),
            is_of_type: false,
            is_learned: false,
        }))
    }

    /// An error that a visitor may not pass over: where the next value begins is not known, or what
    /// was read depends on what is known now.
    #[cold]
    pub(super) fn grave(message: impl fmt::Display) -> Error {
        count_grave();
        Error::new(message)
    }

    /// The message ended where a value should have gone on.
    #[cold]
    pub(super) fn cut() -> Error {
        Error::grave("its encoding ends in the middle")
    }

    /// A writer has passed over an error, or a reader over a grave one.
    #[cold]
    pub(super) fn passed_over() -> Error {
        Error::new(
            "a part of it failed, and an implementation of Serialize or Deserialize passed over that",
        )
    }

    /// There is something in the message that no encoder writes.
    #[cold]
    pub(super) fn malformed(what: &str) -> Error {
        Error::grave(format_args!("its encoding is malformed: {what}"))
    }

    #[cold]
    fn step(mut self, step: PathStep) -> Error {
        COUNTS.set(COUNTS.get().wrapping_add(PLACED));
        self.0.path.push(step);
        self
    }

    /// `of`: the type's name; empty where it is not known.
    #[cold]
    pub(super) fn in_field(self, of: &'static str, name: &str) -> Error {
        self.step(PathStep::Field {
            of,
            name: name.to_owned(),
        })
    }

    #[cold]
    pub(super) fn in_variant(self, name: &str) -> Error {
        self.step(PathStep::Variant(name.to_owned()))
    }

    #[cold]
    pub(super) fn at_index(self, index: usize) -> Error {
        self.step(PathStep::Index(index))
    }

    #[cold]
    pub(super) fn at_key(self, key: String) -> Error {
        self.step(PathStep::Key(key))
    }

    /// This error; and if it is that visitor `V` has no method for this, that is noted.
    #[cold]
    pub(super) fn or_lacks<V>(mut self, what: Lacks) -> Error {
        if self.0.is_of_type && self.0.path.is_empty() {
            self.0.is_learned |= json::learn::<V>(what);
            // It may be passed over, and the visitor would have given something else.
            count_grave();
        }
        self
    }

    pub(super) fn is_learned(&self) -> bool {
        self.0.is_learned
    }

    /// The error as a sentence about a value of type `T`: the way to the place, then serde's own
    /// words.
    pub(super) fn sentence<T: ?Sized>(&self) -> String {
        let root = std::any::type_name::<T>();
        if self.0.path.is_empty() {
            return format!("`{root}`: {}", self.0.message);
        }
        let mut place = String::new();
        let steps = self.0.path.len();
        for (at, step) in self.0.path.iter().rev().enumerate() {
            // Of a long way, both ends.
            if at >= SHOWN && at < steps - SHOWN.min(steps) {
                if at == SHOWN {
                    place.push('…');
                }
                continue;
            }
            let _ = match step {
                PathStep::Field { name, .. } if place.is_empty() => {
                    fmt::write(&mut place, format_args!("{name}"))
                }
                PathStep::Field { name, .. } => fmt::write(&mut place, format_args!(".{name}")),
                PathStep::Variant(name) => fmt::write(&mut place, format_args!("({name})")),
                PathStep::Index(index) => fmt::write(&mut place, format_args!("[{index}]")),
                PathStep::Key(key) => fmt::write(&mut place, format_args!("[{key}]")),
            };
        }
        // A field of a type further in is better known by that type's name.
        let innermost = self.0.path.iter().find_map(|step| match step {
            PathStep::Field { of, name } if !of.is_empty() && self.0.path.len() > 1 => {
                Some(format!(" (`{name}` of `{of}`)"))
            }
            _ => None,
        });
        format!(
            "`{place}` of `{root}`{}: {}",
            innermost.unwrap_or_default(),
            self.0.message
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::new(message)
    }
}

impl serde::de::Error for Error {
    #[cold]
    fn invalid_type(came: Unexpected<'_>, expected: &dyn Expected) -> Error {
        let mut error = Error::new(format_args!("invalid type: {came}, expected {expected}"));
        error.0.is_of_type = true;
        if matches!(came, Unexpected::Option | Unexpected::Bytes(_)) {
            json::doubt(json::OPTIONS);
        }
        if came == Unexpected::Option && json::may_hide_another_type() {
            count_grave();
        }
        error
    }

    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::new(message)
    }
}
