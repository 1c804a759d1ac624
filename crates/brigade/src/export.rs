//! Tasks that a program offers by name to other programs: what `export!` writes, and the list of
//! it.
//!
//! Each export registers itself by a constructor, which the loader runs before `main`; in a fork
//! server too, which runs those that come after its own (`fork_server/bootstrap.rs`). Linkers keep
//! constructors whatever else they leave out, so that no section of names has to be found again.

use std::any::{Any, TypeId};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Message;
use crate::exported::{self, EncodedRun};
use crate::task::attempt;
use crate::task::entry::Plan;
use crate::task::outline;

/// One `export!`.
#[derive(Debug)]
#[doc(hidden)]
pub struct Export {
    pub(crate) name: &'static str,
    describe: fn() -> Description,
    pub(crate) run: EncodedTask,
    pub(crate) run_again: EncodedRun,
}

/// A task between bytes: what it gives is the encoded result, or why its input could not be decoded
/// or its result not be encoded.
pub(crate) type EncodedTask = fn(Vec<u8>) -> Result<Vec<u8>, String>;

/// What is to be known of a task before it is called.
#[derive(Debug)]
#[doc(hidden)]
pub struct Description(Option<Types>);

#[derive(Debug)]
struct Types {
    plan: Plan,
    /// The function's own type, which no other function has.
    own: TypeId,
    /// The `fn(A) -> R`.
    pointer: Box<dyn Any>,
    input: fn() -> String,
    result: fn() -> String,
}

static EXPORTS: Mutex<Vec<&'static Export>> = Mutex::new(Vec::new());

impl Export {
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        describe: fn() -> Description,
        run: EncodedTask,
        run_again: EncodedRun,
    ) -> Export {
        Export {
            name,
            describe,
            run,
            run_again,
        }
    }

    /// Whether this is the export of the function that is of that type.
    pub(crate) fn is_of_type(&self, own: TypeId) -> bool {
        (self.describe)().0.is_some_and(|types| types.own == own)
    }

    /// Whether this is the export of the function at the address of that plan.
    pub(crate) fn is_at<A: Message, R: Message>(&self, plan: Plan) -> bool {
        // The other half of a plan is the address of code that is generic over the types. It is not
        // compared: the compiler may have made an instance of it for each crate.
        (self.describe)()
            .0
            .is_some_and(|types| types.plan.task == plan.task && types.pointer.is::<fn(A) -> R>())
    }

    /// The function. `None`: it has other types, or no worker finds it.
    pub(crate) fn function<A: Message, R: Message>(&self) -> Option<fn(A) -> R> {
        (self.describe)().0?.pointer.downcast_ref().copied()
    }

    /// The [outlines](outline::of) of its types, input and result. `None`: no worker finds it.
    pub(crate) fn outlines(&self) -> Option<[String; 2]> {
        let types = (self.describe)().0?;
        Some([(types.input)(), (types.result)()])
    }

    /// In the constructor that `export!` writes.
    #[doc(hidden)]
    pub fn register(&'static self) {
        let mut exports = EXPORTS.lock().unwrap_or_else(PoisonError::into_inner);
        exports.push(self);
    }
}

/// Describes a task: the function by its own type, and the same as a pointer.
#[doc(hidden)]
pub fn describe<F, A: Message, R: Message>(_: F, task: fn(A) -> R) -> Description
where
    F: Fn(A) -> R + 'static,
{
    // Other programs know of no library of this one's: a function of one is not offered.
    let plan = Plan::of(task).ok().filter(|plan| plan.is_of_program());
    Description(plan.map(|plan| Types {
        plan,
        own: TypeId::of::<F>(),
        pointer: Box::new(task),
        input: outline::of::<A>,
        result: outline::of::<R>,
    }))
}

/// Runs a task between bytes.
#[doc(hidden)]
pub fn run_encoded<A: Message, R: Message>(
    task: fn(A) -> R,
    input: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let value = exported::decode(&input).map_err(|e| format!("its input {e}"))?;
    drop(input);
    exported::encode(&task(value)).map_err(|e| format!("its result {e}"))
}

/// Runs the task as a later run of it: [`attempt`](crate::attempt()) says so meanwhile.
#[doc(hidden)]
pub fn run_repeated<A: Message, R: Message>(
    task: fn(A) -> R,
    (first, input): (u32, Vec<u8>),
) -> Result<Vec<u8>, String> {
    /// Sets it back, also where the task panics.
    struct SetBack(u32);

    impl Drop for SetBack {
        fn drop(&mut self) {
            attempt::set(self.0);
        }
    }

    // This pool may have run it before, too.
    let here = SetBack(attempt::attempt());
    attempt::set(first.saturating_add(here.0).saturating_sub(1));
    run_encoded(task, input)
}

/// All exports.
pub(crate) fn all() -> Vec<&'static Export> {
    EXPORTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// A task of another program, as that lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) name: String,
    /// The [outlines](outline::of) of its types.
    pub(crate) input: String,
    pub(crate) result: String,
    pub(crate) plan: [u64; 2],
}

/// The task that lists what this program exports. The host of another program has it run in one of
/// this program's workers: outlines come from code of the program's own.
pub(crate) fn catalogue() -> Plan {
    // Where `list` is not code of the main program, a plan that no worker finds: the worker's reply
    // says so.
    Plan::of(list as fn(()) -> Vec<Offer>).unwrap_or(Plan::from_words([u64::MAX; 2]))
}

fn list((): ()) -> Vec<Offer> {
    let offer = |export: &Export| {
        let types = (export.describe)().0?;
        Some(Offer {
            name: export.name.to_owned(),
            input: (types.input)(),
            result: (types.result)(),
            plan: types.plan.to_words(),
        })
    };
    all().into_iter().filter_map(offer).collect()
}
