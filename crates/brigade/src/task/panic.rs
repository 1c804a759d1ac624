//! Panics as values: message, place and stack of calls.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::contain::discard;
use super::name::TaskName;
use super::symbols::{Frames, Symbols};
use crate::sys::per_process::PerProcess;
use crate::sys::unwind::{self, Calls};

/// A task panicked. The worker went on.
#[derive(Clone)]
pub struct Panic(Box<PanicData>);

#[derive(Clone)]
struct PanicData {
    task: TaskName,
    message: String,
    location: Option<String>,
    frames: Frames,
    backtrace: OnceLock<Option<String>>,
}

impl Panic {
    pub(crate) fn new(task: TaskName, unwound: Unwound, symbols: &Arc<Symbols>) -> Panic {
        Panic(Box::new(PanicData {
            task,
            message: unwound.message,
            location: unwound.location,
            frames: Frames::new(symbols, unwound.calls),
            backtrace: OnceLock::new(),
        }))
    }

    /// A panic of a task that ran elsewhere, as the report from there has it.
    pub(crate) fn told(
        task: TaskName,
        message: String,
        location: Option<String>,
        backtrace: Option<String>,
    ) -> Panic {
        Panic(Box::new(PanicData {
            task,
            message,
            location,
            frames: Frames::told(backtrace, None),
            backtrace: OnceLock::new(),
        }))
    }

    /// The same, of a task of this name.
    pub(crate) fn named(mut self, task: TaskName) -> Panic {
        self.0.task = task;
        self
    }

    /// What the panic said; `Box<dyn Any>` if it was neither a `&str` nor a `String`.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where, as `file:line:column`. `None` if the program replaced the panic hook after the first
    /// task was started.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// The calls that led there, innermost first, one a line. Names are looked up now, which takes
    /// some milliseconds the first time.
    pub fn backtrace(&self) -> Option<&str> {
        self.0
            .backtrace
            .get_or_init(|| self.0.frames.render())
            .as_deref()
    }

    /// The task's function.
    pub fn task(&self) -> &str {
        self.0.task.get()
    }

    /// Where the task was started, which tells it from another where both functions have the same
    /// code: a compiler or linker may merge those, and what is left has one name for all.
    pub fn started_at(&self) -> &'static Location<'static> {
        self.0.task.started()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}` panicked", self.0.task)?;
        if let Some(location) = &self.0.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.0.message)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("task", &self.0.task)
            .field("started_at", &self.0.task.started())
            .field("message", &self.0.message)
            .field("location", &self.0.location)
            .finish_non_exhaustive()
    }
}

/// A panic, as it is carried from where it was caught.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Unwound {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    #[serde(serialize_with = "unwind::serialize")]
    pub(crate) calls: Calls,
}

impl Unwound {
    pub(crate) fn new(payload: Box<dyn Any + Send>, seen: Option<Box<PanicSeen>>) -> Unwound {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "Box<dyn Any>".to_owned()
        };
        discard(payload);
        let (location, calls) =
            seen.map_or((None, Calls::default()), |s| (Some(s.location), s.calls));
        Unwound {
            message,
            location,
            calls,
        }
    }
}

/// What the hook saw of a panic, before the stack was unwound.
#[derive(Debug)]
pub(crate) struct PanicSeen {
    location: String,
    calls: Calls,
}

thread_local! {
    /// How many tasks this thread is inside of; the hook notes nothing elsewhere.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What was seen has no destructor, so it is there as long as the thread runs, in the
    /// destructors of other locals too, and costs no more than a look. The watching thread takes
    /// out what was put in, so nothing is left behind.
    static SEEN: ManuallyDrop<Cell<Option<Box<PanicSeen>>>> = const { ManuallyDrop::new(Cell::new(None)) };
}

/// Whether our hook is in place, as far as we know.
static HOOKED: AtomicBool = AtomicBool::new(false);

/// A task runs on this thread until this is ended.
#[derive(Debug)]
pub(crate) struct Watching {
    outer: Option<Box<PanicSeen>>,
}

/// Starts to note the panics of this thread.
pub(crate) fn watch() -> Watching {
    hook();
    DEPTH.set(DEPTH.get() + 1);
    Watching {
        outer: SEEN.with(|seen| seen.take()),
    }
}

impl Watching {
    /// What was noted last.
    pub(crate) fn end(self) -> Option<Box<PanicSeen>> {
        DEPTH.set(DEPTH.get() - 1);
        SEEN.with(|seen| seen.replace(self.outer))
    }
}

/// Puts our hook in front of whatever hook there is; that one is still called, and so prints what
/// it always printed.
///
/// The hook is the only place where Rust tells the location of a panic. It notes panics of tasks
/// only.
fn hook() {
    static INSTALLING: PerProcess<Mutex<()>> = PerProcess::new(Mutex::default);
    // `set_hook` panics in a thread that is panicking; the next task will do it.
    if HOOKED.load(Ordering::Acquire) || std::thread::panicking() {
        return;
    }
    let installing = INSTALLING.get();
    let _one = installing.lock().unwrap_or_else(PoisonError::into_inner);
    if HOOKED.load(Ordering::Acquire) {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if DEPTH.get() > 0 {
            note(info);
        }
        before(info);
    }));
    HOOKED.store(true, Ordering::Release);
}

fn note(info: &std::panic::PanicHookInfo<'_>) {
    let location = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let noted = PanicSeen {
        location,
        calls: unwind::calls(),
    };
    SEEN.with(|seen| seen.set(Some(Box::new(noted))));
}
