//! Run the same task in a thread or in a process, one word apart.
//!
//! A **task** is a function and its input: `fn(A) -> R`. A **worker** runs it. A worker is a
//! **thread**, which is light and shares the memory of the program, or a **process**, which has its
//! own, so that what goes wrong in it stays in it. Which one is a single word; the handle, the
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
//! # Pools
//!
//! A [`Pool`] has workers that stay and run one task after another: threads or processes, by the
//! same word. A task costs no start of a worker then, and tasks that take microseconds are worth
//! giving to a process.
//!
//! ```
//! use brigade::{JoinError, Kind, Pool};
//!
//! fn peek(address: usize) -> u8 {
//!     // A C library's mistake, once in a while.
//!     if address == 0x10 { unsafe { std::ptr::read_volatile(address as *const u8) } } else { 7 }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     brigade::init();
//!     let pool = Pool::builder(Kind::Process).workers(2).build()?; // `timeout`, `retries`, `queue_limit` …: see `PoolBuilder`
//!     for (address, ended) in pool.map(peek, 0..1000).enumerate() {
//!         match ended {
//!             Ok(byte) => assert_eq!(byte, 7),
//!             Err(JoinError::Crashed(crash)) => assert_eq!(address, 0x10, "{crash}"), // this one; the others go on
//!             Err(other) => return Err(other.into()),
//!         }
//!     }
//!     let stats = pool.stats();
//!     assert_eq!((stats.done, stats.failed(), stats.restarts), (999, 1, 1));
//!     Ok(())
//! }
//! ```
//!
//! **Each task ends exactly once, with a typed result, and a crash costs only the task that was
//! running**: its worker is replaced, and what waited goes to others. With
//! [`retries`](PoolBuilder::retries) a task may run more than once; it still ends once. A pool
//! tells what it does in [numbers](Pool::stats), and in events of
//! [`tracing`](https://docs.rs/tracing) with the target `brigade::pool`. What a crash was, its
//! input included, can be [kept](PoolBuilder::keep_crashes), and
//! [run again](init#a-crash-once-more) in a debugger.
//!
//! # What is the same, and what cannot be
//!
//! | what happens | thread | process |
//! |---|---|---|
//! | it returns | `Ok(R)` | `Ok(R)` |
//! | it panics | [`Panicked`](JoinError::Panicked): message, location, backtrace; the worker goes on | the same |
//! | it faults (bad memory, stack overflow, abort, `exit`) | the program ends: shared memory cannot be contained | [`Crashed`](JoinError::Crashed) with its [`Cause`]; the others go on; a new worker takes its place |
//! | it runs over its [timeout](PoolBuilder::timeout) | [`TimedOut`](JoinError::TimedOut); the thread is let go, a new one takes its place | [`TimedOut`](JoinError::TimedOut); the process is killed, its children too, and is gone when the caller hears of it |
//! | it is cancelled | not started: never runs. Running: let go | not started: never runs. Running: killed, its children too, and gone when the caller hears of it |
//! | its input or result cannot be carried | values are moved: nothing to carry | [`Undeliverable`](JoinError::Undeliverable); the worker goes on |
//! | the handle is dropped | it runs on, detached | the same |
//! | the queue is [full](PoolBuilder::queue_limit) | [`submit`](Pool::submit) waits, [`try_submit`](Pool::try_submit) gives the input back | the same |
//! | order of results | [`map`](Pool::map): of the inputs; [`map_unordered`](Pool::map_unordered): as they come | the same |
//! | a task given to the pool from inside a task | runs, also if all workers wait for such tasks | the pool stays in the program: a task in a process has a pool if it makes one |
//! | an [initializer](PoolBuilder::initializer) panics or crashes | it panics: [`build`](PoolBuilder::build) gives the error. It crashes: as any fault in a thread | [`build`](PoolBuilder::build) gives the error |
//! | the pool is dropped | as [`shutdown`](Pool::shutdown): what was accepted is finished first | the same |
//! | the program ends or is killed | it ends | it ends too, with its children; nothing stays in memory, in /dev/shm or in the process table |
//!
//! # What arrives
//!
//! A task's input and result, and what a channel carries, are [`Message`]s: what serde can write
//! and read back. Between threads they are moved. Between processes they are encoded, and what
//! arrives is equal to what was sent, or is refused with the place in the value (`items[3].price`)
//! and serde's own sentence: [`Undeliverable`](JoinError::Undeliverable). Nothing arrives as
//! another value, but that a field that serde is told to skip takes its default, and that integers
//! are told from each other by their values only, as in JSON. Refused are 128-bit integers within
//! `untagged`, internally tagged enums and `flatten`, which serde's buffer does not know, values
//! nested more deeply than the stack allows, and what takes more than 2 GiB. The format is that of
//! the build: it is not for files.
//!
//! Messages too: both ends of a [`channel`], [`Shared`] memory, and files and sockets in a
//! [`Descriptor`].
//!
//! # Talking to each other
//!
//! - [`channel`]: one pair of ends over four mechanisms: a pipe, a socket, a message queue, shared
//!   memory.
//! - [`Shared`], [`shm`]: memory that any worker sees, for what is [`ShmSafe`]; passed, not copied.
//! - [`sync`]: std's locks and three more, in a static, on the heap or in a [`Shared`]; a holder
//!   that panics *or dies* poisons, and nobody waits for the dead.
//!
//! # In tests
//!
//! Call [`init`] first in the test, as in `main`. That is all: it works under `cargo test` and
//! `cargo nextest`, though the harness owns `main`.
//!
//! ```
//! // #[test]
//! fn a_crash_costs_one_task() {
//!     brigade::init();
//!     let pool = brigade::Pool::processes(2).unwrap();
//!     let ended: Vec<_> = pool.map(|n: u32| if n == 7 { std::process::abort() } else { 2 * n }, 0..10).collect();
//!     assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 9);
//!     assert!(matches!(&ended[7], Err(brigade::JoinError::Crashed(_))));
//! }
//! # a_crash_costs_one_task();
//! ```
//!
//! # Manners
//!
//! No signal handler, no `waitpid(-1)` and no SIGCHLD disposition is touched in the program: its
//! own children stay its own. No thread and no process is started before the first use; from then
//! on there is one thread, `brigade-listener`, which sleeps, and one small process,
//! `brigade-server`, which is no child of the program. The panic hook is wrapped, once, when the
//! first task starts: panics of tasks are noted, and the hook that was there is called as before. A
//! pool of processes has no thread of its own: whoever waits for it looks after it. Descriptors are
//! anonymous and close-on-exec; nothing has a name that could be left behind.
//!
//! # What it does not do
//!
//! - A process is a wall against mistakes, not yet against malice: it runs as the same user, and
//!   may read the same files and signal the same processes.
//! - A task's function must be code of the main program: a plain `fn`, or a closure that captures
//!   nothing; not one of a shared library.
//! - A thread cannot be killed, by anyone. One that is let go (cancelled, or over its time) runs on
//!   until it returns, and what it holds is held until then.
//! - A pool belongs to the program that made it: it is no [`Message`], and in a fork of the program
//!   it takes nothing on. It has as many workers as it was made with, and no priorities.
//! - A task that waits for other tasks in a pool of processes keeps its worker; its own pool, if it
//!   makes one, is gone with that worker.
//! - A result of a recursive type is decoded by recursion: one nested ten thousand levels deep
//!   overflows a 2 MiB stack of the program.
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
/// For the benches: a value there and back, without a worker.
#[cfg(feature = "__codec")]
#[doc(hidden)]
pub mod __codec {
    use crate::Message;
    use crate::task::codec;

    /// Appends a value as a message has it. Descriptors are dropped.
    pub fn encode<T: Message>(value: &T, into: &mut Vec<u8>) -> Result<(), String> {
        codec::encode(value, into).map(drop)
    }

    /// Such a value.
    pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, String> {
        codec::decode(bytes, Vec::new())
    }
}
#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
#[doc(hidden)]
pub mod counts;
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
pub use task::error::{JoinError, Timeout};
pub use task::panic::Panic;
pub use worker::handle::JoinHandle;
pub use worker::{Kind, ParseKindError, process, thread};

/// README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
