//! Which run of its task a worker is in.

use std::cell::Cell;

thread_local! {
    static ATTEMPT: Cell<u32> = const { Cell::new(1) };
}

/// Which run of the task this is that the calling thread runs, counted from 1: more where its pool
/// has [retries](crate::PoolBuilder::retries), and the worker of the run before died or ran over
/// its time. Outside of a task of a pool, and in threads that a task starts, it is 1.
///
/// ```
/// # use brigade::{Kind, Pool};
/// fn careful(n: u32) -> (u32, u32) {
///     if brigade::attempt() == 1 {
///         std::process::abort(); // what may go wrong the first time
///     }
///     (n, brigade::attempt())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let pool = Pool::builder(Kind::Process).workers(1).retries(2).build()?;
/// assert_eq!(pool.submit(careful, 7).join()?, (7, 2));
/// # Ok(())
/// # }
/// ```
///
/// In a [replay](crate::init#a-crash-once-more) it is 1, whatever it was.
pub fn attempt() -> u32 {
    ATTEMPT.get()
}

/// What the calling thread runs from here on is this run of its task.
pub(crate) fn set(attempt: u32) {
    ATTEMPT.set(attempt);
}
