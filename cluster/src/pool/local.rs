//! A task with options, given to a pool of this program.

use std::time::Instant;

use brigade::{JoinHandle, Message};

use super::Pause;
use crate::wire::Options;

/// Waits for room in the pool's queue, until the task's deadline at most.
pub(crate) async fn submit<A: Message, R: Message>(
    pool: &brigade::Pool,
    task: fn(A) -> R,
    mut input: A,
    options: &Options,
) -> JoinHandle<R> {
    if options.timeout.is_none() && options.deadline.is_none() {
        return pool.submit_async(task, input).await;
    }
    let until = deadline(options);
    let mut pause = Pause::new();
    loop {
        if until.is_some_and(|until| until <= Instant::now()) {
            // It waits for nothing: the task ends at once.
            return built(pool, task, options.timeout, until).submit(input);
        }
        match built(pool, task, options.timeout, until).try_submit(input) {
            Ok(handle) => return handle,
            Err(back) => input = back,
        }
        pause.wait().await;
    }
}

/// The same, unless the pool's queue is full.
///
/// # Errors
/// The input, which was not taken.
pub(crate) fn try_submit<A: Message, R: Message>(
    pool: &brigade::Pool,
    task: fn(A) -> R,
    input: A,
    options: &Options,
) -> Result<JoinHandle<R>, A> {
    built(pool, task, options.timeout, deadline(options)).try_submit(input)
}

fn deadline(options: &Options) -> Option<Instant> {
    // One that the clock cannot tell is never reached.
    Instant::now().checked_add(options.deadline?)
}

fn built<A: Message, R: Message>(
    pool: &brigade::Pool,
    task: fn(A) -> R,
    timeout: Option<std::time::Duration>,
    until: Option<Instant>,
) -> brigade::pool::TaskBuilder<'_, A, R> {
    let mut built = pool.task(task);
    if let Some(timeout) = timeout {
        built = built.timeout(timeout);
    }
    if let Some(until) = until {
        built = built.deadline(until);
    }
    built
}
