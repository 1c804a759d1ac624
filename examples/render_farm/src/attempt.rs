//! A task, tried until it has a result, or is to blame that it has none.

use brigade::{Cause, JoinError, Message, Pool};

/// How often a task may fail by itself.
const ATTEMPTS: u32 = 3;

/// How often its worker may be killed from outside. No task is to blame for that, and no result is
/// to differ by it; but where this many die something kills all of them.
const KILLS: u32 = 1000;

/// Why a task has no result: what came of its last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) attempts: u32,
    pub(crate) why: String,
}

/// What an attempt came to, when it came to nothing.
#[derive(Debug, PartialEq, Eq)]
enum Blame {
    /// The task's.
    Task,
    /// Another's: it is as if the task had not been tried.
    Outside,
    /// Nothing is tried any more.
    Over,
}

fn blame(why: &JoinError) -> Blame {
    match why {
        JoinError::Crashed(crash) => match crash.cause() {
            Cause::Killed(_) => Blame::Outside,
            _ => Blame::Task,
        },
        JoinError::Cancelled | JoinError::Closed => Blame::Over,
        _ => Blame::Task,
    }
}

/// Runs a task in a pool, again if that fails. `PoolBuilder::retries` does not tell the causes
/// apart: it would give up a task whose workers were killed as soon as one that faults.
///
/// `failed` is told of each attempt that failed.
///
/// # Errors
/// The outer one ends the whole run: workers are killed faster than they can work, or the pool is
/// shut down.
pub(crate) async fn attempt<A: Message + Clone, R: Message>(
    pool: &Pool,
    task: fn(A) -> Result<R, String>,
    input: A,
    failed: impl Fn(&str),
) -> Result<Result<R, Failure>, String> {
    let mut attempts = 0;
    let mut kills = 0;
    loop {
        let (blame, why) = match pool.submit(task, input.clone()).await {
            Ok(Ok(result)) => return Ok(Ok(result)),
            Ok(Err(why)) => (Blame::Task, why),
            Err(why) => (blame(&why), why.to_string()),
        };
        failed(&why);
        match blame {
            Blame::Task => attempts += 1,
            Blame::Outside => kills += 1,
            Blame::Over => return Err(why),
        }
        if attempts == ATTEMPTS {
            return Ok(Err(Failure { attempts, why }));
        }
        if kills == KILLS {
            return Err(format!("{KILLS} workers were killed from outside: {why}"));
        }
    }
}
