//! Run the same task in a thread or in a process, one word apart.
//!
//! A **task** is a function and its input: `fn(A) -> R`. A **worker** runs it. A worker is a **thread**, which is light and shares the memory
//! of the program, or a **process**, which has its own, so that what goes wrong in it stays in it. Which one is a single word; the handle, the
//! errors and everything else are the same.
//!
//! ```
//! use brigade::{JoinError, process, thread};
//!
//! fn sum(v: Vec<u64>) -> u64 {
//!     v.into_iter().sum()
//! }
//!
//! fn faulty(address: usize) -> u8 {
//!     // A C library's mistake, in one line.
//!     unsafe { std::ptr::read_volatile(address as *const u8) }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     brigade::init(); // first line: see `init`
//!     let a = thread::spawn(sum, vec![1, 2])?;
//!     let b = process::spawn(sum, vec![3, 4])?; // same call, same handle
//!     assert_eq!(a.join()? + b.join()?, 10);
//!
//!     match process::spawn(faulty, 0x10)?.join() {
//!         Err(JoinError::Crashed(crash)) => eprintln!("{crash}"), // who died of what, where, doing what
//!         other => unreachable!("{other:?}"),
//!     }
//!     Ok(()) // the program goes on
//! }
//! ```
//!
//! # What is the same, and what cannot be
//!
//! | what happens | thread | process |
//! |---|---|---|
//! | it returns | `Ok(R)` | `Ok(R)` |
//! | it panics | [`Panicked`](JoinError::Panicked): message, location, backtrace | the same |
//! | it faults (bad memory, stack overflow, abort, `exit`) | the program ends: shared memory cannot be contained | [`Crashed`](JoinError::Crashed) with its [`Cause`]; the program goes on |
//! | it is cancelled | not started: never runs. Running: let go | not started: never runs. Running: killed, its children too, and gone when the caller hears of it |
//! | its input or result cannot be carried | values are moved: nothing to carry | [`Undeliverable`](JoinError::Undeliverable) |
//! | the handle is dropped | it runs on, detached | the same |
//! | the program ends or is killed | it ends | it ends too, with its children; nothing stays in memory, in /dev/shm or in the process table |
//!
//! A task's values are [`Message`]s: whatever serde can carry. Between threads they are moved; between processes they are encoded. Messages too: both ends of a
//! [`channel`], [`Shared`] memory, and files and sockets in a [`Descriptor`].
//!
//! # Talking to each other
//!
//! - [`channel`]: one pair of ends over four mechanisms: a pipe, a socket, a message queue, shared memory.
//! - [`Shared`], [`shm`]: memory that any worker sees, for what is [`ShmSafe`]; passed, not copied.
//! - [`sync`]: std's locks and three more, in a static, on the heap or in a [`Shared`]; a holder that panics *or dies* poisons, and nobody waits for the dead.
//!
//! # In tests
//!
//! Call [`init`] first in the test, as in `main`. That is all: it works under `cargo test` and `cargo nextest`, though the harness owns `main`.
//!
//! ```
//! // #[test]
//! fn a_crash_is_contained() {
//!     brigade::init();
//!     let ended = brigade::process::spawn(|()| -> () { std::process::abort() }, ()).unwrap().join();
//!     assert!(matches!(ended, Err(brigade::JoinError::Crashed(_))));
//! }
//! # a_crash_is_contained();
//! ```
//!
//! # Manners
//!
//! No signal handler, no `waitpid(-1)` and no SIGCHLD disposition is touched in the program: its own children stay its own. No thread and no
//! process is started before the first use; from then on there is one thread, `brigade-listener`, which sleeps, and one small process,
//! `brigade-server`, which is no child of the program. The panic hook is wrapped, once, when the first task starts: panics of tasks are noted, and
//! the hook that was there is called as before. Descriptors are anonymous and close-on-exec; nothing has a name that could be left behind.
//!
//! # What it does not do
//!
//! - A process is a wall against mistakes, not yet against malice: it runs as the same user, and may read the same files and signal the same processes.
//! - A task's function must be code of the main program: a plain `fn`, or a closure that captures nothing; not one of a shared library.
//! - A thread cannot be killed, by anyone.
//! - A result of a recursive type is decoded by recursion: one nested ten thousand levels deep overflows a 2 MiB stack of the program.
//! - Linux only (5.10 or later), 64-bit only. Elsewhere the crate does not compile, and says so.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "brigade works on Linux only (5.10 or later): it is built on memfd, pidfd, futex and signalfd"
);
#[cfg(not(target_pointer_width = "64"))]
compile_error!("brigade works on 64-bit processors only");

// What `#[derive(ShmSafe)]` writes names this crate as its users do.
#[cfg(test)]
extern crate self as brigade;

#[macro_use]
mod primitive;
pub mod channel;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod init;
mod pool;
pub mod shm;
pub mod sync;
mod sys;
mod task;
mod transport;
mod worker;

pub use init::init;
pub use pool::{Latencies, Pool, PoolBuilder, PoolStats};
pub use shm::{Shared, ShmSafe};
pub use task::Message;
pub use task::crash::{Cause, Crash, Phase};
pub use task::descriptor::Descriptor;
pub use task::error::JoinError;
pub use task::panic::Panic;
pub use worker::handle::JoinHandle;
pub use worker::{Kind, ParseKindError, process, thread};

/// README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
