//! A pool of processes: what runs in the host. Its workers run `worker::process::child`.
//!
//! Each worker has a mailbox with some tasks ahead. The protocol, and the terms, are in README.md.
//!
//! | files | what they do |
//! |---|---|
//! | `submit`, `captured`, `accept` | encode a task and give it a handle; take it into the queue |
//! | `task`, `input`, `context`, `outcome` | a task: its function, its input, what it borrows, how it ended |
//! | `handle`, `result_cell`; `map`, `map_results` | where callers wait for the end of a task; of the tasks of a map |
//! | `dispatcher` | what there is to do, under the pool's lock. Its parts: |
//! | `queue`, `own_times` | tasks that no worker has; those with a timeout or deadline of their own |
//! | `worker_table`, `worker_slot`, `assigned_tasks`, `assignment` | the workers, and the tasks that each has |
//! | `respawn`, `wakeup_schedule` | when a worker that did not start is tried again; which workers' notify words are out of date |
//! | `assign`, `keyed`, `wakeups` | which worker gets which task, and which the tasks of a key; when workers notify |
//! | `collect`, `reply_batch`, `answer`, `runs` | take workers' replies; end the tasks they answer; note runs for the timeline |
//! | `deaths`, `vacancies`, `cancel`, `resize` | workers that end; filling their slots; ending tasks early; more or fewer workers |
//! | `pool`, `driver`, `observer` | the pool as handles share it; the caller that drives it; the listener's part when no caller waits |
//! | `deferred`, `after_unlock`, `ordered_delivery` | what is left to do when the lock is free; doing it; events in their order |
//! | `publish`, `stacks` | what other programs may see; what each worker does, by asking it |
//! | `shuttle_tests` | what must hold whatever the order of steps |

mod accept;
mod after_unlock;
mod answer;
mod assign;
mod assigned_tasks;
mod assignment;
mod call_target;
mod cancel;
mod captured;
mod collect;
mod context;
mod deaths;
mod deferred;
mod dispatcher;
mod driver;
mod handle;
mod input;
mod keyed;
mod map;
mod map_results;
mod observer;
mod ordered_delivery;
mod outcome;
mod own_times;
mod pool;
mod publish;
mod queue;
mod reply_batch;
mod resize;
mod respawn;
mod result_cell;
mod runs;
#[cfg(all(shuttle, test))]
mod shuttle_tests;
mod stacks;
mod submit;
mod task;
#[cfg_attr(not(feature = "tracing"), path = "no_task_spans.rs")]
mod task_spans;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod vacancies;
mod wakeup_schedule;
mod wakeups;
mod worker_slot;
mod worker_table;

use std::io;
use std::sync::Arc;

use self::deferred::Deferred;
use self::dispatcher::Dispatcher;
use self::respawn::StartFailure;
use self::task_spans::TaskSpans;
use super::config::Options;
use super::crash_file;
use super::policy::size::Following;
use super::pool_size::PoolSize;
use crate::sim::local::{Instant, Ordering};
use crate::sys::error;
use crate::task::identity::Function;
use crate::task::name::TaskName;
use crate::worker::process::host::client::PoolObserver;
use crate::worker::process::host::groups::{self, Whole};
use crate::worker::process::host::worker_setup::WorkerSetup;
use crate::worker::process::ipc::protocol::PoolWorkerSetup;
use crate::{Kind, PoolStats};

pub(in crate::pool) use self::captured::TargetWithContext;
pub(crate) use self::context::EncodedContext;
pub(crate) use self::pool::ProcessPool;
pub(in crate::pool) use self::submit::StatePlan;
pub(crate) use map::Map;
#[cfg(any(brigade_counts, all(test, not(any(loom, shuttle)))))]
pub(crate) use map::Now;

/// Has the workers send their events, if that is asked for.
#[cfg(feature = "tracing")]
fn forward_events(
    pool: u64,
    options: &Arc<Options>,
    setup: &mut WorkerSetup,
) -> io::Result<Option<Arc<TaskSpans>>> {
    let level = options.forward_tracing.or(options.process.forwards());
    let Some(level) = level else {
        return Ok(None);
    };
    let spans = Arc::new(TaskSpans::new(pool, options));
    setup.forward_events(spans.forwarding(level)?);
    Ok(Some(spans))
}

#[cfg(not(feature = "tracing"))]
fn forward_events(
    _pool: u64,
    _: &Arc<Options>,
    _: &mut WorkerSetup,
) -> io::Result<Option<Arc<TaskSpans>>> {
    Ok(None)
}

impl ProcessPool {
    /// Starts the workers, and waits until each is ready.
    pub(in crate::pool) fn start(mut options: Options) -> io::Result<Arc<ProcessPool>> {
        if let Some(dir) = &mut options.keep_crashes {
            *dir = crash_file::create_dir(dir)?;
        }
        // A time so long that the clock cannot say when it ends is for ever.
        options.timeout = options
            .timeout
            .filter(|&time| Instant::now().checked_add(time.saturating_mul(2)).is_some());
        let mut setup = options.process.setup()?.unwrap_or_default();
        if let Some(name) = &options.name {
            Kind::Process.check_name(name)?;
            setup.setup.name = Some(name.to_string());
            setup.streams.name_workers(name);
        }
        if options.initializer.is_some() {
            options.process.check_own("the pool's initializer")?;
        }
        if let (Some(_), Some(program)) = (&options.keep_crashes, options.process.named_program()?)
        {
            let why = format!(
                "crash files cannot be kept of workers of {}: they are replayed by the program that wrote them",
                program.path().display()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let server = pool::server(&options, &setup)?;
        let initializer = match options.initializer {
            Some(initializer) => Some(Function::at(initializer as usize)?.0),
            None => None,
        };
        let encoded = options.state.as_ref().and_then(|it| it.encoded.as_ref());
        let (state, file) = match encoded.map(|state| state.to_setup()).transpose()? {
            Some((state, file)) => (Some(state), file),
            None => (None, None),
        };
        if let Some(file) = file {
            setup.streams.add_value(file);
            setup.setup.streams = setup.streams.of_worker();
        }
        setup.setup.pool = Some(PoolWorkerSetup {
            initializer,
            state,
            tasks: options.most_tasks(),
            bytes: options.recycle_above,
            tells_times: options.timeline.is_some(),
        });
        let whole = Whole {
            memory: options.memory_limit,
            processes: options.processes_limit,
        };
        setup.tells_libraries = options.process.named_program()?.is_none();
        groups::limit_pool(&mut setup.setup.limits, whole)?;
        let options = Arc::new(options);
        let number = pool::next_number();
        let spans = forward_events(number, &options, &mut setup)?;
        let (told, own) = (setup.clone(), Arc::clone(&options));
        let pool = ProcessPool::new(number, own, told, spans, |pool| {
            let pool: std::sync::Weak<dyn PoolObserver> = pool;
            let observer_id = server.register(pool);
            Dispatcher::new(options, setup, server, observer_id)
        });
        match pool.wait_ready() {
            Ok(()) => Ok(pool),
            Err(reason) => {
                pool.kill_workers();
                Err(pool.not_started(&reason))
            }
        }
    }

    /// Why there is no pool.
    fn not_started(&self, reason: &StartFailure) -> io::Error {
        if let Some(name) = reason.initializer(&self.options) {
            return self.options.start_failed(reason.to_error(name));
        }
        match reason {
            StartFailure::SpawnFailed(why) => why.clone().into(),
            StartFailure::SetupFailed(why, _) if why.panic.is_none() => {
                error::placed("a process could not be prepared", why.why.clone().into())
            }
            reason => {
                let name = TaskName::new(0, self.options.name.clone());
                io::Error::other(reason.to_error(name))
            }
        }
    }

    pub(in crate::pool) fn workers(&self) -> usize {
        self.size.load(Ordering::Relaxed) as usize
    }

    /// Sets how many workers there should be from now on.
    pub(in crate::pool) fn resize(&self, size: &PoolSize) -> io::Result<()> {
        if self.is_fork_of_owner() {
            return Ok(());
        }
        self.options.check_resize(size.most)?;
        let mut deferred = Deferred::default();
        let mut inner = self.lock();
        let workers = size.nearest(self.workers());
        self.size.store(workers as u32, Ordering::Relaxed);
        inner.dispatcher.following = Following::new(size.range(), self.options.shrink_after);
        inner.dispatcher.poll(&mut deferred, false);
        (inner.dispatcher).resize(workers, &mut deferred.at(Instant::now()));
        inner.dispatcher.poll(&mut deferred, false);
        self.release_driver(&mut inner, &mut deferred);
        inner.dispatcher.update_timer();
        self.unlock_and_run(inner, deferred);
        Ok(())
    }

    pub(in crate::pool) fn pids(&self) -> Vec<u32> {
        if self.is_fork_of_owner() {
            return Vec::new();
        }
        self.poll();
        let inner = self.lock();
        let connections = inner
            .dispatcher
            .workers
            .iter()
            .filter_map(|s| s.connection.as_ref());
        connections.map(|c| c.pid()).collect()
    }

    pub(in crate::pool) fn stats(&self) -> PoolStats {
        if self.is_fork_of_owner() {
            return PoolStats {
                workers: self.workers(),
                ..PoolStats::default()
            };
        }
        self.poll();
        self.lock().dispatcher.snapshot(Instant::now())
    }

    /// How many tasks have panicked, and workers been replaced because of tasks, as far as is
    /// known.
    pub(in crate::pool) fn losses(&self) -> u64 {
        if self.is_fork_of_owner() {
            return 0;
        }
        let stats = &self.lock().dispatcher.stats;
        stats.restarts + stats.panicked
    }
}
