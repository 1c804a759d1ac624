//! What `keep_crashes` writes, and `BRIGADE_REPLAY` reads: one task whose worker died, with all
//! that it takes to run it again.
//!
//! It is a text, for people first. A line that begins at the margin is ours; whatever comes from
//! somebody else (backtrace, stderr) is indented, so that nothing a task prints can look like a
//! line of ours:
//!
//! ```text
//! brigade crash file, version 1
//! task: thumbnails::decode                        who died of what, doing what; for people
//! cause: a segmentation fault (SIGSEGV)
//! address: 0x10
//! phase: running
//! process: 4711
//! time: 2026-11-21T13:04:18.123Z
//! attempt: 1                                      2: it was the first retry
//! program: /usr/local/bin/thumbnails
//! build: 54d1…                                    the linker's build id; without one, a hash of the program's file
//! entry: 0x1f2a0                                  offsets in the program: the task's way in and the task itself,
//! function: 0x1e9c0
//! initializer: 0x1e9f0                            and the pool's initializer, if there is one
//! directory: /home/cook                           the one it worked in
//! clear environment: yes                          only if it is
//! variable: LANG=C                                one line for each that was set by the pool's `process::Builder`
//! descriptors: 0                                  those that came with the input: with any, it cannot be run again
//! input length: 12
//!
//! backtrace:
//!     …
//! stderr:
//!     …
//! to run this task again:
//!     BRIGADE_REPLAY=… /usr/local/bin/thumbnails
//! to run it in a debugger:
//!     BRIGADE_REPLAY=… rust-gdb -ex run --args /usr/local/bin/thumbnails
//! input in base64:
//! DGhlbGxvLCB3b3JsZA==
//! end: 8c2f3d5a90b1e644                           a checksum of all that decides what is run: from `build` to `input length`, and the input
//! ```
//!
//! In values, `\` and control characters and bytes that are not UTF-8 are written as `\xNN`. What
//! is for people (task, cause, stderr …) may be edited, to pass the file on; the rest may not: the
//! checksum would no longer fit. A reader takes nothing on trust: every line has its limit, each
//! key comes once, and what is damaged, cut off or unknown is an error.

mod read;
pub(crate) mod replay;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Serialize;

pub(crate) use read::{Recorded, read};
pub(super) use write::{DEBUGGER, command};

use super::events;
use crate::Crash;
use crate::sys::image::Program;
use crate::task::entry::Plan;
use crate::worker::process::ipc::protocol::Setup;

/// The first line, without the version.
const TITLE: &str = "brigade crash file, version ";
const VERSION: &str = "1";
/// The line after which the input begins.
const INPUT: &str = "input in base64:";

/// A task whose worker died, as it was given to the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrashFile<'a> {
    pub(crate) plan: Plan,
    /// As it was encoded.
    pub(crate) input: &'a [u8],
    /// How many descriptors came with the input.
    pub(crate) descriptors: usize,
    /// Counted from 1: with retries, a task may crash more than once.
    pub(crate) attempt: u32,
    /// The pool's initializer, as an offset: `Function::at(initializer as usize)?.0`.
    pub(crate) initializer: Option<u64>,
    /// What the worker did to itself first.
    pub(crate) setup: Option<&'a Setup>,
}

impl CrashFile<'_> {
    /// Writes the file, and has the crash say where it is; or why there is none.
    pub(crate) fn keep(&self, crash: &mut Crash, dir: &Path) {
        match self.write(crash, dir) {
            Ok(path) => crash.0.file = Some(path),
            Err(e) => not_kept(
                crash,
                format!("no crash file could be written into {}: {e}", dir.display()),
            ),
        }
    }
}

/// Has the crash say why there is no file.
pub(crate) fn not_kept(crash: &mut Crash, why: String) {
    events::not_kept(crash.pid(), crash.task(), &why);
    crash.0.file_error = Some(why);
}

/// Makes the directory for crash files if it is missing, and sees that files can be made in it.
/// Gives its absolute path: the program may change its own directory before somebody crashes.
pub(crate) fn prepare(dir: &Path) -> io::Result<PathBuf> {
    let told = |e: io::Error| {
        let what = format!("no crash files can be kept in {}: {e}", dir.display());
        io::Error::new(e.kind(), what)
    };
    let absolute = std::path::absolute(dir).map_err(told)?;
    write::make_directory(&absolute).map_err(told)?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(&absolute, access).map_err(|e| told(e.into()))?;
    Ok(absolute)
}

/// What decides what is run: all that the checksum is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Decisive {
    pub(crate) build: String,
    pub(crate) entry: u64,
    pub(crate) function: u64,
    pub(crate) initializer: Option<u64>,
    pub(crate) directory: Option<Vec<u8>>,
    pub(crate) clear_environment: bool,
    pub(crate) variables: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) descriptors: u64,
    pub(crate) length: u64,
}

impl Decisive {
    /// The checksum without the input, which is added to it as it comes.
    fn checksum(&self) -> io::Result<Checksum> {
        let mut sum = Checksum::default();
        sum.add(&postcard::to_stdvec(self).map_err(io::Error::other)?);
        Ok(sum)
    }
}

/// FNV-1a, 64 bits. It is there to find damage, not malice: who may write the file may as well
/// write the program.
#[derive(Debug)]
struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Which program this is: offsets mean the same in the same build only.
pub(super) fn build_of_this_program() -> io::Result<&'static str> {
    static BUILD: OnceLock<String> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(build);
    }
    let id = &Program::this().build_id;
    let build = if id.is_empty() {
        // The linker wrote none. What is in memory would do too, but a debugger writes its
        // breakpoints there.
        hash_of(Path::new("/proc/self/exe"))?
    } else {
        text::hex(id)
    };
    Ok(BUILD.get_or_init(|| build))
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Checksum::default();
    let mut bytes = vec![0; 64 * 1024];
    let mut len = 0;
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(format!("file-{}-{len}", sum.hex())),
            n => {
                sum.add(&bytes[..n]);
                len += n;
            }
        }
    }
}
