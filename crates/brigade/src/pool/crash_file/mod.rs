//! What `keep_crashes` writes, and `BRIGADE_REPLAY` reads: one task whose worker died, with all
//! that it takes to run it again.
//!
//! It is a text, for people first. A line that begins at the margin is ours; whatever comes from
//! elsewhere (backtrace, stderr) is indented, so that nothing a task prints can look like a
//! line of ours:
//!
//! ```text
//! brigade crash file, version 1
//! task: thumbnails::decode                        what died, of what, doing what; for people
//! started at: src/main.rs:31:14
//! cause: a segmentation fault (SIGSEGV)
//! address: 0x10
//! blocked: in read(2) on descriptor 5, a pipe         only of one that ran over its time, if it was
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
//! context: context-8c2f3d5a90b1e644-1048576       the file beside this one of what the task borrows, if it does
//! state: context-99a1c3b25d1f0e77-24              likewise, of the state that the task uses
//! library: 1 9d03… /usr/lib/cook/plugin.so         the shared library whose functions have the number 1 in their upper 16 bits, and its build id
//! descriptors: 0                                  those that came with the input or the context: with any, it cannot be run again
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

// The files:
// - format: what decides what is run, and its checksum; text: values as text
// - build: which program this is; command: what a person types to run a task again
// - context_file: a context, which is kept once beside the files of its tasks
// - ended: what ends are kept; write, read: a file; replay: what `BRIGADE_REPLAY` does with one

mod build;
mod command;
pub(super) mod context_file;
mod ended;
mod format;
mod read;
pub(crate) mod replay;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod write;

pub(super) use ended::KeptEnd;
pub(super) use write::{CrashFile, attach_error, create_dir};
