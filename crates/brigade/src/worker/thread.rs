//! Workers that are threads of this program.

mod scope;
pub(super) mod task;

pub use scope::{Scope, ScopedJoinHandle, scope};

use std::io;
use std::sync::Arc;

use self::task::{ThreadTask, ThreadTaskState};
use super::handle::{HandleInner, JoinHandle};
use crate::Kind;
use crate::sys::error::{Call, THREAD};
use crate::task::contain::contained;
use crate::task::name::TaskName;

/// Starts `task` on `input` in a new thread.
///
/// # Errors
/// The operating system could not make a thread.
///
/// # Examples
/// ```
/// let sum = brigade::thread::spawn(|v: Vec<u64>| v.into_iter().sum::<u64>(), vec![1, 2, 3])?;
/// assert_eq!(sum.join()?, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn spawn<A, R>(task: fn(A) -> R, input: A) -> io::Result<JoinHandle<R>>
where
    A: Send + 'static,
    R: Send + 'static,
{
    Builder::new().spawn(task, input)
}

/// Configures a worker thread. One builder starts any number of them.
///
/// What a thread cannot do (be killed, be limited, be sandboxed) is no method here.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct Builder {
    name: Option<Arc<str>>,
    stack_size: Option<usize>,
}

impl Builder {
    /// The defaults: a thread as std makes it.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The thread's name, as debuggers, `ps -L` and errors show it. The kernel keeps the first 15
    /// bytes.
    ///
    /// *Default: none; the kernel then shows the name of the thread that starts it.*
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into());
        self
    }

    /// The size of its stack, in bytes.
    ///
    /// *Default: that of [`std::thread::Builder`], 2 MiB or `RUST_MIN_STACK`.*
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts `task` on `input`.
    ///
    /// # Errors
    /// The operating system could not make a thread, or the name contains a zero byte.
    #[track_caller]
    pub fn spawn<A, R>(&self, task: fn(A) -> R, input: A) -> io::Result<JoinHandle<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        self.spawn_as(task, input, TaskName::new(task as usize, self.name.clone()))
    }

    /// As [`spawn`](Self::spawn), of a task that errors are to call by that name.
    pub(crate) fn spawn_as<A, R>(
        &self,
        task: fn(A) -> R,
        input: A,
        name: TaskName,
    ) -> io::Result<JoinHandle<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
    {
        let shared = Arc::new(ThreadTaskState::new());
        let theirs = Arc::clone(&shared);
        // What panics beside the task, a waker or a destructor, reaches no caller.
        let thread = self
            .as_std()?
            .spawn(move || {
                contained(|| {
                    theirs.run(|| task(input));
                });
            })
            .call(THREAD)
            .needed_to("run a task in a thread")?;
        let task = ThreadTask::new(shared, thread, name);
        Ok(JoinHandle(HandleInner::Thread(Box::new(task))))
    }

    /// This builder, as one of the standard library's.
    fn as_std(&self) -> io::Result<std::thread::Builder> {
        let mut builder = std::thread::Builder::new();
        if let Some(name) = &self.name {
            Kind::Thread.check_name(name)?;
            builder = builder.name(name.to_string());
        }
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        Ok(builder)
    }
}
