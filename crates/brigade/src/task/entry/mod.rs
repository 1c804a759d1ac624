//! One task, run with its panics caught; [`plan`]: in a worker process; [`kept_value`]: what that
//! keeps for its tasks.

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod kept_value;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod plan;

#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) use kept_value::{EncodedValue, KeptValue, ValuePlace};
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) use plan::{
    EncodedResult, EntryOutcome, Plan, encode_state, load_of_state, load_state, run_initializer,
    task_at,
};

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::panic::{self, Unwound};

/// Runs `f`; a panic becomes a value.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Unwound> {
    let watching = panic::watch();
    // A task is given its input by value and gives back its result by value: what it broke on the
    // way it took along.
    let ended = catch_unwind(AssertUnwindSafe(f));
    let seen = watching.end();
    ended.map_err(|payload| Unwound::new(payload, seen))
}
