//! A pool of threads.

// The files:
// - shared: the queue, and what all see; roster: who is there; dispatch: who comes, goes and
//   sleeps; ending: how a pool ends
// - worker: one thread; spinning: how long it looks before it sleeps; here: what a thread is to a
//   pool
// - work: what waits in the queue; slot: a task that was submitted; retry: what it takes to run it
//   again
// - job, chunk, map: many inputs for one function
// - room: the limit of the queue; keeper: the time that tasks have; tally: what is counted
// - registry: pools by their numbers; primitive: what threads meet in

mod chunk;
mod dispatch;
mod ending;
mod here;
mod job;
mod keeper;
mod map;
mod primitive;
mod registry;
mod retry;
mod room;
mod roster;
mod shared;
mod slot;
mod spinning;
mod tally;
#[cfg(test)]
mod tests;
mod work;
mod worker;

pub(in crate::pool) use map::Map;
pub(in crate::pool) use shared::Shared;
