//! Runs the same task in a thread or in a process, one word apart.
//!
//! A **task** is a function and its input: `fn(A) -> R`. A **worker** runs tasks. A worker is a
//! **thread**, which is light and shares the memory of the program, or a **process**, which has its
//! own, so that a fault in it ends one task and not the program. The handle, the errors and
//! everything else are the same for both.
//!
//! ```
//! use brigade::{JoinError, Pool, process, thread};
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
//!     let pool = Pool::processes(2)?; // or Pool::threads(2), or Pool::new(kind, 2)
//!     match pool.submit(faulty, 0x10).join() {
//!         // The cause, the task, and the place: the program goes on, and so does the pool.
//!         Err(JoinError::Crashed(crash)) => eprintln!("{crash}"),
//!         other => unreachable!("{other:?}"),
//!     }
//!     for total in pool.map(sum, (0..1000).map(|i| vec![i, i])) {
//!         assert_eq!(total? % 2, 0);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Constraints
//!
//! - **A task is a plain `fn`**, or a closure that captures nothing: all that it needs is in its
//!   input, or is named with [`task!`](crate::task!). It is code of the program, or of a
//!   [shared library](process#tasks-in-shared-libraries) that this has loaded.
//! - **Inputs and results are [`Message`]s**: serde types, `Send` and `'static`. Nothing is
//!   borrowed, except in threads, within a [scope](Pool::scope).
//! - **[`init`] is called first** in `main`, and in each test that uses processes.
//! - **A worker process has not run `main`.** Statics that `main` has set are not set in it. Give
//!   the value to the task in its input, or compute it in an
//!   [initializer](PoolBuilder::initializer).
//! - **Processes need Linux, 5.10 or later, with /proc mounted.** On other systems threads work,
//!   and what is between them: see [other systems](#other-systems). The processor is 64-bit and
//!   little-endian; for others the crate does not compile, and says so.
//!
//! # Thread and process: what is the same, and what cannot be
//!
//! | what happens | thread | process |
//! |---|---|---|
//! | it returns | `Ok(R)` | `Ok(R)` |
//! | it panics | [`Panicked`](JoinError::Panicked): message, location, backtrace; the worker goes on | the same |
//! | it faults (bad memory, stack overflow, abort, `exit`) | the program ends: shared memory cannot be contained | [`Crashed`](JoinError::Crashed) with its [`Cause`]; the others go on; a new worker takes its place |
//! | it runs over its [timeout](PoolBuilder::timeout) | [`TimedOut`](JoinError::TimedOut); the thread is let go, a new one takes its place | [`TimedOut`](JoinError::TimedOut); the process is killed, its children too, and is gone when the caller gets the error |
//! | its [deadline](pool::TaskBuilder::deadline) passes while it waits | it never begins: [`TimedOut`](JoinError::TimedOut), which [says so](Timeout::had_begun) | the same |
//! | it is [cancelled](JoinHandle::cancel) | not started: never runs. Running: let go | not started: never runs. Running: killed, its children too, and gone when the caller gets the error |
//! | its input or result cannot be carried | values are moved: nothing to carry | [`Undeliverable`](JoinError::Undeliverable); the worker goes on |
//! | what it is given and gives back | the value itself | an equal value, or [`Undeliverable`](JoinError::Undeliverable): see [what arrives](#what-arrives) |
//! | the handle is dropped | it runs on, detached; or is [cancelled](JoinHandle::cancel_on_drop), if that was asked for | the same |
//! | the pool is [resized](Pool::resize) | a worker that is one too many ends when it has ended its task | the same |
//! | the queue is [full](PoolBuilder::queue_limit) | [`submit`](Pool::submit) waits, [`try_submit`](Pool::try_submit) gives the input back | the same |
//! | order of results | [`map`](Pool::map): of the inputs; [`map_unordered`](Pool::map_unordered): as they come | the same |
//! | a task given to the pool from inside a task | runs, also if all workers wait for such tasks | the pool stays in the program: a task in a process has a pool if it makes one |
//! | a task that borrows from the caller's stack | [`Pool::scope`], [`thread::scope`](thread::scope()): it is never let go, whatever its time | refused: a process sees none of the program's memory but [`Shared`] regions |
//! | a task with [captures](crate::task!) | borrows them where they are | they are carried once to each worker, again to one that replaces a dead one |
//! | a channel is full | [`send`](channel::Sender::send) waits, [`send_async`](channel::Sender::send_async) waits without a thread; the receiver's end wakes both | the same; so does its death |
//! | an [initializer](PoolBuilder::initializer) panics or crashes | it panics: [`build`](PoolBuilder::build) gives the error. It crashes: as any fault in a thread | [`build`](PoolBuilder::build) gives the error |
//! | it fails in a replacement, later | another is tried; if no worker is left and none can be made, what is queued ends with that error | the same |
//! | the pool is [closed](Pool::close) | later tasks end with [`Closed`](JoinError::Closed); what was accepted is finished | the same |
//! | the last handle of the pool is dropped | as [`shutdown`](Pool::shutdown): what was accepted is finished first | the same |
//! | the program ends or is killed | it ends | it ends too, with its children; nothing stays in memory, in /dev/shm or in the process table |
//!
//! **Each task ends exactly once, with a typed result, and a crash costs only the task that was
//! running**: its worker is replaced, and what waited goes to others. With
//! [`retries`](PoolBuilder::retries) a task may run more than once; it still ends once.
//!
//! # What there is
//!
//! - [`Pool`], [`PoolBuilder`]: workers that run one task after another, so that a task does not
//!   pay for the start of a worker. A pool is a handle that is cloned, and ends by
//!   [`shutdown`](Pool::shutdown), [`drain`](Pool::drain) or [`abort`](Pool::abort), or with its
//!   last handle. [`submit_async`](Pool::submit_async) waits for room without a thread.
//!   [`Pool::stats`] gives numbers, [`open_metrics`] a page of them,
//!   [`tracing`](https://docs.rs/tracing) [events](Pool#events). [`Pool::task`]: one task with a
//!   timeout, a deadline or retries of its own.
//! - [`thread::spawn`], [`process::spawn`], [`Kind::spawn`]: one task in a worker of its own;
//!   [`thread::scope`](thread::scope()): threads that borrow. [`Pool::scope`]: the same, in the
//!   threads of a pool.
//! - [`process::Output`], [`process::Input`]: what a worker's standard streams are; its lines, read
//!   by the program.
//! - [`advise`](advise()): runs the program's own task in threads and in processes, and says which
//!   suits it, and why.
//! - [`pool::Context`]: a table that many tasks borrow: carried once to each worker, not with each
//!   task. [`task!`](crate::task!): the same, written as a closure that names what it captures.
//! - [`pool::StatePool`], [`Actor`]: a state that each worker loads once, and that tasks borrow or
//!   change.
//! - [`JoinHandle`]: joined, joined with a timeout, awaited on any executor, cancelled, or dropped.
//! - [`JoinError`], [`Crash`], [`Panic`]: why there is no result. A crash can be
//!   [kept in a file](PoolBuilder::keep_crashes) and [run again](init#a-crash-once-more) in a
//!   debugger.
//! - [`attempt`](attempt()): which run of a retried task this is.
//! - [`TaskError`]: any error of a task's own, so that `fn(A) -> Result<R, TaskError>` works with
//!   `?`.
//! - [`channel`]: one pair of ends over four mechanisms: a pipe, a socket, a message queue, shared
//!   memory. Ends are messages themselves; both sides can be awaited.
//! - [`channel::request`]: questions and their answers, each caller its own.
//! - [`Shared`], [`shm`]: memory that any worker sees, for what is [`ShmSafe`]; passed, not copied;
//!   [`shm::Writable`]: written in place, each worker its own part.
//! - [`sync`]: std's locks and three more. A holder that panics *or dies* poisons; a lock never
//!   stays locked because its holder died.
//! - [`Descriptor`]: files and sockets as messages.
//! - [`supervise`]: threads, processes and supervisors that are kept running, by OTP's rules.
//! - [`publish`](publish()): shows `brigade top` and `brigade inspect` what the pools of a program
//!   do.
//!
//! ```
//! use brigade::channel::{self, Sender};
//! use brigade::sync::Mutex;
//! use brigade::{Kind, Shared};
//!
//! fn work((total, done): (Shared<Mutex<u64>>, Sender<u32>)) {
//!     for n in 0..100 {
//!         *total.lock().expect("no holder died") += n;
//!     }
//!     done.send(std::process::id()).expect("the receiver is there");
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     brigade::init();
//!     let total = Shared::new(Mutex::new(0))?; // one region, seen by all workers
//!     let (done, workers) = channel::shm(16)?; // or channel::pipe, socket, queue
//!     for kind in [Kind::Thread, Kind::Process, Kind::Process] {
//!         kind.spawn(work, (total.clone(), done.clone()))?;
//!     }
//!     drop(done);
//!     // Ends when the last sender is dropped, or its process ends.
//!     assert_eq!(workers.iter().count(), 3);
//!     assert_eq!(*total.lock().expect("no holder died"), 3 * 4950);
//!     Ok(())
//! }
//! ```
//!
//! # What surprises newcomers
//!
//! - **A `static` lock is one lock for each process.** Only a lock inside a [`Shared`] is shared
//!   between processes.
//! - **Some calls block**: [`submit`](Pool::submit) while the queue is at its limit, the iterators
//!   of `map`, [`join`](JoinHandle::join), sending and receiving, [scopes](Pool::scope), and
//!   dropping a [`Pool`]. In async code await the handle, [`submit_async`](Pool::submit_async),
//!   [`send_async`](channel::Sender::send_async) and [`recv_async`](channel::Receiver::recv_async),
//!   and drop the pool on a thread that may block.
//! - **`ps` shows more processes than the pool has workers.** A pool of two shows six workers: its
//!   two, and four spare ones that wait to be used; and the fork server, `brigade-server`, which
//!   makes them. See [`process`].
//! - **An [`initializer`](PoolBuilder::initializer) is a plain `fn()`**, without Python's
//!   `initargs`.
//! - **A release build has no line tables by default.** Then inlined calls have no frames of their
//!   own, and the backtrace of a small task is often a single frame without file and line. Set
//!   `debug = "line-tables-only"` in `[profile.release]`.
//! - **An input with a descriptor cannot be replayed** from a crash file: ends of channels,
//!   [`Shared`] regions, files and sockets.
//! - **A library that uses Brigade** finds in [`init`](init#in-a-library) what it has to do.
//! - **Which transport?** [`channel::shm`], unless there is a reason: see [`channel::Transport`].
//!
//! # What arrives
//!
//! A task's input and result, and what a channel carries, are [`Message`]s: what serde can write
//! and read back. Between threads they are moved. Between processes they are encoded, and what
//! arrives is equal to what was sent, or is refused with an error that names the place in the value
//! (`items[3].price` of `Order`) and has serde's own sentence.
//!
//! - **Equal**: all that the derive makes of structs and enums, whatever its attributes
//!   (`untagged`, internally and adjacently tagged, `flatten`, `skip_serializing_if`, `alias`,
//!   `other`, `remote` …), implementations by hand, the values of well-known crates, and what JSON
//!   loses: `Option<Option<T>>`, `Option<()>`, `u128`, each bit of a NaN, keys that are not text.
//!   `Cow` and the like are owned on arrival.
//! - **Refused**: what its own implementation refuses to write or to read (a `SystemTime` before
//!   1970, a `RefCell` that is borrowed, a field that is not written and has no default); integers
//!   of 128 bits within `untagged`, internally tagged enums and `flatten`, which serde's buffer
//!   does not know; a value nested more deeply than the stack allows; a value that takes more than
//!   2 GiB.
//! - **Different from a thread**: a field that serde's attributes leave out (`skip`,
//!   `skip_serializing`, `skip_deserializing`) takes its default, and what an implementation does
//!   not write does not arrive (a `SocketAddrV6`'s flow information). A visitor that takes any
//!   value is given `u64` or `i64` for each integer, as with JSON, so that
//!   `serde_value::Value::U8(5)` arrives as `U64(5)`; and the variants of an `untagged` enum are
//!   tried in their order: the first that fits is what arrives.
//!
//! The format is that of the build: it is not for files.
//!
//! # Features
//!
//! All but `clap` are on unless `default-features = false` is said.
//!
//! - `backtrace`: names and lines in backtraces, and tasks called by their functions' names.
//!   Without it there are addresses, which addr2line(1) looks up, and a task is called by where it
//!   was started.
//! - `clap`: `Kind` is a `clap::ValueEnum`, for a flag of a command line. Off by default.
//! - `derive`: `#[derive(ShmSafe)]`, `#[brigade::main]`, `#[brigade::test]`.
//! - `sandbox`: [`Sandbox`], what a worker process may reach.
//! - `timeline`: [`PoolBuilder::trace`], a file for Perfetto.
//! - `tracing`: events of [`tracing`](https://docs.rs/tracing), and
//!   [those of workers](PoolBuilder::forward_tracing). Without it all that the library's own would
//!   have said is in [numbers](Pool::stats) and errors.
//!
//! # Other systems
//!
//! On macOS, Windows, the BSDs and others the crate is the same, but for what needs a process:
//!
//! - [`process::spawn`] and a [`Pool`] of processes give an error of kind
//!   [`Unsupported`](std::io::ErrorKind::Unsupported); [`init`] does nothing.
//! - A [`channel`], whatever transport is named, is one queue in the program's memory. Its messages
//!   are encoded as on Linux, so that the same values arrive and the same are refused.
//! - [`Shared`] and [`shm::Buffer`] are memory of the program, and [`sync`]'s locks are between its
//!   threads.
//! - `Descriptor` is there on Unix systems.
//!
//! So a program that takes a [`Kind`] can be developed on a Mac with threads, and run on Linux with
//! processes.
//!
//! # In tests
//!
//! Call [`init`] first in the test, as in `main`. It works under `cargo test` and `cargo nextest`,
//! though the harness owns `main`. A pool in a `static` is never dropped; its workers end with the
//! test's process all the same.
//!
//! ```
//! // #[test]
//! fn a_crash_costs_one_task() {
//!     brigade::init();
//!     let pool = brigade::Pool::processes(2).unwrap();
//!     let results: Vec<_> = pool.map(|n: u32| if n == 7 { std::process::abort() } else { 2 * n }, 0..10).collect();
//!     assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 9);
//!     assert!(matches!(&results[7], Err(brigade::JoinError::Crashed(_))));
//! }
//! # a_crash_costs_one_task();
//! ```
//!
//! # Effects on the program
//!
//! The library touches no signal handler (unless [`PoolBuilder::thread_stacks`] asks for one), no
//! SIGCHLD disposition, and does not call `waitpid(-1)`: the program's own children stay its own.
//! It starts no thread and no process before the first use. The first process starts one thread,
//! `brigade-listener`, which sleeps, and one small process, `brigade-server`, which is not a child
//! of the program. What else is used may start a thread more, each listed below. The library wraps
//! the panic hook, once, when the first task starts: panics of tasks are noted, and the hook that
//! was there is called as before. A pool of processes has no thread of its own: a thread that waits
//! for it drives it meanwhile. Descriptors are anonymous and close-on-exec; nothing has a name that
//! could be left behind.
//!
//! | thread | started by | ends |
//! |---|---|---|
//! | `brigade-listener` | the first process | with the program |
//! | `brigade-reactor` | the first end of a channel, or line of output, that is awaited | with the program |
//! | `brigade-room` | the first future that waits for room in a channel; more for over a hundred channels | with the program |
//! | `brigade-done` | the first [`on_done`](JoinHandle::on_done) | with the program |
//! | `brigade-memory` | the first value of 256 KiB or more: it gives back memory kept for the next one | with the program |
//! | `brigade-events` | the first builder that [forwards events](PoolBuilder::forward_tracing): it sleeps until a worker sends one | with the program |
//! | `brigade-publish` | [`publish`](publish()): it sleeps until a reader asks | with the program |
//! | `brigade-pool`, or the pool's [name](PoolBuilder::name) | a pool of threads, one for each worker | with the pool |
//! | `brigade-timeouts` | a pool of threads with timeouts or deadlines | with the pool |
//! | `brigade-super` | each [`Supervisor`](supervise::Supervisor) | with it |
//! | `brigade-ends` | a pool that is awaited, or dropped by a thread of ours, while it ends | when the pool has ended |
//!
//! # What it does not do
//!
//! - A process contains mistakes, not malice: it runs as the same user, and may read the same files
//!   and signal the same processes, unless it is given a [`Sandbox`].
//! - Each worker that has a shared region that can be written (atomics, locks) can write anything
//!   there. What the library reads from such memory is checked, or harmless whatever it is; but a
//!   lock excludes only those that take it.
//! - A thread cannot be killed or limited. One that is let go (cancelled, or over its time) runs on
//!   until it returns, and what it holds is held until then.
//! - A task in a process sees the environment, the directory and the limits that the program had at
//!   its first process, not later changes; its stdin is empty, unless its
//!   [builder](process::Builder::stdin) says otherwise.
//! - A pool belongs to the program that made it: it is not a [`Message`], and in a fork of the
//!   program it accepts nothing. It has as many workers as it was made with, or
//!   [resized](Pool::resize) to, up to 4096, or [follows its work](PoolBuilder::workers) in a
//!   range, and has no priorities.
//! - A task that waits for other tasks in a pool of processes keeps its worker; its own pool, if it
//!   makes one, is gone with that worker.
//! - A result of a recursive type is decoded by recursion: one nested ten thousand levels deep
//!   overflows a 2 MiB stack of the program.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Where there are no worker processes, what is for them only is never used.
#![cfg_attr(
    any(not(target_os = "linux"), brigade_portable),
    expect(dead_code, reason = "it is for worker processes")
)]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("brigade works on 64-bit little-endian processors only, such as x86-64 and aarch64");

// What `#[derive(ShmSafe)]` writes names this crate as its users do.
#[cfg(test)]
extern crate self as brigade;

#[macro_use]
mod sim;
mod advise;
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
#[cfg(all(
    any(brigade_counts, all(test, not(any(loom, shuttle)))),
    target_os = "linux",
    not(brigade_portable)
))]
#[doc(hidden)]
pub mod counts;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod export;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
/// For what `export!` writes.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
#[doc(hidden)]
pub mod __export {
    pub use crate::export::{Description, Export, describe, run_encoded, run_repeated};
}
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub mod exported;
/// For what `task!` writes.
#[doc(hidden)]
pub mod __task {
    pub use crate::pool::captured::{Capture, CaptureByValue, capture};
}
mod init;
pub mod pool;
mod publish;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod shm;
pub mod supervise;
pub mod sync;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod sys;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "sys/portable/mod.rs"]
mod sys;
mod task;
mod trace;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod transport;
mod worker;

pub use advise::{Advice, Advisor, advise};
/// Calls [`init`] first in `main`.
///
/// ```
/// #[brigade::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let worker = brigade::process::spawn(|name: String| format!("hello, {name}"), "world".to_owned())?;
///     assert_eq!(worker.join()?, "hello, world");
///     Ok(())
/// }
/// ```
///
/// With an argument it calls [`init_with`]: `#[brigade::main(init_with = set_up_logging)]`.
///
/// An `async fn main` has its runtime's attribute below this one, so that the runtime is started
/// when `init` has been called:
///
/// ```ignore
/// #[brigade::main]
/// #[tokio::main]
/// async fn main() {}
/// ```
#[cfg(feature = "derive")]
pub use brigade_derive::main;
/// A `#[test]` that calls [`init`] first, for tests that use processes. Under `cargo test` and
/// `cargo nextest` alike.
///
/// ```
/// #[brigade::test]
/// fn a_crash_costs_one_task() -> std::io::Result<()> {
///     let pool = brigade::Pool::processes(1)?;
///     let crashed = pool.submit(|()| -> () { std::process::abort() }, ()).join();
///     assert!(crashed.unwrap_err().is_crash());
///     assert_eq!(pool.submit(|n: u32| n, 7).join().unwrap(), 7);
///     Ok(())
/// }
/// ```
///
/// It takes the place of `#[test]`, and goes with `#[ignore]` and `#[should_panic]`; an `async fn`
/// has its runtime's attribute, such as `#[tokio::test]`, below this one.
#[cfg(feature = "derive")]
pub use brigade_derive::test;
pub use init::{init, init_with};
pub use pool::{Actor, Latencies, Pool, PoolBuilder, PoolStats, open_metrics};
pub use publish::publish;
#[cfg(feature = "sandbox")]
pub use sandbox::Sandbox;
pub use shm::{Shared, ShmSafe};
pub use sys::error::SystemError;
pub use task::Message;
pub use task::attempt::attempt;
pub use task::crash::{Cause, Crash, Phase};
#[cfg(unix)]
pub use task::descriptor::Descriptor;
pub use task::error::JoinError;
pub use task::panic::Panic;
pub use task::task_error::TaskError;
pub use task::timeout::Timeout;
pub use worker::handle::JoinHandle;
pub use worker::{Kind, ParseKindError, process, thread};

/// README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
