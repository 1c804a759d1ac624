//! What a task is called when it is spoken of.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use super::symbols::Symbols;

/// The name of a task: its function, found in the symbols when somebody asks (a closure has no name
/// of its own: where it was started), and the name of its worker, if it has one.
#[derive(Clone)]
pub(crate) struct TaskName(Arc<Inner>);

struct Inner {
    /// The function's address in this process.
    address: usize,
    /// Where it was started.
    started: &'static Location<'static>,
    worker: Option<Arc<str>>,
    text: OnceLock<String>,
}

impl TaskName {
    #[track_caller]
    pub(crate) fn new(address: usize, worker: Option<Arc<str>>) -> TaskName {
        TaskName::at(address, worker, Location::caller())
    }

    /// As [`new`](Self::new), of a task that was started there.
    pub(crate) fn at(
        address: usize,
        worker: Option<Arc<str>>,
        started: &'static Location<'static>,
    ) -> TaskName {
        TaskName(Arc::new(Inner {
            address,
            started,
            worker,
            text: OnceLock::new(),
        }))
    }

    pub(crate) fn get(&self) -> &str {
        self.0.text.get_or_init(|| {
            let function = match Symbols::of_this_process().function(self.0.address) {
                // A closure as a function pointer is an instance of this, which says nothing of it.
                Some(shim) if shim == "core::ops::function::FnOnce::call_once" => {
                    format!("closure at {}", self.0.started)
                }
                // The same, where symbols carry types (the v0 mangling):
                // `<closure as core::ops::function::FnOnce<…>>::call_once`.
                Some(shim) if shim.contains(" as core::ops::function::FnOnce<") => {
                    let closure = shim.split(" as core::ops::function::FnOnce<").next();
                    closure.unwrap_or(&shim).trim_start_matches('<').to_owned()
                }
                Some(function) => function,
                // A program without symbols.
                None => format!("function at {}", self.0.started),
            };
            match &self.0.worker {
                None => function,
                Some(worker) => format!("{function} ({worker})"),
            }
        })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.get(), f)
    }
}
