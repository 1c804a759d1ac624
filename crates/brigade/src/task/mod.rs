//! WHAT runs: a task is a function and its input, and it ends exactly once, with a typed result.
//!
//! - [`identity`]: a function's name across address spaces
//! - [`name`]: what it is called when it is spoken of
//! - [`codec`]: values to bytes and back; [`carry`]: the descriptors that go with them
//! - [`descriptor`]: files and sockets as messages
//! - [`entry`]: one task, run with its panics caught
//! - [`panic`], [`crash`], [`timeout`], [`error`]: how a task may end other than well;
//!   [`whereabouts`]: where it was then
//! - [`task_error`]: any error of a task's own, as text
//! - [`text`]: what is cut where it is too long
//! - [`symbols`]: addresses to names, in the host, when somebody asks

pub(crate) mod carry;
pub(crate) mod codec;
pub(crate) mod crash;
#[cfg(unix)]
pub(crate) mod descriptor;
pub(crate) mod entry;
pub(crate) mod error;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod identity;
pub(crate) mod name;
pub(crate) mod panic;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod symbols;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "symbols/portable.rs"]
pub(crate) mod symbols;
pub(crate) mod task_error;
pub(crate) mod text;
pub(crate) mod timeout;
pub(crate) mod whereabouts;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a task may take and give: anything that serde can carry and that may move to another
/// thread.
///
/// Implemented for every type that qualifies. Between threads values are moved; between processes
/// they are encoded, and what arrives is equal to what was sent, or the value is refused, with the
/// place in it and serde's own words: see [what arrives](crate#what-arrives).
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}
