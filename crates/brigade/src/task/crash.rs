//! What is known of a worker's death: cause, process, task, phase and place.

use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::name::TaskName;
use super::symbols::Frames;
use crate::sys::signal_name;

/// A worker process died before its task returned.
#[doc(alias = "segfault")]
#[doc(alias = "SIGSEGV")]
#[doc(alias = "BrokenProcessPool")]
#[derive(Clone)]
pub struct Crash(pub(crate) Box<Death>);

/// All that is known of a death.
#[derive(Clone)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    pub(crate) pid: u32,
    pub(crate) task: TaskName,
    pub(crate) phase: Phase,
    pub(crate) stderr: String,
    /// The address whose access was the fault.
    pub(crate) address: Option<usize>,
    pub(crate) frames: Frames,
    pub(crate) backtrace: OnceLock<Option<String>>,
    /// Where all of this was written to.
    pub(crate) file: Option<PathBuf>,
    /// Why it was not, though it should have been.
    pub(crate) file_error: Option<String>,
}

impl Crash {
    /// Of one that no other code has yet: where its file is, or why there is none.
    pub(crate) fn set_file(&mut self, file: Result<PathBuf, String>) {
        match file {
            Ok(path) => self.0.file = Some(path),
            Err(why) => self.0.file_error = Some(why),
        }
    }

    /// What it died of.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The process that died. The number may belong to another process by now.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The function it was for.
    pub fn task(&self) -> &str {
        self.0.task.get()
    }

    /// Where the task was started, which tells it from another where both functions have the same
    /// code: a compiler or linker may merge those, and what is left has one name for all.
    pub fn started_at(&self) -> &'static Location<'static> {
        self.0.task.started()
    }

    /// How far it had come.
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The last lines that the worker wrote to its stderr: at most 4 KiB, whole lines unless one
    /// alone is longer.
    pub fn stderr(&self) -> &str {
        &self.0.stderr
    }

    /// The calls that led to the fault, innermost first, one a line. `None` where the worker could
    /// not note them: it was killed, or left by `exit`. Names are looked up now, which takes some
    /// milliseconds the first time.
    ///
    /// Inlined calls, files and lines need line tables, which a release build does not have by
    /// default: without them the backtrace of a small task is often a single frame. Set
    /// `debug = "line-tables-only"` in `[profile.release]`.
    pub fn backtrace(&self) -> Option<&str> {
        self.0
            .backtrace
            .get_or_init(|| self.0.frames.render())
            .as_deref()
    }

    /// The file that tells of it, and that [`init`](crate::init) can run the task from again; of a
    /// pool that [keeps crashes](crate::PoolBuilder::keep_crashes).
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Why there is no such file, though the pool keeps crashes.
    pub fn file_error(&self) -> Option<&str> {
        self.0.file_error.as_deref()
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker process {} died of {} while {} task `{}`",
            self.0.pid, self.0.cause, self.0.phase, self.0.task
        )?;
        if let Some(address) = self.0.address {
            write!(f, ", accessing {address:#x}")?;
        }
        if let Some(place) = self.0.frames.innermost() {
            write!(f, ", in {place}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crash")
            .field("cause", &self.0.cause)
            .field("pid", &self.0.pid)
            .field("task", &self.0.task)
            .field("started_at", &self.0.task.started())
            .field("phase", &self.0.phase)
            .field("stderr", &self.0.stderr)
            .field("file", &self.0.file)
            .finish_non_exhaustive()
    }
}

/// How far a worker had come with its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// The worker had not taken the task up yet.
    Starting,
    /// The worker was decoding the task's input.
    Decoding,
    /// The task itself ran.
    Running,
    /// The worker was encoding the task's result.
    Encoding,
    /// The worker had no task.
    Idle,
}

impl Phase {
    pub(crate) const ALL: [Phase; 5] = [
        Phase::Starting,
        Phase::Decoding,
        Phase::Running,
        Phase::Encoding,
        Phase::Idle,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting => "starting",
            Phase::Decoding => "decoding the input of",
            Phase::Running => "running",
            Phase::Encoding => "encoding the result of",
            Phase::Idle => "idle after",
        })
    }
}

/// What a worker died of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// A fault of its own, by the signal's number: SIGSEGV, SIGBUS, SIGILL, SIGFPE …
    Signal(i32),
    /// The process used up its stack.
    StackOverflow,
    /// `abort()`, when none of the others explains it.
    Abort,
    /// The process reached its memory limit, or the kernel's OOM killer chose it.
    OutOfMemory,
    /// The process reached its limit of processor time.
    CpuLimit,
    /// The process left by `exit` before the task returned, or the thread of the task did so; the
    /// status, 0 included.
    Exit(i32),
    /// The process did what its sandbox forbids with death; what it tried. To come with sandboxes:
    /// nothing gives this yet.
    Sandbox(String),
    /// A signal that another process sent, by its number; none that this library sent.
    Killed(i32),
    /// The process broke the protocol, or its end cannot be known.
    Lost,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Signal(signal) => write!(f, "{}", Signal(*signal)),
            Cause::StackOverflow => f.write_str("a stack overflow"),
            Cause::Abort => f.write_str("abort()"),
            Cause::OutOfMemory => f.write_str("lack of memory"),
            Cause::CpuLimit => f.write_str("its limit of processor time"),
            Cause::Exit(status) => write!(f, "exit({status})"),
            Cause::Sandbox(what) => write!(f, "what its sandbox forbids ({what})"),
            Cause::Killed(signal) => write!(f, "{} from outside", Signal(*signal)),
            Cause::Lost => f.write_str("causes unknown"),
        }
    }
}

struct Signal(i32);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_name::of(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}
