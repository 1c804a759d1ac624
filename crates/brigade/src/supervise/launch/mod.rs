//! How a task of the program's is started as a child, in a thread or in a process.

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod in_process;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
mod unsupported;

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::context::{Context, Voice};
use super::exit::Exit;
use super::inbox::Address;
use super::line::ChildLine;
use crate::channel::Receiver;
use crate::task::contain::contained;
use crate::task::entry::caught;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::{JoinError, JoinHandle, process, thread};

/// What a supervised task may return: `()`, which is a normal end, or `Result<(), E>`, of which
/// `Err` is an abnormal one.
///
/// It is implemented for no other types.
pub trait Outcome: sealed::Sealed {
    /// What has failed, if something has.
    #[doc(hidden)]
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|e| e.to_string())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E: std::fmt::Display> Sealed for Result<(), E> {}
}

/// How a task has returned, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Returned {
    Well,
    Ignored,
    Failed(String),
}

impl From<Returned> for Exit {
    fn from(returned: Returned) -> Exit {
        match returned {
            Returned::Well => Exit::Returned,
            Returned::Ignored => Exit::Ignored,
            Returned::Failed(why) => Exit::Failed(why),
        }
    }
}

/// A run that was started.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) handle: JoinHandle<Returned>,
    pub(super) line: ChildLine,
    /// Where a process says that it is ready.
    pub(super) ready: Option<Receiver<()>>,
    /// There as long as a thread runs the task.
    pub(super) presence: Weak<()>,
}

/// How a run is to be started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) name: &'a str,
    pub(super) supervisor: Address,
    pub(super) waits_until_ready: bool,
    pub(super) process: &'a process::Builder,
}

/// A task and its input: each run has the input anew. Cloning it, encoding it and dropping it is
/// the program's code, which may panic.
pub(super) trait RepeatedTask: Send {
    fn launch(&self, launch: &Launch<'_>) -> io::Result<Launched>;
    fn name(&self) -> &TaskName;
    fn copy(&self) -> Box<dyn RepeatedTask>;
}

pub(super) struct Of<A, R> {
    pub(super) task: fn(A) -> R,
    pub(super) input: A,
    /// As errors call it.
    pub(super) name: TaskName,
}

impl<A: Clone, R> Clone for Of<A, R> {
    fn clone(&self) -> Of<A, R> {
        Of {
            task: self.task,
            input: self.input.clone(),
            name: self.name.clone(),
        }
    }
}

/// A task of any type. The destructor of its input may panic, which concerns no other child.
pub(super) struct AnyTask(Option<Box<dyn RepeatedTask>>);

impl AnyTask {
    pub(super) fn new(task: impl RepeatedTask + 'static) -> AnyTask {
        AnyTask(Some(Box::new(task)))
    }

    pub(super) fn start(&self, launch: &Launch<'_>) -> Result<Launched, Exit> {
        let Some(task) = &self.0 else {
            unreachable!("it is there until it is dropped")
        };
        match caught(|| task.launch(launch)) {
            Ok(started) => started.map_err(|error| Exit::NotStarted(Arc::new(error))),
            Err(unwound) => {
                let symbols = Symbols::of_this_process();
                let error = JoinError::panicked(task.name().clone(), unwound, symbols);
                Err(Exit::Died(Arc::new(error)))
            }
        }
    }
}

impl Clone for AnyTask {
    fn clone(&self) -> AnyTask {
        AnyTask(self.0.as_ref().map(|task| task.copy()))
    }
}

impl Drop for AnyTask {
    fn drop(&mut self) {
        contained(|| drop(self.0.take()));
    }
}

pub(super) struct InThread<A, R>(pub(super) Of<A, R>);
pub(super) struct InProcess<A, R>(pub(super) Of<A, R>);

impl<A: Clone + Send + 'static, R: Outcome + 'static> RepeatedTask for InThread<A, R> {
    fn launch(&self, launch: &Launch<'_>) -> io::Result<Launched> {
        let line = ChildLine::to_thread();
        let presence = Arc::new(());
        let voice = match launch.waits_until_ready {
            true => Voice::Thread(launch.supervisor.clone()),
            false => Voice::None,
        };
        let run = InThreadRun {
            task: self.0.task,
            context: Context::new(line.clone(), voice),
            input: self.0.input.clone(),
            presence: Arc::clone(&presence),
        };
        let builder = thread::Builder::new().name(launch.name);
        let handle = builder.spawn_as(in_thread, run, self.0.name.clone())?;
        Ok(Launched {
            handle,
            line,
            ready: None,
            presence: Arc::downgrade(&presence),
        })
    }

    fn name(&self) -> &TaskName {
        &self.0.name
    }

    fn copy(&self) -> Box<dyn RepeatedTask> {
        Box::new(InThread(self.0.clone()))
    }
}

struct InThreadRun<A, R> {
    task: fn(A) -> R,
    context: Context,
    input: A,
    presence: Arc<()>,
}

fn in_thread<A, R: Outcome>(run: InThreadRun<A, R>) -> Returned {
    // Dropped last, also when the task panics.
    let _presence = run.presence;
    under(&run.context, run.task, run.input)
}

fn under<A, R: Outcome>(context: &Context, task: fn(A) -> R, input: A) -> Returned {
    let outcome = context.within(|| task(input).failure());
    match outcome {
        Some(why) => Returned::Failed(why),
        None if context.is_ignored() => Returned::Ignored,
        None => Returned::Well,
    }
}
