//! Errors that a task gives, of whatever type, as a value that serde can carry.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many sources of an error are kept. An error that is its own source would have no end.
const MAX_SOURCES: usize = 64;

/// Any error, as text: what a task gives where its own error is no [`Message`](crate::Message).
///
/// Most error types (`std::io::Error`, those of anyhow and of most crates) cannot be encoded. `?`
/// turns each of them into a `TaskError`, which keeps the message, the messages of its
/// [sources](Self::sources), the [place](Self::location) of the `?`, and a
/// [backtrace](Self::backtrace) if the environment asks for one. It is a message, arrives equal,
/// and is the same in threads and in processes.
///
/// ```
/// use brigade::{Kind, TaskError};
///
/// fn total(path: String) -> Result<u64, TaskError> {
///     let text = std::fs::read_to_string(path)?; // an io::Error
///     Ok(text.trim().parse()?) // a ParseIntError
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// for kind in Kind::ALL {
///     // The outer error: there is no result. The inner one: the task's own.
///     let result = kind.spawn(total, "/no/such/file".to_owned())?.join()?;
///     let error = result.unwrap_err();
///     assert_eq!(error.message(), "No such file or directory (os error 2)");
///     println!("{error}, at {}", error.location()); // …, at src/main.rs:4:16
/// }
/// # Ok(())
/// # }
/// ```
///
/// As with anyhow, `{}` is the message, `{:#}` the message and its sources on one line, and `{:?}`,
/// which `main` prints, all that is known, on several lines.
///
/// What it cannot do is give the original error back: that is dropped where the task ran. A program
/// that decides by the kind of error gives its tasks an error type of its own that derives serde's
/// traits.
///
/// # As an `Error`
/// Rust allows no type that is an [`Error`] and is also made from every `Error`, so this one, like
/// anyhow's, dereferences to one instead. `?` takes it into a `Box<dyn Error>` (also with `Send`
/// and `Sync`) and into another `TaskError`, thiserror's `#[source]` takes it as it is, and
/// [`into_error`](Self::into_error) makes a real one of it, for anyhow and for others.
///
/// ```
/// use std::error::Error;
/// use brigade::TaskError;
///
/// fn fails() -> Result<(), TaskError> {
///     Err(TaskError::msg("out of stock"))
/// }
///
/// fn boxed() -> Result<(), Box<dyn Error + Send + Sync>> {
///     Ok(fails()?)
/// }
///
/// fn with_anyhow() -> anyhow::Result<()> {
///     Ok(fails().map_err(TaskError::into_error)?)
/// }
///
/// assert_eq!(boxed().unwrap_err().to_string(), "out of stock");
/// assert_eq!(with_anyhow().unwrap_err().to_string(), "out of stock");
/// ```
#[doc(alias = "anyhow")]
#[doc(alias = "eyre")]
#[derive(Clone, PartialEq, Eq)]
pub struct TaskError(Box<ErrorReport>);

/// What is kept of an error. As an [`Error`] it is that error.
#[derive(Clone, PartialEq, Eq)]
struct ErrorReport {
    said: Said,
    location: String,
    backtrace: Option<String>,
}

/// What an error said, and its source.
#[derive(Clone, PartialEq, Eq)]
struct Said {
    message: String,
    source: Option<Box<Said>>,
}

/// How it travels: flat, so that no chain is nested more deeply than a decoder likes.
#[derive(Serialize, Deserialize)]
#[serde(rename = "TaskError")]
struct Wire<'a> {
    message: Cow<'a, str>,
    sources: Vec<Cow<'a, str>>,
    location: Cow<'a, str>,
    backtrace: Option<Cow<'a, str>>,
}

impl TaskError {
    /// An error with this message, which has no source.
    ///
    /// ```
    /// # use brigade::TaskError;
    /// fn half(n: u32) -> Result<u32, TaskError> {
    ///     if n % 2 == 1 {
    ///         return Err(TaskError::msg(format!("{n} is odd")));
    ///     }
    ///     Ok(n / 2)
    /// }
    /// assert_eq!(half(3).unwrap_err().to_string(), "3 is odd");
    /// ```
    #[track_caller]
    pub fn msg(message: impl fmt::Display) -> TaskError {
        TaskError::new(Said::of(message.to_string(), Vec::new()))
    }

    /// An error that is behind a pointer: `TaskError::of(&*boxed)` of a `Box<dyn Error>`, and
    /// `TaskError::of(error.as_ref())` of an `anyhow::Error`. Of a type that is an error `?`, or
    /// [`From`], makes the same.
    ///
    /// ```
    /// # use brigade::TaskError;
    /// let error = anyhow::anyhow!("no flour").context("no bread");
    /// assert_eq!(format!("{:#}", TaskError::of(error.as_ref())), "no bread: no flour");
    /// ```
    #[track_caller]
    pub fn of(error: &dyn Error) -> TaskError {
        let mut sources = Vec::new();
        let mut next = error.source();
        while let Some(source) = next.filter(|_| sources.len() < MAX_SOURCES) {
            sources.push(source.to_string());
            next = source.source();
        }
        TaskError::new(Said::of(error.to_string(), sources))
    }

    #[track_caller]
    fn new(said: Said) -> TaskError {
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        TaskError(Box::new(ErrorReport {
            said,
            location: Location::caller().to_string(),
            backtrace: captured.then(|| backtrace.to_string()),
        }))
    }

    /// This error, as the source of an error with this message: what was to be done, when it
    /// failed. Place and backtrace stay those of the source.
    ///
    /// ```
    /// # use brigade::TaskError;
    /// let error = TaskError::msg("no flour").context("no bread");
    /// assert_eq!(format!("{error}"), "no bread");
    /// assert_eq!(format!("{error:#}"), "no bread: no flour");
    /// ```
    pub fn context(mut self, message: impl fmt::Display) -> TaskError {
        let sources = self.0.said.chain().map(str::to_owned).collect();
        self.0.said = Said::of(message.to_string(), sources);
        self
    }

    /// What the error said.
    pub fn message(&self) -> &str {
        &self.0.said.message
    }

    /// What its source said, then the source of that, and so on: at most 64.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.said.chain().skip(1)
    }

    /// Where the error was made into this one, as `file:line:column`: the place of the `?`.
    pub fn location(&self) -> &str {
        &self.0.location
    }

    /// The calls that led there, if the environment of the task asks for them: `RUST_LIB_BACKTRACE`
    /// or else `RUST_BACKTRACE`, as [`std::backtrace::Backtrace::capture`] reads them. Names are
    /// looked up where the task runs, which takes some milliseconds the first time in each worker.
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// As a type that is an [`Error`].
    pub fn into_error(self) -> impl Error + Clone + Send + Sync + 'static {
        *self.0
    }
}

impl Said {
    /// Each of `sources` is the source of the one before it.
    fn of(message: String, mut sources: Vec<String>) -> Said {
        sources.truncate(MAX_SOURCES);
        let source = sources.into_iter().rev().fold(None, |source, message| {
            Some(Box::new(Said { message, source }))
        });
        Said { message, source }
    }

    /// The error's own message, then those of its sources.
    fn chain(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::successors(Some(self), |said| said.source.as_deref());
        all.map(|said| said.message.as_str())
    }
}

impl<E: Error> From<E> for TaskError {
    #[track_caller]
    fn from(error: E) -> TaskError {
        TaskError::of(&error)
    }
}

impl Deref for TaskError {
    type Target = dyn Error + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl AsRef<dyn Error + Send + Sync> for TaskError {
    fn as_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &**self
    }
}

impl AsRef<dyn Error> for TaskError {
    fn as_ref(&self) -> &(dyn Error + 'static) {
        &**self
    }
}

impl From<TaskError> for Box<dyn Error + Send + Sync> {
    fn from(error: TaskError) -> Self {
        error.0
    }
}

impl From<TaskError> for Box<dyn Error + Send> {
    fn from(error: TaskError) -> Self {
        error.0
    }
}

impl From<TaskError> for Box<dyn Error> {
    fn from(error: TaskError) -> Self {
        error.0
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for ErrorReport {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.said.source()
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.said, f)
    }
}

impl fmt::Debug for ErrorReport {
    /// What `main` prints of an error that it returns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f
                .debug_struct("TaskError")
                .field("message", &self.said.message)
                .field("sources", &self.said.chain().skip(1).collect::<Vec<_>>())
                .field("location", &self.location)
                .field("backtrace", &self.backtrace)
                .finish();
        }
        write!(f, "{}\n    at {}", self.said, self.location)?;
        for source in self.said.chain().skip(1) {
            write!(f, "\ncaused by: {source}")?;
        }
        if let Some(backtrace) = &self.backtrace {
            write!(f, "\n\nstack backtrace:\n{}", backtrace.trim_end())?;
        }
        Ok(())
    }
}

impl Error for Said {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            for source in self.chain().skip(1) {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.chain()).finish()
    }
}

impl Serialize for TaskError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            message: self.message().into(),
            sources: self.sources().map(Cow::from).collect(),
            location: self.location().into(),
            backtrace: self.backtrace().map(Cow::from),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TaskError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TaskError, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let sources = wire.sources.into_iter().map(Cow::into_owned).collect();
        Ok(TaskError(Box::new(ErrorReport {
            said: Said::of(wire.message.into_owned(), sources),
            location: wire.location.into_owned(),
            backtrace: wire.backtrace.map(Cow::into_owned),
        })))
    }
}
