//! Exported tasks and encoded values, for crates that carry tasks to other machines.
//!
//! A function's address means nothing in another build of the program; the name under which it is
//! [exported](crate::export!) does. Here a task is found by its function or its name, values are
//! turned into bytes and back, and errors into values that can be sent.
//!
//! On systems without processes nothing is exported, and this module is not there.
//!
//! # Examples
//! One machine encodes the input and names the task; another one runs it in a pool of its own:
//! ```standalone_crate
//! use brigade::Pool;
//! use brigade::exported::{self, Exported};
//!
//! fn add((a, b): (u64, u64)) -> u64 {
//!     a + b
//! }
//! brigade::export!("add", add);
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! brigade::init();
//! let task = Exported::find(add).expect("it is exported");
//! let message = (task.name().to_owned(), exported::encode(&(1_u64, 2_u64))?);
//!
//! let (name, input) = message;
//! let task = Exported::named(&name)?;
//! let pool = Pool::processes(1)?;
//! let result = pool.submit(task.encoded(), input).join()??; // decoded in the worker
//!
//! assert_eq!(exported::decode::<u64>(&result)?, 3);
//! # Ok(())
//! # }
//! ```

mod failure;
mod naming;

use std::any::{Any, TypeId};
use std::fmt;

pub use self::failure::Failure;
pub use self::naming::with_name;
use crate::Message;
use crate::export::{self, Export};
use crate::task::codec;
use crate::task::entry::Plan;

/// The version of the encoding of values and [`Failure`]s. Programs that exchange bytes have to
/// agree on it.
pub const CODEC: u32 = 1;

/// A task between bytes, that takes the number of its run with its input:
/// [`Exported::encoded_run`].
pub type EncodedRun = fn((u32, Vec<u8>)) -> Result<Vec<u8>, String>;

/// A task that this program [exports](crate::export!).
#[derive(Clone, Copy)]
pub struct Exported(&'static Export);

impl Exported {
    /// The export of this function; `None`: it is not exported.
    ///
    /// A function is found by its own type, which no other function has: so pass the function
    /// itself on, from the call that names it, through generic code. A closure is another function
    /// wherever it is written, and is found by its name only.
    ///
    /// Of a function pointer (`fn(A) -> R`) only the address is known, and that is no proof: the
    /// compiler may have made the function twice, which it does with small ones in optimized
    /// builds, and then this may be `None`; or have merged two of equal code and types, and then
    /// either may be found.
    pub fn find<F, A: Message, R: Message>(task: F) -> Option<Exported>
    where
        F: Fn(A) -> R + 'static,
    {
        let mut all = export::all().into_iter();
        if let Some(pointer) = (&task as &dyn Any).downcast_ref::<fn(A) -> R>() {
            let plan = Plan::of(*pointer).ok()?;
            return all.find(|export| export.is_at::<A, R>(plan)).map(Exported);
        }
        let own = TypeId::of::<F>();
        all.find(|export| export.is_of_type(own)).map(Exported)
    }

    /// The task that is exported by this name.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn named(name: &str) -> Result<Exported, NotExported> {
        let mut all = export::all().into_iter().filter(|e| e.name == name);
        match (all.next(), all.next()) {
            (Some(export), None) => Ok(Exported(export)),
            (first, _) => Err(NotExported {
                name: name.to_owned(),
                is_ambiguous: first.is_some(),
            }),
        }
    }

    /// All of this program, in no order.
    pub fn all() -> Vec<Exported> {
        export::all().into_iter().map(Exported).collect()
    }

    /// The function. `None`: its types are others, or it is not code of the main program.
    pub fn function<A: Message, R: Message>(&self) -> Option<fn(A) -> R> {
        self.0.function()
    }

    /// By which it is exported.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What its input and its result are made of, as
    /// [`Program::task`](crate::process::Program::task) compares them: equal texts are equal types,
    /// also in another build. The words may change with any version of this crate. Computed anew at
    /// each call, which takes some microseconds.
    ///
    /// `None`: it is not code of the main program, so that no worker can run it.
    pub fn types(&self) -> Option<String> {
        let [input, result] = self.0.outlines()?;
        Some(format!("fn({input}) -> {result}"))
    }

    /// The task between bytes: a function for [`Pool::submit`](crate::Pool::submit) and the like,
    /// that decodes its input, runs the task, and encodes the result. All three take place in the
    /// worker. Its error says why the input could not be decoded or the result not be encoded.
    pub fn encoded(&self) -> fn(Vec<u8>) -> Result<Vec<u8>, String> {
        self.0.run
    }

    /// As [`encoded`](Self::encoded), for a task that was run before, elsewhere: it takes the
    /// number of the run, counted from 1, with the input, and [`attempt`](crate::attempt()) tells
    /// the task. Runs of the pool that this is submitted to are added.
    pub fn encoded_run(&self) -> EncodedRun {
        self.0.run_again
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exported").field(&self.name()).finish()
    }
}

/// A name by which this program exports no task, or more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotExported {
    name: String,
    is_ambiguous: bool,
}

impl NotExported {
    /// What was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NotExported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        if self.is_ambiguous {
            return write!(f, "this program exports more than one task `{name}`");
        }
        write!(f, "this program exports no task `{name}`: ")?;
        let mut names: Vec<_> = export::all().iter().map(|export| export.name).collect();
        names.sort_unstable();
        if names.is_empty() {
            return f.write_str("it exports none");
        }
        write!(f, "it has `{}`", names.join("`, `"))
    }
}

impl std::error::Error for NotExported {}

/// A value as bytes: what a worker process would be sent.
///
/// # Errors
/// serde's own, with the place in the value; it takes more than 2 GiB; or a descriptor is part of
/// it (a channel's end, a [`Shared`](crate::Shared) region, a file), which bytes cannot carry.
pub fn encode<T: Message>(value: &T) -> Result<Vec<u8>, NotCarried> {
    let mut bytes = Vec::new();
    let descriptors = codec::encode(value, &mut bytes).map_err(NotCarried)?;
    if descriptors.is_empty() {
        return Ok(bytes);
    }
    Err(NotCarried(format!(
        "could not be encoded: {} has descriptors in it (ends of channels, shared regions, files), which stay on their machine",
        std::any::type_name::<T>()
    )))
}

/// The value that `bytes` encode, all of them. They may come from anywhere: they are checked.
///
/// # Errors
/// They encode no such value.
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, NotCarried> {
    codec::decode(bytes, Vec::new()).map_err(NotCarried)
}

/// Why a value could not be [encoded](encode) or [decoded](decode).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotCarried(String);
