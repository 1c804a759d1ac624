//! A line that a worker has written to a standard stream.

use std::fmt;

use crate::task::name::TaskName;

/// A line that a worker has written.
///
/// Displayed, it has the worker and the task before it: `[4711 my_program::decode] text`.
#[derive(Clone, Debug)]
pub struct Line {
    pub(crate) pid: u32,
    pub(crate) is_stderr: bool,
    pub(crate) is_whole: bool,
    pub(crate) lost: u64,
    pub(crate) task: Option<TaskName>,
    pub(crate) text: String,
}

impl Line {
    /// The line's text, without the end of the line. What is no UTF-8 is replaced by `U+FFFD`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The worker's process id; also where it was written by a child of the worker.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What the task is called that ran, or had run last, as [`Crash::task`](crate::Crash::task)
    /// has it. `None`: the worker had run none yet.
    ///
    /// It is the worker that says so: a hostile task can have its lines called by another's name.
    pub fn task(&self) -> Option<&str> {
        self.task.as_ref().map(TaskName::get)
    }

    /// Whether it was written to stderr.
    pub fn is_stderr(&self) -> bool {
        self.is_stderr
    }

    /// Whether its end was written. Otherwise the worker ended in the middle of it, or began a task
    /// of another function; or it is over 8 KiB long, and this is not its last part.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How many lines of this worker's stream were lost before this one, for they were not read in
    /// time. Where they were its last, this is an empty one that is not [whole](Self::is_whole).
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.pid)?;
        if let Some(task) = self.task() {
            write!(f, " {task}")?;
        }
        f.write_str("] ")?;
        if self.lost > 0 {
            write!(f, "(after {} lines that were lost) ", self.lost)?;
        }
        f.write_str(&self.text)
    }
}
