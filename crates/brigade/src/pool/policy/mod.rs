//! What a pool decides, whether its workers are threads or processes.
//!
//! The two pools have different engines: threads take tasks from one queue, processes are assigned
//! tasks ahead. What they decide alike is written here, once. Nothing here takes a lock, reads a
//! clock or knows a worker.

// The files:
// - keys: which worker has the tasks of which key
// - estimate: how long tasks take, and how many of them make a given amount of work
// - queue_and_retries: limits of the queue, of a map's window, of retries, of workers that do not
//   start
// - outcome: how a task has ended, as events and numbers say it; run: when it ran
// - size: how many workers there are where that follows the work
// - task_options: what one task has otherwise than its pool

pub(super) mod estimate;
pub(super) mod keys;
pub(super) mod outcome;
pub(super) mod queue_and_retries;
pub(super) mod run;
pub(super) mod size;
pub(super) mod task_options;
