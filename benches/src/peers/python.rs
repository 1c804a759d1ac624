//! Python's `multiprocessing` and its pools, if Python is installed.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::process::{Command, Stdio};

use crate::helper::Helper;

pub(crate) const FORK: &str = "Python multiprocessing, fork";
pub(crate) const SPAWN: &str = "Python multiprocessing, spawn";
pub(crate) const EXECUTOR: &str = "Python ProcessPoolExecutor";
pub(crate) const EXECUTOR_CHUNKS: &str = "the same, in chunks of 100";
pub(crate) const POOL: &str = "Python multiprocessing.Pool";

/// A pool of Python's, of two processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    Executor,
    Multiprocessing,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tasks {
    /// That do nothing, one at a time.
    One,
    /// That do nothing, through `map`. 0: the pool's own choice of a chunk.
    Many { chunk: u32 },
    /// That take so many nanoseconds, through `map`.
    Busy { nanoseconds: u32, chunk: u32 },
    /// With an input of so many bytes, one at a time.
    Size { bytes: usize },
}

/// A Python program that takes turns.
#[derive(Debug)]
pub(crate) struct Python(RefCell<Helper>);

impl Python {
    /// Fails with the reason why there is none.
    pub(crate) fn start() -> Result<Python, String> {
        Python::look().map_err(|why| format!("Python: skipped, because {why}"))
    }

    fn look() -> Result<Python, String> {
        let works = Command::new("python3")
            .args(["-c", "import multiprocessing"])
            .stderr(Stdio::null())
            .status();
        match works {
            Ok(status) if status.success() => {}
            Ok(_) => return Err("python3 has no multiprocessing".to_owned()),
            Err(e) => return Err(format!("there is no python3: {e}")),
        }
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/python.py"));
        Helper::start(command)
            .map(|helper| Python(RefCell::new(helper)))
            .map_err(|e| e.to_string())
    }

    fn ask(&self, request: fmt::Arguments<'_>) -> io::Result<f64> {
        let mut helper = self.0.borrow_mut();
        helper.tell(format!("{request}\n").as_bytes())?;
        helper.hear_line()?.parse().map_err(io::Error::other)
    }

    /// Microseconds for one process, by that start method.
    pub(crate) fn processes(&self, method: &str, count: u32) -> io::Result<f64> {
        self.ask(format_args!("{method} {count}"))
    }

    /// Microseconds for one of so many tasks of that pool.
    pub(crate) fn pooled(&self, pool: Pool, tasks: Tasks, count: u32) -> io::Result<f64> {
        let pool = match pool {
            Pool::Executor => "executor",
            Pool::Multiprocessing => "pool",
        };
        match tasks {
            Tasks::One => self.ask(format_args!("{pool} one {count}")),
            Tasks::Many { chunk } => self.ask(format_args!("{pool} many {count} {chunk}")),
            Tasks::Busy { nanoseconds, chunk } => {
                self.ask(format_args!("{pool} busy {count} {nanoseconds} {chunk}"))
            }
            Tasks::Size { bytes } => self.ask(format_args!("{pool} size {count} {bytes}")),
        }
    }
}
