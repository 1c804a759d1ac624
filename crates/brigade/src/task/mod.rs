//! WHAT runs: a task is a function and its input, and it ends exactly once, with a typed result.
//!
//! - [`identity`]: a function's name across address spaces; [`library`]: of a shared library
//! - [`name`]: what it is called when it is spoken of
//! - [`codec`]: values to bytes and back; [`carry`]: the descriptors that go with them
//! - [`descriptor`]: files and sockets as messages
//! - [`attempt`]: which run of a task this is
//! - [`entry`]: one task, run with its panics caught
//! - [`outline`]: what a type is made of, so that two programs can compare theirs
//! - [`contain`]: code of the program's that may panic where no caller gets the panic
//! - [`panic`], [`crash`], [`timeout`], [`error`]: how a task may end other than well;
//!   [`whereabouts`]: where it was then
//! - [`time_limit`]: which time of a task was over
//! - [`task_error`]: any error of a task's own, as text
//! - [`text`]: what is cut where it is too long
//! - [`symbols`]: addresses to names, in the host, when it is asked for
//! - [`waiters`]: futures that wait for room, or until there is nothing to do

pub(crate) mod attempt;
pub(crate) mod carry;
pub(crate) mod codec;
pub(crate) mod contain;
pub(crate) mod crash;
#[cfg(unix)]
pub(crate) mod descriptor;
pub(crate) mod entry;
pub(crate) mod error;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod identity;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod library;
pub(crate) mod name;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod outline;
pub(crate) mod panic;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod symbols;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "symbols/portable.rs"]
pub(crate) mod symbols;
pub(crate) mod task_error;
pub(crate) mod text;
pub(crate) mod time_limit;
pub(crate) mod timeout;
pub(crate) mod waiters;
pub(crate) mod whereabouts;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a task may take and give: anything that serde can carry and that may move to another
/// thread.
///
/// Implemented for every type that qualifies. Between threads values are moved; between processes
/// they are encoded, and what arrives is equal to what was sent, or the value is refused, with the
/// place in it and serde's own words: see [what arrives](crate#what-arrives).
///
/// # What the compiler refuses, and what to write instead
///
/// | written | the compiler says | write |
/// |---|---|---|
/// | a reference as input: `fn(&str)`, `fn(&[u64])` | "is not a `Message`"; of `&str`: "implementation of `Deserialize` is not general enough" | an owned value, `fn(String)`, `fn(Vec<u64>)`; for much data a [`Shared<[u64]>`](crate::Shared), which is passed, not copied; in threads alone a [scope](crate::Pool::scope) |
/// | `-> anyhow::Result<R>`, `-> io::Result<R>` | "is not a `Message`" | `-> Result<R, `[`TaskError`](crate::TaskError)`>`: `?` makes one of any error |
/// | a closure that captures | "expected fn pointer, found closure", and what it captures | what it captures in the input: `pool.map(\|(price, n)\| price * n, ...)`; or named: [`task!`](crate::task!)`(move \|n: u32\| -> u32 using (price: u32) { n * price })` |
/// | `async fn` | "`impl Future<Output = R>` is not a `Message`" | a plain `fn` that blocks on the future: a task has a worker to itself. Await the [handle](crate::JoinHandle), which is a future |
/// | two arguments: `fn(u32, u32)` | "incorrect number of function parameters" | one, a tuple: `\|(a, b)\| add(a, b)` |
/// | `\|()\| std::process::abort()` | "`!` is not a `Message`" | the result's type: `\|()\| -> () { std::process::abort() }` |
/// | no argument: `\|\| 7` | "expected closure that takes a single 0-tuple as argument" | `\|()\| 7` |
/// | `File`, `TcpStream`, `OwnedFd` | "is not a `Message`" | [`Descriptor<File>`](crate::Descriptor) |
/// | `Arc<Mutex<T>>`, atomics | "is not a `Message`" | [`Shared<Mutex<T>>`](crate::Shared), with a lock of [`sync`](crate::sync): one for all workers |
/// | `Rc<T>` | "is not a `Message`" | the value; `Arc<T>`, with serde's feature `rc`, is copied to a process |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Message`: it cannot be a task's input or result, or go through a channel",
    label = "not a `Message`",
    note = "a `Message` is `serde::Serialize + serde::de::DeserializeOwned + Send + 'static`, as each part of it: \
        a type of the program derives serde's traits, one of another crate often has them behind its feature `serde`",
    note = "instead of a reference use an owned value (`String` for `&str`), or a `brigade::Shared` region; \
        instead of `anyhow::Error`, `io::Error` and the like `brigade::TaskError`, which `?` makes of them; \
        instead of an `async fn` a plain `fn`; and where a closure never returns, name its result, as in `|()| -> ()`",
    note = "files and sockets, locks and more: the table in the documentation of `brigade::Message` has what to write for each"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

// Else the compiler tells of a part of the type, and does not say what to do.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}
