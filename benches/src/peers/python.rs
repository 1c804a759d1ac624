//! Python's `multiprocessing`, if Python is installed.

use std::io;
use std::process::{Command, Stdio};

use crate::helper::Helper;

pub(crate) const FORK: &str = "Python multiprocessing, fork";
pub(crate) const SPAWN: &str = "Python multiprocessing, spawn";

/// A Python program that takes turns.
#[derive(Debug)]
pub(crate) struct Python(Helper);

impl Python {
    /// Fails with the reason why there is none.
    pub(crate) fn start() -> Result<Python, String> {
        let works = Command::new("python3")
            .args(["-c", "import multiprocessing"])
            .stderr(Stdio::null())
            .status();
        match works {
            Ok(status) if status.success() => {}
            Ok(_) => return Err("python3 has no multiprocessing".to_owned()),
            Err(e) => return Err(format!("no python3: {e}")),
        }
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/python.py"));
        Helper::start(command)
            .map(Python)
            .map_err(|e| e.to_string())
    }

    /// Microseconds for one process, by that start method.
    pub(crate) fn turn(&mut self, method: &str, count: u32) -> io::Result<f64> {
        self.0.tell(format!("{method} {count}\n").as_bytes())?;
        self.0.hear_line()?.parse().map_err(io::Error::other)
    }
}
