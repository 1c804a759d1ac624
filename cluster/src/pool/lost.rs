//! Tasks that are gone from the queue without an end: an administrator has purged or deleted the
//! queue, or the servers were started anew without their data. No worker will write how they
//! ended.

use std::collections::HashMap;
use std::sync::Arc;

use brigade::JoinError;
use brigade::exported::Failure;
use tokio::time::sleep;

use super::job::{Shared, Task};

/// So often a task is missed before it is lost: a server that has only just come back may tell of a
/// queue as it was before.
const LOOKS: u32 = 3;

/// Ends those of them that are awaited.
pub(super) async fn end_what_is_lost(shared: Arc<Shared>) {
    let every = shared.store.settings.ack_wait;
    let mut missed: HashMap<u64, u32> = HashMap::new();
    loop {
        // Nothing tells that a message is gone: it is looked for, once in this time.
        sleep(every).await;
        let awaited = shared.awaited();
        if awaited.is_empty() {
            missed.clear();
            continue;
        }
        let queue = match shared.store.queue_range().await {
            Ok(queue) => queue,
            Err(e) => {
                tracing::debug!("{e}");
                shared.store.make_what_is_gone(&e).await;
                continue;
            }
        };
        let mut missing = HashMap::new();
        for task in awaited {
            if queue.contains(&task.sequence) {
                continue;
            }
            let times = missed.get(&task.number).map_or(1, |times| times + 1);
            if times < LOOKS {
                missing.insert(task.number, times);
            } else if let Err(e) = end(&shared, &task).await {
                tracing::debug!(task = task.number, "{e}");
                missing.insert(task.number, times - 1);
            }
        }
        missed = missing;
    }
}

/// What has an end is left alone: the watch over results gives it.
async fn end(shared: &Shared, task: &Task) -> Result<(), crate::Error> {
    if shared
        .store
        .result(&shared.id(task.number))
        .await?
        .is_some()
    {
        return Ok(());
    }
    let why = "it is no longer in the queue, and has no result: the queue was purged or deleted, or its result is no longer kept";
    let how = Failure::of(&JoinError::Undeliverable(why.to_owned()));
    shared.end(task, how).await
}
