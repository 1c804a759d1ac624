//! Tasks that borrow from the caller's stack, in the threads of a pool.

use std::io;

use super::backend::Backend;
use super::{Pool, PoolScope, thread};

/// Tasks that borrow.
impl Pool {
    /// Runs `f`, in which tasks can be given to the pool that borrow from outside of it, and
    /// returns when they all have ended, also where one of them or `f` panics.
    ///
    /// It is [`thread::scope`](crate::thread::scope()) in threads that are there already. What a
    /// task borrows or returns need not be a [`Message`](crate::Message), for nothing is carried.
    ///
    /// ```
    /// use brigade::Pool;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::threads(4)?;
    /// let mut pixels = vec![1_u8; 1000];
    /// let factor = 3;
    /// let sum = pool.scope(|scope| {
    ///     let parts = pixels.chunks_mut(250).map(|part| {
    ///         scope.spawn(move || {
    ///             part.iter_mut().for_each(|pixel| *pixel *= factor);
    ///             part.iter().map(|pixel| u64::from(*pixel)).sum::<u64>()
    ///         })
    ///     });
    ///     let parts: Vec<_> = parts.collect();
    ///     parts.into_iter().map(|part| part.join()).sum::<Result<u64, _>>()
    /// })??;
    /// assert_eq!((sum, pixels[999]), (3000, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What is different from other tasks
    ///
    /// - **It is never let go**, for its thread would go on with what it borrows. The pool's
    ///   [timeout](crate::PoolBuilder::timeout) does not apply, a handle has no `cancel`, and
    ///   [`abort`](Self::abort) ends what has not begun and waits for what runs.
    /// - **A scope within a scope**, or in a task of the same pool, does not deadlock, whatever the
    ///   number of workers: a thread that waits in a task is counted as waiting, and another runs
    ///   in its place. The waiting thread itself runs no other task meanwhile, for it may hold
    ///   locks that such a task wants. So scopes within scopes take a thread for each level that
    ///   waits; where a problem is divided until its parts are tiny, use rayon's `join`.
    /// - **A panic** is an error of the task's handle; without a handle that is joined it is one of
    ///   the scope. A fault ends the program, as in any thread.
    ///
    /// # Processes
    /// A process sees nothing of the program's memory, so there is nothing that it could borrow. To
    /// give tasks of both kinds the same value, take a [`Context`](crate::pool::Context) or
    /// [`task!`](crate::task!), and memory that they write in place is
    /// [`shm::Writable`](crate::shm::Writable).
    ///
    /// # Errors
    /// The pool's workers are processes ([`Unsupported`](io::ErrorKind::Unsupported)): `f` was not
    /// run.
    ///
    /// # Panics
    /// When the tasks have ended: if `f` did, or a task whose handle was not joined.
    ///
    /// # Forks
    /// In a fork of the process that was made by fork(2) within the scope, its tasks do not run and
    /// the scope never returns: such a child leaves by execve(2) or \_exit(2).
    ///
    /// # What the compiler refuses
    ///
    /// What does not live as long as the scope cannot be borrowed:
    ///
    /// ```compile_fail,E0373
    /// let pool = brigade::Pool::threads(1).unwrap();
    /// pool.scope(|scope| {
    ///     let inside = 1;
    ///     scope.spawn(|| println!("{inside}"));
    /// });
    /// ```
    ///
    /// Two tasks cannot change the same value:
    ///
    /// ```compile_fail,E0499
    /// let pool = brigade::Pool::threads(1).unwrap();
    /// let mut count = 0;
    /// pool.scope(|scope| {
    ///     scope.spawn(|| count += 1);
    ///     scope.spawn(|| count += 1);
    /// });
    /// ```
    ///
    /// Nor can what a task has borrowed be used before the scope ends:
    ///
    /// ```compile_fail,E0506
    /// let pool = brigade::Pool::threads(1).unwrap();
    /// let mut count = 0;
    /// pool.scope(|scope| {
    ///     scope.spawn(|| println!("{count}"));
    ///     count = 1;
    /// });
    /// ```
    ///
    /// A handle does not leave the scope:
    ///
    /// ```compile_fail
    /// let pool = brigade::Pool::threads(1).unwrap();
    /// let handle = pool.scope(|scope| scope.spawn(|| 1)).unwrap();
    /// handle.join();
    /// ```
    ///
    /// What may not move to another thread is not given to one:
    ///
    /// ```compile_fail,E0277
    /// let pool = brigade::Pool::threads(1).unwrap();
    /// let shared = std::rc::Rc::new(1);
    /// pool.scope(|scope| {
    ///     scope.spawn(|| println!("{shared}"));
    /// });
    /// ```
    #[doc(alias = "borrow")]
    #[doc(alias = "in_place_scope")]
    pub fn scope<'env, F, T>(&self, f: F) -> io::Result<T>
    where
        F: for<'scope> FnOnce(&'scope PoolScope<'scope, 'env>) -> T,
    {
        match &self.backend {
            Backend::Thread(pool) => Ok(thread::scope(pool, f)),
            Backend::Process(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "tasks of a scope borrow the program's memory, which worker processes do not see: \
                 use a pool of threads (`Pool::threads`), or give the tasks what they need with \
                 `task!` or a `pool::Context`, or in a `Shared` region",
            )),
        }
    }
}
