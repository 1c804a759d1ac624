//! State that stays: what each worker of a pool loads when it starts, and its tasks borrow.

mod task;

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use super::builder::PoolBuilder;
use super::config::StateOptions;
use super::policy::task_options::TaskOptions;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use super::process;
use super::{Backend, Map, MapUnordered, Pool, map, thread};
use crate::task::codec;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
use crate::task::entry::encode_state;
use crate::{JoinHandle, Kind, Message};

pub use self::task::StateTaskBuilder;

pub(super) use self::task::StateTask;

impl PoolBuilder {
    /// A state that each worker loads once when it starts, before its first task: a connection, a
    /// model, a cache. Tasks of the [`StatePool`] borrow it, or change it.
    ///
    /// `load` runs after the [initializer](Self::initializer), in every worker, also in those that
    /// come later, and makes the state from its own copy of `config`. As with an initializer, one
    /// that panics or crashes is an error of [`build`](StatePoolBuilder::build). The state itself
    /// never leaves its worker: it need be neither [`Message`] nor [`Send`].
    ///
    /// `config` is encoded once, and may be large, a table of many megabytes, say: what is over
    /// 8 KiB lies in a memory file of the pool's, from which each worker decodes its own copy. It
    /// cannot have descriptors.
    ///
    /// # Examples
    /// ```
    /// use std::collections::HashMap;
    /// use brigade::{Kind, Pool};
    ///
    /// struct Cache {
    ///     root: String,
    ///     lengths: HashMap<String, usize>,
    /// }
    ///
    /// fn load(root: String) -> Cache {
    ///     Cache { root, lengths: HashMap::new() }
    /// }
    ///
    /// fn length(cache: &mut Cache, name: String) -> usize {
    ///     let path = format!("{}/{name}", cache.root);
    ///     *cache.lengths.entry(name).or_insert_with(|| path.len())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// for kind in [Kind::Thread, Kind::Process] {
    ///     let pool = Pool::builder(kind).workers(2).state(load, "/usr".to_owned()).build()?;
    ///     assert_eq!(pool.submit_mut(length, "lib".to_owned()).join()?, 8);
    ///     let names = ["bin", "sbin"].map(String::from);
    ///     let lengths: Result<Vec<_>, _> = pool.map_mut(length, names).collect();
    ///     assert_eq!(lengths?, [8, 9]);
    ///     assert_eq!(pool.submit(|cache: &Cache, ()| cache.root.clone(), ()).join()?, "/usr");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "initargs")]
    #[track_caller]
    pub fn state<C: Message, S: 'static>(
        mut self,
        load: fn(C) -> S,
        config: C,
    ) -> StatePoolBuilder<S> {
        let state = state_options(self.kind, load, &config, Location::caller());
        let failed = state.map(|state| self.options.state = Some(state)).err();
        StatePoolBuilder {
            builder: self,
            failed,
            of: PhantomData,
        }
    }
}

fn state_options<C: Message, S: 'static>(
    kind: Kind,
    load: fn(C) -> S,
    config: &C,
    at: &'static Location<'static>,
) -> io::Result<StateOptions> {
    let invalid = |why: String| {
        let why = format!("the configuration of the pool's state {why}");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    let mut bytes = Vec::new();
    let descriptors = codec::encode(config, &mut bytes).map_err(invalid)?;
    if !descriptors.is_empty() {
        let why = "has descriptors, which each worker would need a copy of: give them to tasks";
        return Err(invalid(why.to_owned()));
    }
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    let encoded = match kind {
        Kind::Thread => None,
        Kind::Process => {
            let state = encode_state(load, &std::mem::take(&mut bytes))?;
            Some(process::EncodedContext::of_state(&state).map_err(invalid)?)
        }
    };
    #[cfg(any(not(target_os = "linux"), brigade_portable))]
    let _ = kind;
    Ok(StateOptions {
        load: Arc::new(move || {
            let config = codec::decode::<C>(&bytes, Vec::new());
            let config = config.unwrap_or_else(|e| panic!("the configuration of its state {e}"));
            Box::new(load(config)) as Box<dyn Any>
        }),
        #[cfg(all(target_os = "linux", not(brigade_portable)))]
        encoded,
        function: (load as usize, at),
        is_single: false,
    })
}

/// Configures a [`StatePool`]. Made by [`PoolBuilder::state`].
#[must_use = "a builder starts nothing by itself"]
pub struct StatePoolBuilder<S> {
    builder: PoolBuilder,
    /// Why there can be no such pool.
    failed: Option<io::Error>,
    of: PhantomData<fn() -> S>,
}

impl<S: 'static> StatePoolBuilder<S> {
    /// Starts the workers, and returns when each has loaded its state.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`]; the load of the state panicked or crashed; its configuration
    /// cannot be encoded, has descriptors, or takes more than 2 GiB.
    pub fn build(self) -> io::Result<StatePool<S>> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        #[cfg(all(target_os = "linux", not(brigade_portable)))]
        let state = self.builder.options.state.as_ref();
        Ok(StatePool {
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            state: state.and_then(|state| state.encoded.clone()),
            pool: self.builder.build()?,
            of: PhantomData,
        })
    }

    /// Of one worker, for which no other stands in while it waits within its task.
    pub(super) fn single(mut self) -> io::Result<StatePoolBuilder<S>> {
        let most = self.builder.options.size.most;
        if most != 1 {
            let why = format!("an actor has one worker, not {most}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if let Some(state) = &mut self.builder.options.state {
            state.is_single = true;
        }
        Ok(self)
    }
}

impl<S> fmt::Debug for StatePoolBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatePoolBuilder")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

/// A pool whose workers each have a state of their own, which they have loaded when they started.
///
/// A task borrows the state of the worker that it runs in: `fn(&S, A) -> R`, or
/// `fn(&mut S, A) -> R`. Which worker that is, is not said: what one changes, others do not see. A
/// worker that dies, runs over its time or is recycled takes its state along, and the next one
/// loads its own. So does one in which a task panicked that could change the state, for that may be
/// half changed.
///
/// In a pool of threads, the thread that stands in for one that waits within its task has a state
/// of its own, too.
pub struct StatePool<S> {
    pool: Pool,
    /// What tasks have of it in a pool of processes.
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    state: Option<Arc<process::EncodedContext>>,
    of: PhantomData<fn() -> S>,
}

impl<S: 'static> StatePool<S> {
    /// Gives the pool a task that borrows its worker's state. As [`Pool::submit`].
    #[track_caller]
    pub fn submit<A: Message, R: Message>(&self, task: fn(&S, A) -> R, input: A) -> JoinHandle<R> {
        self.submit_plain(StateTask::Borrows(task), input)
    }

    /// Gives the pool a task that may change its worker's state. As [`Pool::submit`].
    #[track_caller]
    pub fn submit_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> JoinHandle<R> {
        self.submit_plain(StateTask::Changes(task), input)
    }

    #[track_caller]
    fn submit_plain<A: Message, R: Message>(
        &self,
        task: StateTask<S, A, R>,
        input: A,
    ) -> JoinHandle<R> {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.submit_callable(task.callable(), input),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(pool) => pool.submit_planned(&task.plan(self), input),
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        }
    }

    /// Gives the pool a task that borrows its worker's state, unless its queue is at its limit. As
    /// [`Pool::try_submit`].
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit<A: Message, R: Message>(
        &self,
        task: fn(&S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_as(StateTask::Borrows(task), input, TaskOptions::NONE)
    }

    /// Gives the pool a task that may change its worker's state, unless its queue is at its limit.
    /// As [`Pool::try_submit`].
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit_mut<A: Message, R: Message>(
        &self,
        task: fn(&mut S, A) -> R,
        input: A,
    ) -> Result<JoinHandle<R>, A> {
        self.try_submit_as(StateTask::Changes(task), input, TaskOptions::NONE)
    }

    /// A task that has options of its own.
    #[track_caller]
    fn submit_as<A: Message, R: Message>(
        &self,
        task: StateTask<S, A, R>,
        input: A,
        options: TaskOptions,
    ) -> JoinHandle<R> {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.submit_as(task.callable(), input, options),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(pool) => pool.submit_planned_as(&task.plan(self), input, options),
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        }
    }

    /// As `submit_as`, unless the queue is at its limit.
    #[track_caller]
    fn try_submit_as<A: Message, R: Message>(
        &self,
        task: StateTask<S, A, R>,
        input: A,
        options: TaskOptions,
    ) -> Result<JoinHandle<R>, A> {
        match &self.pool.backend {
            Backend::Thread(pool) => pool.try_submit_as(task.callable(), input, options),
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(pool) => pool.try_submit_planned_as(&task.plan(self), input, options),
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        }
    }

    /// Runs a task that borrows its worker's state on each input. As [`Pool::map`].
    #[track_caller]
    pub fn map<A: Message, R: Message, I: IntoIterator<Item = A>>(
        &self,
        task: fn(&S, A) -> R,
        inputs: I,
    ) -> Map<A, R, I::IntoIter> {
        let source = self.start_map(StateTask::Borrows(task), inputs.into_iter());
        Map::new(self.pool.clone(), source)
    }

    /// Runs a task that may change its worker's state on each input. As [`Pool::map`].
    #[track_caller]
    pub fn map_mut<A: Message, R: Message, I: IntoIterator<Item = A>>(
        &self,
        task: fn(&mut S, A) -> R,
        inputs: I,
    ) -> Map<A, R, I::IntoIter> {
        let source = self.start_map(StateTask::Changes(task), inputs.into_iter());
        Map::new(self.pool.clone(), source)
    }

    /// Runs a task that borrows its worker's state on each input, and gives the results as they
    /// come. As [`Pool::map_unordered`].
    ///
    /// # Examples
    /// ```
    /// use brigade::{Kind, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let pool = Pool::builder(Kind::Process).workers(2).state(|from: u32| from, 100).build()?;
    /// for (number, sum) in pool.map_unordered(|from: &u32, n: u32| from + n, 0..10) {
    ///     assert_eq!(sum?, 100 + number as u32);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn map_unordered<A: Message, R: Message, I: IntoIterator<Item = A>>(
        &self,
        task: fn(&S, A) -> R,
        inputs: I,
    ) -> MapUnordered<A, R, I::IntoIter> {
        let source = self.start_map(StateTask::Borrows(task), inputs.into_iter());
        MapUnordered::new(self.pool.clone(), source)
    }

    /// Runs a task that may change its worker's state on each input, and gives the results as they
    /// come. As [`Pool::map_unordered`].
    #[track_caller]
    pub fn map_unordered_mut<A: Message, R: Message, I: IntoIterator<Item = A>>(
        &self,
        task: fn(&mut S, A) -> R,
        inputs: I,
    ) -> MapUnordered<A, R, I::IntoIter> {
        let source = self.start_map(StateTask::Changes(task), inputs.into_iter());
        MapUnordered::new(self.pool.clone(), source)
    }

    #[track_caller]
    fn start_map<A: Message, R: Message, I: Iterator<Item = A>>(
        &self,
        task: StateTask<S, A, R>,
        inputs: I,
    ) -> map::MapSource<A, R, I> {
        match &self.pool.backend {
            Backend::Thread(pool) => {
                map::MapSource::Threads(thread::Map::of(pool, task.callable(), inputs))
            }
            #[cfg(all(target_os = "linux", not(brigade_portable)))]
            Backend::Process(pool) => {
                map::MapSource::Processes(process::Map::planned(pool, &task.plan(self), inputs))
            }
            #[cfg(any(not(target_os = "linux"), brigade_portable))]
            Backend::Process(pool) => pool.never(),
        }
    }

    /// The pool itself: its numbers, its processes, and tasks that use no state.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl<S> fmt::Debug for StatePool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatePool").field(&self.pool).finish()
    }
}
