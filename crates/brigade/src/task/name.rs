//! What a task is called when it is spoken of.
//!
//! A task is a function pointer, and a pointer has no name of its own: its type is `fn(A) -> R`, so
//! the compiler forgets which function it was made from. What is left is its address, and the
//! program's symbols. Where the compiler has merged functions whose code is equal, one address
//! stands for all of them, and only those names that are still in the symbol table can be given. So
//! the place of the call is kept beside it, which is always right.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::symbols::Symbols;

/// The name of a task: its function, found in the symbols when it is asked for (a closure has no
/// name of its own: where it was started), and the name of its worker, if it has one.
#[derive(Clone)]
pub(crate) struct TaskName(Arc<NameData>);

/// How many names of one function are given.
const MAX_NAMES: usize = 3;

struct NameData {
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
        TaskName(Arc::new(NameData {
            address,
            started,
            worker,
            text: OnceLock::new(),
        }))
    }

    /// Of a closure or function that is no function pointer: the compiler knows its name.
    pub(crate) fn of_type<F>(
        worker: Option<Arc<str>>,
        started: &'static Location<'static>,
    ) -> TaskName {
        let name = std::any::type_name::<F>();
        let function = if name.ends_with("{{closure}}") {
            format!("closure at {started}")
        } else {
            name.to_owned()
        };
        let name = TaskName::at(0, worker, started);
        name.0.text.get_or_init(|| name.0.with_worker(function));
        name
    }

    /// That of a task of another program, which was started there.
    pub(crate) fn of_program(
        task: &str,
        program: &Path,
        worker: Option<&Arc<str>>,
        started: &'static Location<'static>,
    ) -> TaskName {
        let program = program.file_name().unwrap_or(program.as_os_str());
        let program = program.to_string_lossy();
        let worker = worker.map(|worker| format!(" ({worker})"));
        let text = format!("{task} of {program}{}", worker.unwrap_or_default());
        TaskName(Arc::new(NameData {
            address: 0,
            started,
            worker: None,
            text: OnceLock::from(text),
        }))
    }

    /// That of a task that ran elsewhere, under this name, and was asked for there.
    pub(crate) fn told(task: &str, started: &'static Location<'static>) -> TaskName {
        TaskName(Arc::new(NameData {
            address: 0,
            started,
            worker: None,
            text: OnceLock::from(task.to_owned()),
        }))
    }

    /// Where it was started.
    pub(crate) fn started(&self) -> &'static Location<'static> {
        self.0.started
    }

    pub(crate) fn get(&self) -> &str {
        self.0.text.get_or_init(|| {
            let mut functions = Symbols::of_this_process().functions(self.0.address);
            for name in &mut functions {
                if let Some(closure) = self.0.closure(name) {
                    *name = closure;
                }
            }
            // A program without symbols.
            let function =
                any_of(functions).unwrap_or_else(|| format!("function at {}", self.0.started));
            self.0.with_worker(function)
        })
    }
}

impl NameData {
    fn with_worker(&self, function: String) -> String {
        match &self.worker {
            None => function,
            Some(worker) => format!("{function} ({worker})"),
        }
    }

    /// What it is called if the function of this name is a closure.
    fn closure(&self, name: &str) -> Option<String> {
        // A closure as a function pointer is an instance of this, which says nothing of it.
        if name == "core::ops::function::FnOnce::call_once" {
            return Some(format!("closure at {}", self.started));
        }
        // The same, where symbols carry types (the v0 mangling):
        // `<closure as core::ops::function::FnOnce<…>>::call_once`.
        let (closure, _) = name.split_once(" as core::ops::function::FnOnce<")?;
        Some(closure.trim_start_matches('<').to_owned())
    }
}

/// One name of all that the same code has.
fn any_of(mut names: Vec<String>) -> Option<String> {
    let others = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    if others > 0 {
        names.push(format!("{others} others"));
    }
    (!names.is_empty()).then(|| names.join(" or "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_the_same_code_are_told_up_to_a_limit() {
        let names = |many| (1..=many).map(|n| format!("f{n}")).collect();
        assert_eq!(any_of(names(0)), None);
        assert_eq!(any_of(names(1)).as_deref(), Some("f1"));
        assert_eq!(any_of(names(3)).as_deref(), Some("f1 or f2 or f3"));
        assert_eq!(
            any_of(names(9)).as_deref(),
            Some("f1 or f2 or f3 or 6 others")
        );
    }
}
