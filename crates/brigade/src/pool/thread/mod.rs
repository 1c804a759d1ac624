//! A pool of threads.

// The files:
// - pool: the queue, and what all threads see; thread_table: which threads there are; scheduler:
//   which of them come, go and sleep; following: how many, where that follows the work; shutdown:
//   how a pool ends
// - worker: one thread; adaptive_spin: how long it looks before it sleeps; current: the worker that
//   the calling thread is
// - work: what waits in the queue; callable: what a task calls; submit: taking tasks on;
//   keyed: those of a key; task: one that was submitted; retry: what it takes to run it again;
//   scope: tasks that borrow
// - map_job, map_batch, map: many inputs for one function
// - capacity: the limit of the queue; timeouts: the thread that ends tasks; counters: numbers
// - publish: what is published of it; stacks: what each thread does now
// - state: what a thread has loaded for its tasks
// - registry: pools by their numbers; locks: std's, as a pool uses them

mod adaptive_spin;
mod callable;
mod capacity;
mod counters;
mod current;
mod following;
mod keyed;
mod locks;
mod map;
mod map_batch;
mod map_job;
mod pool;
mod publish;
mod registry;
mod retry;
mod scheduler;
mod scope;
mod shutdown;
mod stacks;
mod start;
mod state;
mod submit;
mod task;
mod task_spans;
#[cfg(test)]
mod tests;
mod thread_table;
mod timeouts;
mod work;
mod worker;

pub(in crate::pool) use callable::Callable;
pub(in crate::pool) use map::Map;
pub(in crate::pool) use pool::ThreadPool;
pub(in crate::pool) use scope::scope;
pub use scope::{PoolScope, ScopedTaskHandle};
