//! Threads that may borrow, for they end before what they borrow does.

#![expect(unsafe_code, reason = "a scope is std's, under another name")]

use std::fmt;
use std::io;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Builder;
use super::task::ThreadTaskState;
use crate::JoinError;
use crate::sys::error::{Call, THREAD};
use crate::sys::original::Original;
use crate::task::contain::attempt;
use crate::task::name::TaskName;

/// Runs `f`, in which threads can be started that borrow from outside of it, and returns when they
/// all have ended.
///
/// It is [`std::thread::scope`], with errors as this crate's: a panic in a thread is a
/// [`JoinError`] with message, place and backtrace.
///
/// [`Pool::scope`](crate::Pool::scope) is the same in the threads of a pool, which are there
/// already.
///
/// What a thread borrows need not be a [`Message`](crate::Message), for nothing is carried. A
/// process has no such scope: it sees nothing of the program's memory but [`Shared`](crate::Shared)
/// regions.
///
/// ```
/// use brigade::thread;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let words = vec!["mise", "en", "place"];
/// let mut longest = String::new();
/// let letters = thread::scope(|scope| {
///     scope.spawn(|| longest = words.iter().max_by_key(|word| word.len()).unwrap().to_string())?;
///     let letters = scope.spawn(|| words.iter().map(|word| word.len()).sum::<usize>())?;
///     Ok::<_, Box<dyn std::error::Error>>(letters.join()?)
/// })?;
/// assert_eq!((letters, longest.as_str()), (11, "place"));
/// # Ok(())
/// # }
/// ```
///
/// What does not live as long as the scope cannot be borrowed:
///
/// ```compile_fail,E0373
/// brigade::thread::scope(|scope| {
///     let inside = 1;
///     scope.spawn(|| println!("{inside}")).unwrap();
/// });
/// ```
///
/// # Panics
/// When the threads have ended: if `f` did, or a thread whose handle was not joined.
///
/// # Forks
/// In a fork of the process that was made by fork(2) within the scope, threads do not exist and the
/// scope never returns: such a child leaves by execve(2) or \_exit(2).
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    std::thread::scope(|scope| f(Scope::of(scope)))
}

/// Where threads are started that may borrow: see [`scope`].
#[repr(transparent)]
pub struct Scope<'scope, 'env: 'scope>(std::thread::Scope<'scope, 'env>);

impl<'scope, 'env> Scope<'scope, 'env> {
    fn of(scope: &'scope std::thread::Scope<'scope, 'env>) -> &'scope Scope<'scope, 'env> {
        // SAFETY: `Scope` is transparent: it has the layout of its only field, and adds no
        // invariant to it. The reference has the lifetimes that it had.
        unsafe { &*std::ptr::from_ref(scope).cast::<Scope<'scope, 'env>>() }
    }

    /// Starts a thread that runs `task`, a function or a closure, which may borrow what outlives
    /// the scope.
    ///
    /// # Errors
    /// The operating system could not make a thread.
    #[track_caller]
    pub fn spawn<F, R>(&'scope self, task: F) -> io::Result<ScopedJoinHandle<'scope, R>>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, task)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl Builder {
    /// As [`Scope::spawn`], with this builder's name and stack size.
    ///
    /// # Errors
    /// As [`spawn`](Builder::spawn).
    ///
    /// ```
    /// use brigade::thread;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let orders = vec![3, 4];
    /// let name = thread::scope(|scope| {
    ///     let cook = thread::Builder::new().name("cook");
    ///     let cook = cook.spawn_scoped(scope, || std::thread::current().name().map(str::to_owned));
    ///     cook.map(|cook| cook.join())
    /// })??;
    /// assert_eq!(name.as_deref(), Some("cook"));
    /// # drop(orders);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, R>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        task: F,
    ) -> io::Result<ScopedJoinHandle<'scope, R>>
    where
        F: FnOnce() -> R + Send + 'scope,
        R: Send + 'scope,
    {
        let name = TaskName::of_type::<F>(self.name.clone(), Location::caller());
        let shared = Arc::new(ThreadTaskState::new());
        let theirs = Arc::clone(&shared);
        let run = move || {
            // What panics beside the task, a destructor of a result that was not taken, is
            // contained.
            if attempt(move || theirs.run(task)) == Some(true) {
                // Joining takes note of it. Where that is not done, std has the scope panic.
                resume_unwind(Box::new("a task panicked, and was not joined"));
            }
        };
        let thread = self
            .as_std()?
            .spawn_scoped(&scope.0, run)
            .call(THREAD)
            .needed_to("run a task in a thread")?;
        Ok(ScopedJoinHandle {
            host: Original::this_process(),
            shared,
            thread,
            name,
        })
    }
}

/// A task in a thread of a [`scope`]. When it is dropped the task runs on, and the scope waits for
/// it; if it panics, so does the scope.
///
/// It cannot be cancelled: a thread cannot be killed, and one that was let go would still have what
/// it borrows.
pub struct ScopedJoinHandle<'scope, R> {
    /// A fork of the process has no such thread.
    host: Original,
    shared: Arc<ThreadTaskState<R>>,
    thread: std::thread::ScopedJoinHandle<'scope, ()>,
    name: TaskName,
}

impl<R> ScopedJoinHandle<'_, R> {
    /// Waits until the task ends.
    ///
    /// # Errors
    /// It panicked. In a fork of the process that has started it: [`JoinError::Closed`].
    #[expect(clippy::mem_forget, reason = "it belongs to another process")]
    pub fn join(self) -> Result<R, JoinError> {
        if self.is_fork_of_owner() {
            std::mem::forget(self.thread);
            return Err(JoinError::Closed);
        }
        // As std does, with the destructors of the thread's locals. A panic is in `shared` as well.
        let _ = self.thread.join();
        self.shared.take(&self.name)
    }

    /// Waits until the task ends, but no longer than `timeout`: then the handle comes back, and the
    /// task runs on.
    ///
    /// # Errors
    /// The outer error is the handle, if the time is over; the inner one as of
    /// [`join`](Self::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, JoinError>, Self> {
        // A time so long that the clock cannot say when it ends is for ever.
        let deadline = Instant::now().checked_add(timeout);
        if self.is_fork_of_owner() || self.shared.wait(deadline) {
            return Ok(self.join());
        }
        Err(self)
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.shared.is_finished() || self.is_fork_of_owner()
    }

    fn is_fork_of_owner(&self) -> bool {
        !self.host.is_this_process()
    }
}

impl<R> fmt::Debug for ScopedJoinHandle<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("task", &self.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
