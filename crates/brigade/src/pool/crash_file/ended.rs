//! What a crash file tells of the end of a task: that of a worker which died of itself, or of one
//! that was killed because the task ran over its time.

use std::panic::Location;
use std::path::PathBuf;

use crate::{Crash, Phase, Timeout};

/// An end that is kept in a file.
pub(crate) trait KeptEnd {
    fn task(&self) -> &str;
    fn started_at(&self) -> &'static Location<'static>;
    fn cause(&self) -> String;
    /// The address whose access was the fault.
    fn address(&self) -> Option<usize>;
    fn phase(&self) -> Phase;
    fn pid(&self) -> u32;
    /// What the task waited for in the kernel.
    fn blocked(&self) -> Option<&str>;
    fn backtrace(&self) -> Option<&str>;
    fn stderr(&self) -> &str;
    /// Notes where the file is, or why there is none.
    fn set_file(&mut self, file: Result<PathBuf, String>);
}

impl KeptEnd for Crash {
    fn task(&self) -> &str {
        Crash::task(self)
    }

    fn started_at(&self) -> &'static Location<'static> {
        Crash::started_at(self)
    }

    fn cause(&self) -> String {
        Crash::cause(self).to_string()
    }

    fn address(&self) -> Option<usize> {
        self.0.address
    }

    fn phase(&self) -> Phase {
        Crash::phase(self)
    }

    fn pid(&self) -> u32 {
        Crash::pid(self)
    }

    fn blocked(&self) -> Option<&str> {
        None
    }

    fn backtrace(&self) -> Option<&str> {
        Crash::backtrace(self)
    }

    fn stderr(&self) -> &str {
        Crash::stderr(self)
    }

    fn set_file(&mut self, file: Result<PathBuf, String>) {
        Crash::set_file(self, file);
    }
}

impl KeptEnd for Timeout {
    fn task(&self) -> &str {
        Timeout::task(self)
    }

    fn started_at(&self) -> &'static Location<'static> {
        Timeout::started_at(self)
    }

    fn cause(&self) -> String {
        format!("the end of its time, after {:?}", self.after())
    }

    fn address(&self) -> Option<usize> {
        None
    }

    fn phase(&self) -> Phase {
        // It ran in a process, of which that is known.
        Timeout::phase(self).unwrap_or(Phase::Running)
    }

    fn pid(&self) -> u32 {
        Timeout::pid(self).unwrap_or(0)
    }

    fn blocked(&self) -> Option<&str> {
        Timeout::blocked(self)
    }

    fn backtrace(&self) -> Option<&str> {
        Timeout::backtrace(self)
    }

    fn stderr(&self) -> &str {
        Timeout::stderr(self)
    }

    fn set_file(&mut self, file: Result<PathBuf, String>) {
        Timeout::set_file(self, file);
    }
}
